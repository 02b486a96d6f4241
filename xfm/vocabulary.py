"""What an objective must know of a tokeniser: the size of its vocabulary and the ids with a meaning of their own."""

import dataclasses

import numpy as np
from jaxtyping import Bool


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """size: number of ids V.  special: ids that no objective may mask or sample.

    starts_word: True for an id that begins a word, or None where ids alone cannot tell (bytes).
    """

    size: int
    pad: int = 0
    unknown: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    special: tuple[int, ...] = (0,)
    starts_word: Bool[np.ndarray, "V"] | None = None
