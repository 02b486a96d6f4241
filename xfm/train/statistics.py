"""The moving averages of batch normalisation, from the metrics of a loss to the parameters."""

from typing import Any

from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.objectives.base import mean
from xfm.paths import flatten, map_by_path
from xfm.sown import STATISTICS

PREFIX = f"{STATISTICS}/"
Metrics = dict[str, tuple[Array, Float[Array, ""]]]


def apart(metrics: Metrics) -> tuple[Metrics, dict[str, Array]]:
    """The metrics without the statistics, and these: path of a parameter -> its new value."""
    found = {name: metric for name, metric in metrics.items() if name.startswith(PREFIX)}
    others = {name: metric for name, metric in metrics.items() if name not in found}
    return others, {name.removeprefix(PREFIX): mean(metric) for name, metric in found.items()}


def written(params: Any, statistics: dict[str, Array], frozen: frozenset[str] = frozenset()) -> Any:
    """The parameters with the statistics in their places; layers that loop give the mean over their loops.

    Raises XfmError for one that is no parameter, as where an objective has several networks.
    """
    if not statistics:
        return params
    if missing := statistics.keys() - flatten(params).keys():
        raise XfmError(
            f"batch normalisation keeps statistics at {sorted(missing)[0]}, which is none of the parameters; it can "
            "be trained where an objective has one network, and in others norm 'fixed_batchnorm' can be used"
        )

    def one(path, value):
        if path not in statistics or path in frozen:
            return value
        new = statistics[path]
        return new.mean(tuple(range(1, 1 + new.ndim - value.ndim))).astype(value.dtype)

    return map_by_path(one, params)
