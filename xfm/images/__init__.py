"""From an image file to what a network reads: reading pictures of any kind, and the processor of a checkpoint."""

from xfm.images.processor import Processor
from xfm.images.reading import read
from xfm.images.settings import read_processor, read_video_processor
from xfm.images.video import VideoProcessor

__all__ = ["Processor", "VideoProcessor", "read", "read_processor", "read_video_processor"]
