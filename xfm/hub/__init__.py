"""Checkpoints of the Hugging Face Hub: in without PyTorch, out for everybody."""

from xfm.hub.checkpoint import Checkpoint, load, sharded

__all__ = ["Checkpoint", "load", "sharded"]
