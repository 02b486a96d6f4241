"""What a network returns beside its output: auxiliary losses and probes, which any part adds by `self.sow`.

    self.sow("losses", "router", per_token(values, ctx))
    self.sow("intermediates", "load", shares)

An objective adds the losses by name, `sown={"router": 0.01}`; probes are for whoever calls its `forward`. (A part that
sows must not have a submodule of that name; Flax keeps both in one namespace.)
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Shaped

from xfm.context import Context
from xfm.errors import XfmError

COLLECTIONS = ("losses", "intermediates")
STATISTICS = "statistics"  # what norms sow in training; see xfm/parts/norm/batchnorm.py
Metric = tuple[Float[Array, ""], Float[Array, ""]]


@struct.dataclass
class RowLoss:
    """An auxiliary loss of each row: the sum of its values and their number. Loops and layers add leading axes."""

    sums: Float[Array, "*layers B"]
    counts: Float[Array, "*layers B"]


def per_token(values: Float[Array, "B T"], ctx: Context) -> RowLoss:
    """The loss whose mean is taken over all tokens that are not padding; a value may depend on other tokens."""
    real = ctx.real(values)
    return RowLoss(jnp.where(real, values.astype(jnp.float32), 0.0).sum(1), real.sum(1).astype(jnp.float32))


def per_row(values: Float[Array, "B"]) -> RowLoss:
    """The loss whose mean is taken over the rows."""
    return RowLoss(values.astype(jnp.float32), jnp.ones(values.shape))


def means(losses: Sequence[Mapping[str, Any]], weights: Float[Array, "B"] | None = None) -> dict[str, Metric]:
    """By name, the (sum, count) of the losses that networks sowed; those of several layers are added up.

    losses: the collection of each network, as `apply` returns it, each leaf a RowLoss or a number. A number counts
    once for each microbatch, so that the loss is its mean over microbatches.
    weights: of the batch's rows; where a row of the batch is n rows of the network, each of these has its weight.
    Raises XfmError for a name that one part sows as a number and another for each row.
    """
    found: dict[str, list] = {}
    for name, value in (leaf for one in losses for leaf in _leaves(one)):
        found.setdefault(name, []).append(value)
    return {name: _joined(name, values, weights) for name, values in found.items()}


def statistics(sown: Sequence[Mapping[str, Any]]) -> dict[str, Float[Array, "*layers D"]]:
    """By the path of the parameter that it replaces, the mean over the calls of what norms sowed in training."""

    def leaves(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, inner in tree.items():
            if isinstance(inner, Mapping):
                yield from leaves(inner, (*path, name))
            else:
                yield "/".join((*path, name)), sum(inner[1:], inner[0]) / len(inner)

    return dict(leaf for one in sown for leaf in leaves(one.get(STATISTICS, {}), ()))


def gathered(sown: Any) -> Any:
    """What the whole batch sows, from what its pieces sowed, stacked along a first axis.

    Row i of piece c of n is row i · n + c of the batch. Numbers are averaged.
    """

    def whole(x: Shaped[Array, "n *layers b"]):
        return jnp.moveaxis(x, 0, -1).reshape(*x.shape[1:-1], -1)

    def one(value):
        return jax.tree.map(whole, value) if isinstance(value, RowLoss) else value.mean(0)

    return jax.tree.map(one, sown, is_leaf=_is_loss)


def _joined(name: str, values: list, weights: Float[Array, "B"] | None) -> Metric:
    if len({_is_loss(value) for value in values}) > 1:
        raise XfmError(f"the loss {name!r} is sown as a number by one part and for each row by another; sow it alike")
    if not _is_loss(values[0]):
        return sum(jnp.sum(value, dtype=jnp.float32) for value in values), jnp.float32(1.0)
    parts = [_counted(value, weights) for value in values]
    layers = sum(value.counts.size // value.counts.shape[-1] for value in values)
    return sum(part[0] for part in parts), sum(part[1] for part in parts) / layers


def _counted(loss: RowLoss, weights: Float[Array, "B"] | None) -> Metric:
    if weights is None:
        return loss.sums.sum(), loss.counts.sum()
    each = jnp.repeat(weights.astype(jnp.float32), loss.sums.shape[-1] // weights.shape[0])
    return jnp.where(each != 0, loss.sums * each, 0.0).sum(), (loss.counts * each).sum()


def _leaves(losses: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, value) of each call of `sow`."""
    for name, inner in losses.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner)
        else:
            yield from ((name, value) for value in inner)


def _is_loss(value: Any) -> bool:
    return isinstance(value, RowLoss)
