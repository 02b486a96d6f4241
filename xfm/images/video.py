"""The video processor of a checkpoint: from frames to the array that its network reads.

The oracles are the video processors of transformers 5.24 for VideoMAE, ViViT and TimeSformer, which treat each frame as
their image processors treat a picture.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from xfm.errors import XfmError
from xfm.images.processor import Processor


@dataclasses.dataclass(frozen=True)
class VideoProcessor:
    """`processor(videos)` returns videos [B T H W C] float32 for `m(video=…)`.

    frames: what is done with each frame.  count: the number of frames that are taken from a video at equal distances,
    as transformers chooses them; all of them if None.
    """

    frames: Processor
    count: int | None = None

    def __call__(self, videos: Any) -> Float[np.ndarray, "B T H W C"]:
        """The arrays of one video or of several, all with the same number of frames.

        videos: a video is an array uint8 [T H W] or [T H W C], or a list of frames, each of them a path, a Pillow image
        or an array [H W] or [H W C]; several are an array [B T H W C], or a list of videos, in which an array has all
        four axes, since one of three is a frame.
        Raises XfmError for an empty video, for videos of different length, and as Processor does.
        """
        several = [list(video) for video in (videos if _several(videos) else [videos])]
        for i, video in enumerate(several):
            if len(video) < (self.count or 1):
                raise XfmError(f"video {i} has {len(video)} frames; give at least {self.count or 1}")
        several = [self._chosen(video) for video in several]
        lengths = sorted({len(video) for video in several})
        if len(lengths) != 1:
            raise XfmError(
                f"there are videos of {' and '.join(map(str, lengths))} frames; give each as many as the network reads"
            )
        frames = self.frames([frame for video in several for frame in video])
        return frames.reshape(len(several), lengths[0], *frames.shape[1:])

    def _chosen(self, video: list[Any]) -> list[Any]:
        if self.count is None:
            return video
        return [video[i * len(video) // self.count] for i in range(self.count)]


def _several(videos: Any) -> bool:
    """Whether these are several videos: frames are images, so videos have one level more."""
    if isinstance(videos, np.ndarray):
        return videos.ndim == 5
    if not isinstance(videos, Sequence) or isinstance(videos, str) or not videos:
        raise XfmError("a video is an array of frames [time, height, width, channels], or a list of frames; give one")
    first = videos[0]
    return getattr(first, "ndim", 0) == 4 or (isinstance(first, Sequence) and not isinstance(first, str))
