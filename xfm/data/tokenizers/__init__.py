"""Tokenisers: text to ids and back."""

from xfm.data.tokenizers.base import SPECIALS, Joined, Tokenizer
from xfm.data.tokenizers.bytes import Bytes
from xfm.data.tokenizers.characters import Characters
from xfm.data.tokenizers.loaded import File
from xfm.data.tokenizers.of_checkpoint import OfCheckpoint
from xfm.data.tokenizers.trained import Bpe, Wordpiece

__all__ = ["SPECIALS", "TOKENIZERS", "Joined", "Tokenizer"]

TOKENIZERS = {
    "bytes": Bytes,
    "characters": Characters,
    "wordpiece": Wordpiece,
    "bpe": Bpe,
    "file": File,
    "checkpoint": OfCheckpoint,
}
