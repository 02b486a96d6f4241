"""Loads and saves checkpoints in the formats of the Hugging Face Hub, without PyTorch."""

from xfm.hub.checkpoint import Checkpoint, load, sharded
from xfm.hub.sentence.encoder import SentenceEncoder, sentence_encoder
from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer

__all__ = ["Checkpoint", "SentenceEncoder", "load", "read_tokenizer", "sentence_encoder", "sharded"]
