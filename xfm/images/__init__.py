"""From an image file to what a network reads: reading pictures of any kind, and the processor of a checkpoint."""

from xfm.images.processor import Processor
from xfm.images.reading import read
from xfm.images.settings import read_processor

__all__ = ["Processor", "read", "read_processor"]
