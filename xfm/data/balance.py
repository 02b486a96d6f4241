"""Load balancing: rows of different length are divided so that all devices have about equal work.

Without it a step takes as long as the device with the longest texts. In "Boosting Distributed Training Performance of
the Unpadded BERT Model" (2022) workers exchange samples for that reason. Here nothing is exchanged: the division is a
function of the lengths alone, so every host computes the same one, and so does a resumed run.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped

from xfm.errors import XfmError


def work(lengths: Int[np.ndarray, "*any"], width: int | None = None) -> Float[np.ndarray, "*any"]:
    """The cost of texts of `lengths` n, in units of one token: n, or n + n² / 6D if the model's `width` D is given.

    The linear maps of a layer take 24 D² operations per token (four in attention, and a feed-forward part of hidden
    width 4 D); the scores and weighted sums of attention take 4 n D. The quadratic term matters for implementations
    of attention that skip keys outside a text.
    """
    lengths = np.asarray(lengths, np.float64)
    return lengths if width is None else lengths + lengths**2 / (6 * width)


def deal(loads: Shaped[np.ndarray, " n"], ways: int) -> Int[np.ndarray, "ways per_way"]:
    """The numbers of the rows that each of `ways` groups gets: equally many each, in ascending order.

    loads: the cost of each row. The result is a deterministic function of them.

    Rows are dealt from the heaviest to the lightest in rounds of one row per group, and within a round heavier rows go
    to groups whose sum is smaller so far. The sums of two groups therefore never differ by more than two rows of one
    round do (by induction: the difference of the sums so far and the difference added have opposite signs).

    Raises XfmError if the number of rows is not a multiple of `ways`.
    """
    loads = np.asarray(loads, np.float64)
    if ways < 1 or len(loads) % ways:
        raise XfmError(f"{len(loads)} rows cannot be divided equally among {ways} devices; give a multiple of {ways}")
    rounds = np.argsort(-loads, kind="stable").reshape(-1, ways)
    held, given = np.zeros(ways), np.empty(rounds.T.shape, np.int64)
    for i, rows in enumerate(rounds):
        poorest = np.argsort(held, kind="stable")
        given[poorest, i] = rows
        held[poorest] += loads[rows]
    return np.sort(given, axis=1)
