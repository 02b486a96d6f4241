"""Scores of all true and predicted labels together, by scikit-learn and SciPy."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, Float

from xfm.errors import XfmError, nearest
from xfm.files import optional

Labels = Array | np.ndarray


def _sklearn(name: str, **settings):
    def score(truth: Labels, predicted: Labels) -> float:
        return getattr(optional("sklearn.metrics", "finetune"), name)(truth, predicted, **settings)

    return score


def _scipy(name: str):
    def score(truth: Labels, predicted: Labels) -> float:
        if np.ptp(truth) == 0 or np.ptp(predicted) == 0:
            return 0.0  # a constant correlates with nothing
        return getattr(optional("scipy.stats", "finetune"), name)(truth, predicted).statistic

    return score


# f1 is that of class 1 of two classes; macro_f1 is the mean over all classes.
CLASSES = {
    "accuracy": _sklearn("accuracy_score"),
    "f1": _sklearn("f1_score", zero_division=0),
    "macro_f1": _sklearn("f1_score", average="macro", zero_division=0),
    "matthews": _sklearn("matthews_corrcoef"),
}
NUMBERS = {
    "pearson": _scipy("pearsonr"),
    "spearman": _scipy("spearmanr"),
}


def check_scores(kind: str, names: Sequence[str], table: Mapping) -> None:
    """Raises XfmError for a name that is no score of the evaluator `kind`."""
    for name in names:
        if name not in table:
            raise XfmError(f"{kind}: no score {name!r}{nearest(name, table)}; there are {', '.join(table)}")


def scored(names: Sequence[str], table: Mapping, truth: Labels, predicted: Labels) -> dict[str, float]:
    """The scores by name.  Raises XfmError for one that these labels do not have, such as "f1" for three classes."""

    def score(name):
        try:
            return float(table[name](np.asarray(truth), np.asarray(predicted)))
        except ValueError as error:
            raise XfmError(f"the score {name!r} cannot be computed: {' '.join(str(error).split())}") from None

    return {name: score(name) for name in names}


def ranks(similarity: Float[np.ndarray, "Q N"], right: Sequence[int]) -> np.ndarray:
    """The rank of each query's right candidate among all N, from 1.

    Candidates of the same score come before it, and so do those that cannot be compared with it because of NaN.
    """
    own = similarity[np.arange(len(right)), right]
    return (~(similarity < own[:, None])).sum(axis=1)
