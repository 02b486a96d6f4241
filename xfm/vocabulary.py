"""The facts about a tokeniser that objectives need: the size of its vocabulary, and ids with a special meaning."""

import dataclasses

import numpy as np
from jaxtyping import Bool


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of a tokeniser.

    size: V, the number of ids.  pad, unknown, cls, sep, mask: ids of special tokens, None if there is none.
    special: ids that no objective may mask or sample.
    starts_word: whether a token with this id begins a word; None if ids alone do not show it (bytes).
    """

    size: int
    pad: int = 0
    unknown: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    special: tuple[int, ...] = (0,)
    starts_word: Bool[np.ndarray, "V"] | None = None
