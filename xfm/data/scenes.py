"""Scenes of scikit-learn's digits: several on a canvas, each pixel of the class of a digit or of the background."""

import dataclasses
import functools
import itertools
from typing import Literal

import numpy as np

from xfm.data.pixels import Pixels
from xfm.data.source import Row
from xfm.files import optional, share

CLASSES = ("background", *"0123456789")
SIDE = 8  # pixels of a digit
CELL = 10  # pixels, in each of which there is room for one digit
EMPTY = 0.2  # share of the cells without a digit
INK = 0.25  # the least level of a pixel that belongs to a digit


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The images [1797 8 8] in [0, 1], and their classes."""
    found = optional("sklearn.datasets", "vision").load_digits()
    return found.images.astype(np.float32) / 16, found.target.astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """`count` canvases of grey noise with digits in most of the cells of a lattice, each moved at random within its
    cell; row i is always the same.

    split: "train" or "valid"; the digits of the two are disjoint, chosen by a hash with the share `validation`.
    numbered: what a pixel's label is the number of: the digit's class, or the digit itself, in the order of the cells.
    The background has 0.
    """

    pixels: Pixels
    count: int
    split: str
    validation: float
    numbered: Literal["class", "object"] = "class"

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def _own(self) -> np.ndarray:
        numbers = np.arange(len(digits()[1]))
        held = np.array([share(f"digit {i}") < self.validation for i in numbers])
        return numbers[held == (self.split == "valid")]

    def __getitem__(self, index: int) -> Row:
        images, classes = digits()
        height, width, _ = self.pixels.shape
        rng = np.random.default_rng([index, self.split == "valid"])
        canvas = 0.2 * rng.random((height, width), np.float32)
        labels = np.zeros((height, width), np.int32)
        rows, columns = (max(1, side // CELL) for side in (height, width))
        for cell, (row, column) in enumerate(itertools.product(range(rows), range(columns))):
            number = rng.choice(self._own)
            if rng.random() < EMPTY:
                continue
            top, left = (
                at * side // count + int(rng.integers(side // count - SIDE + 1))
                for at, side, count in ((row, height, rows), (column, width, columns))
            )
            place = np.s_[top : top + SIDE, left : left + SIDE]
            ink = images[number] > INK
            canvas[place] = np.maximum(canvas[place], images[number])
            label = classes[number] if self.numbered == "class" else cell
            labels[place] = np.where(ink, label + 1, 0)
        return {"images": self.pixels.of_values(canvas), "labels": labels}
