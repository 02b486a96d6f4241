"""Videos and spectrograms with labels: a folder of class folders of arrays, or small ones made here."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.data.scenes import digits
from xfm.data.source import Data, Row
from xfm.data.text import check_share
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Name
from xfm.files import apart, fingerprint, listing, share
from xfm.locations import expanded
from xfm.spec import SpecError

DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
SOUNDS = ("low tone", "high tone", "rising", "falling", "pulses", "noise")


def moving_digit(shape: Sequence[int], label: int, rng: np.random.Generator) -> np.ndarray:
    """A handwritten digit that moves in one of DIRECTIONS over grey noise and comes back on the other side."""
    frames, height, width, channels = shape
    image = digits()[0][rng.integers(len(digits()[0]))]
    canvas = np.zeros((max(height, 8), max(width, 8)), np.float32)
    canvas[:8, :8] = image
    start, step = rng.integers(0, canvas.shape), np.array(list(DIRECTIONS.values())[label])
    video = np.stack([np.roll(canvas, start + step * t, axis=(0, 1)) for t in range(frames)])[:, :height, :width]
    video = np.maximum(video, 0.2 * rng.random(video.shape, np.float32))
    return np.repeat(2 * video[..., None] - 1, channels, axis=-1)


def sound(shape: Sequence[int], label: int, rng: np.random.Generator) -> np.ndarray:
    """The spectrogram of one of SOUNDS in noise, at a random pitch, moment and speed."""
    time, bands = shape
    t, at = np.arange(time)[:, None] / time, np.arange(bands) / bands
    pitch, phase = rng.uniform(0.1, 0.3), rng.uniform(0, 1)
    centre = {0: pitch, 1: 0.5 + pitch, 2: pitch + 0.5 * t, 3: 0.9 - pitch - 0.5 * t}.get(label, 0.5 + 0 * t)
    level = np.exp(-(((at - centre) * 12) ** 2)) + 0 * t
    if label == 4:
        level = ((t * rng.integers(3, 6) + phase) % 1 < 0.3) * np.ones_like(at)
    if label == 5:
        level = np.zeros((time, bands))
    return (2 * level - 0.5 + 0.5 * rng.standard_normal((time, bands))).astype(np.float32)


MADE = {"video": (moving_digit, tuple(DIRECTIONS)), "frames": (sound, SOUNDS)}
AXES = {"video": "time, height, width, channels", "frames": "time, bands"}


@dataclasses.dataclass(frozen=True)
class Clips:
    """A data source of videos or spectrograms, each with the number of its class.

    array: its name in a row, "video" [T H W C] or "frames" [T F].  shape: of each.
    path: a folder that holds one folder of .npy files per class (classes are sorted by name), each of an array of that
    shape: floats that are already normalised, or bytes, which are scaled to -1 … 1. None for `rows` made ones: digits
    that move in one of four directions, or six kinds of sounds in noise.
    validation: share of the rows, chosen by a hash of their names; or the path of a folder of validation files.
    """

    array: Literal["video", "frames"]
    shape: tuple[Count, ...]
    path: Name | None = None
    validation: Fraction | Name = 0.1
    rows: Count = 2000

    PATHS: ClassVar = {"path": locations.path, "validation": locations.path}

    def open(self, workdir: Path) -> Data:
        """Both splits as sources of `array` and `labels` []; nothing is written to `workdir`.

        Raises SpecError for bad fields or an empty split, and XfmError for a folder that is not one of class folders.
        """
        self.check()
        names, read, labels, classes, marks = self._made() if self.path is None else self._folder()
        held = np.array([split == "valid" for split, _ in names])
        if isinstance(self.validation, float):
            held = np.array([share(name) < self.validation for _, name in names])
        sources = [Rows(self.array, read, labels, np.flatnonzero(held == wanted)) for wanted in (False, True)]
        if not all(map(len, sources)):
            raise SpecError(f"one split of the {len(names)} rows is empty; change 'validation', or give more rows")
        facts = {"train_rows": len(sources[0]), "valid_rows": len(sources[1]), "classes": len(classes)}
        mark = fingerprint(marks, classes, self.array, self.shape, held.tolist())
        return Data(*sources, None, None, mark, classes, facts)

    def check(self) -> None:
        """Raises SpecError for a shape of another number of axes, and for a share that is none."""
        if len(self.shape) != len(AXES[self.array].split(", ")):
            raise SpecError(f"the shape of {self.array} is [{AXES[self.array]}]; {tuple(self.shape)} is not")
        if not isinstance(self.validation, str):
            check_share(self.validation)
        elif self.path is None:
            raise SpecError("rows that are made here are split by a share; give a number between 0 and 1")

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return {self.array: (tuple(self.shape), np.float32), "labels": ((), np.int32)}

    def _made(self):
        make, classes = MADE[self.array]
        labels = (np.arange(self.rows) % len(classes)).astype(np.int32)

        def read(index: int) -> np.ndarray:
            return make(self.shape, int(labels[index]), np.random.default_rng(index)).astype(np.float32)

        return [("train", f"{self.array} {i}") for i in range(self.rows)], read, labels, classes, [self.rows]

    def _folder(self):
        folders = {"train": self.path} | ({"valid": self.validation} if isinstance(self.validation, str) else {})
        found = {split: listing(expanded(folder), (".npy",)) for split, folder in folders.items()}
        found["train"] = apart(found["train"], found.get("valid", ()))
        files = [(split, file) for split in found for file in found[split]]
        if loose := [file.path for _, file in files if "/" not in file.name]:
            raise XfmError(f"{loose[0]} is in no class folder; {self.path} should hold one folder per class")
        classes = tuple(sorted({file.name.partition("/")[0] for split, file in files if split == "train"}))
        number = {name: i for i, name in enumerate(classes)}
        if strange := {file.name.partition("/")[0] for _, file in files} - set(classes):
            raise XfmError(f"{self.validation} has the class {min(strange)!r}, which {self.path} does not have")
        labels = np.array([number[file.name.partition("/")[0]] for _, file in files], np.int32)
        read = functools.partial(self._read, [file.path for _, file in files])
        marks = [(split, file.name, file.size) for split, file in files]
        return [(split, file.name) for split, file in files], read, labels, classes, marks

    def _read(self, paths: Sequence[Path], index: int) -> np.ndarray:
        try:
            found = np.load(paths[index], allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise XfmError(f"{paths[index]} cannot be read as an array ({error}); repair or remove it") from error
        if found.shape != tuple(self.shape) or found.dtype.kind not in "fu":
            raise XfmError(
                f"{paths[index]} is {found.dtype} {found.shape}; it must be floats, or bytes, of {tuple(self.shape)}"
            )
        return (found / 127.5 - 1 if found.dtype == np.uint8 else found).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one split.  read: index -> array.  labels: of all rows.  keep: the indices of this split's."""

    name: str
    read: Callable[[int], np.ndarray]
    labels: np.ndarray
    keep: np.ndarray

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Row:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        chosen = int(self.keep[index])
        return {self.name: self.read(chosen), "labels": self.labels[chosen]}
