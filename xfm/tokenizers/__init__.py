"""Tokenisers: from text to ids and back."""

from xfm.tokenizers.base import SPECIALS, Joined, Tokenizer
from xfm.tokenizers.bytes import Bytes
from xfm.tokenizers.characters import Characters
from xfm.tokenizers.loaded import File
from xfm.tokenizers.of_checkpoint import OfCheckpoint
from xfm.tokenizers.trained import Bpe, Wordpiece

__all__ = ["SPECIALS", "TOKENIZERS", "Joined", "Tokenizer"]

TOKENIZERS = {
    "bytes": Bytes,
    "characters": Characters,
    "wordpiece": Wordpiece,
    "bpe": Bpe,
    "file": File,
    "checkpoint": OfCheckpoint,
}
