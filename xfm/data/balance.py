"""Rows of unlike length dealt out so that all devices have about equal work.

Without it a step takes as long as the device that drew the longest texts: "Boosting Distributed Training Performance of
the Unpadded BERT Model" (2022), where workers exchange samples for that reason. Here nothing is exchanged: who gets
which row follows from the lengths alone, so every host works it out for itself, and a resumed run finds it again.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped

from xfm.errors import XfmError


def work(lengths: Int[np.ndarray, "*any"], width: int | None = None) -> Float[np.ndarray, "*any"]:
    """What texts of so many tokens cost, in tokens: n, and with the model's width D n + n² / 6D.

    A layer's maps take 24 D² operations per token (attention's four, and a feed-forward part four times as wide),
    scores and sums of attention 4 n D. The square counts where attention skips what lies outside a text.
    """
    lengths = np.asarray(lengths, np.float64)
    return lengths if width is None else lengths + lengths**2 / (6 * width)


def deal(loads: Shaped[np.ndarray, "n"], ways: int) -> Int[np.ndarray, "ways per_way"]:
    """Which rows each of `ways` gets, as many each, in ascending order; the same for the same loads.

    Rows go out from the heaviest to the lightest in rounds of one per way, and in a round the heavier row goes to the
    way that has less. The sums of two ways so never lie further apart than the rows of one round: by induction, as
    the differences of what ways have and of what they get have opposite signs.

    Raises XfmError for a number of rows that `ways` does not divide.
    """
    loads = np.asarray(loads, np.float64)
    if ways < 1 or len(loads) % ways:
        raise XfmError(f"{len(loads)} rows cannot be dealt to {ways} devices alike; give a multiple of {ways}")
    rounds = np.argsort(-loads, kind="stable").reshape(-1, ways)
    held, given = np.zeros(ways), np.empty(rounds.T.shape, np.int64)
    for i, rows in enumerate(rounds):
        poorest = np.argsort(held, kind="stable")
        given[poorest, i] = rows
        held[poorest] += loads[rows]
    return np.sort(given, axis=1)
