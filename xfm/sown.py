"""What a network returns beside its output: auxiliary losses and probes, which any part adds by `self.sow`.

    self.sow("losses", "router", per_token(values, ctx))
    self.sow("intermediates", "load", shares)

An objective adds the losses by name and weight, as in `sown={"router": 0.01}`; probes are returned to the caller of its
`forward`. (A sown name must differ from the names of the part's submodules, since Flax has one namespace for both.)
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
Metric = tuple[Float[Array, ""], Float[Array, ""]]


@struct.dataclass
class RowLoss:
    """An auxiliary loss for each row: the sum and the number of its values; layers and loops are leading axes."""

    sums: Float[Array, "*layers B"]
    counts: Float[Array, "*layers B"]


def per_token(values: Float[Array, "B T"], ctx: Context) -> RowLoss:
    """The loss that is the mean of `values` over all tokens that are not padding. Values may depend on other tokens."""
    real = ctx.real(values)
    return RowLoss(jnp.where(real, values.astype(jnp.float32), 0.0).sum(1), real.sum(1).astype(jnp.float32))


def per_row(values: Float[Array, "B"]) -> RowLoss:
    """The loss that is the mean of `values` over the rows."""
    return RowLoss(values.astype(jnp.float32), jnp.ones(values.shape))


def means(losses: Sequence[Mapping[str, Any]], weights: Float[Array, "B"] | None = None) -> dict[str, Metric]:
    """The (sum, count) of each sown loss, by name; losses of several layers are added.

    losses: the collection of each network, as `apply` returns it, whose leaves are RowLoss or numbers. A number has the
    count 1 for any batch, so over microbatches it is averaged.
    weights: of the batch's rows; if a row of the batch is n rows of the network, each of these has its weight.
    Raises XfmError for a name that one part sows as a number and another as a RowLoss.
    """
    found: dict[str, list] = {}
    for name, value in (leaf for one in losses for leaf in _leaves(one)):
        found.setdefault(name, []).append(value)
    return {name: _joined(name, values, weights) for name, values in found.items()}


def gathered(sown: Any) -> Any:
    """What was sown for n chunks of a batch, stacked along a first axis, as for the whole batch, in which row i · n + c
    is row i of chunk c. Numbers are averaged.
    """

    def whole(x: Shaped[Array, "n *layers b"]):
        return jnp.moveaxis(x, 0, -1).reshape(*x.shape[1:-1], -1)

    def one(value):
        return jax.tree.map(whole, value) if isinstance(value, RowLoss) else value.mean(0)

    return jax.tree.map(one, sown, is_leaf=_is_loss)


def _joined(name: str, values: list, weights: Float[Array, "B"] | None) -> Metric:
    if len({_is_loss(value) for value in values}) > 1:
        raise XfmError(f"the loss {name!r} is sown as a number by one part and per row by another; use one form")
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
