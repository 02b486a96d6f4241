"""The contract of a sight: which keys each query attends to, beyond what the context's mask says."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context, Segments
from xfm.kernels.attention import Bias, Dropout, Mask, Sigmoid, Softmax, attention
from xfm.spec import SpecError


class Projected(NamedTuple):
    """What an attention makes of the stream: queries, keys, values, and the dropout of their weights."""

    q: Float[Array, "B T N H"]
    k: Float[Array, "B S K H"]
    v: Float[Array, "B S K H"]
    dropout: Dropout | None = None


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["segments", "mask", "bias", "softmax"],
    meta_fields=["scale", "implementation"],
)
@dataclasses.dataclass(frozen=True)
class Attend:
    """The attention kernel with its arguments other than the projections; a sight replaces those that it changes.

    segments: of the queries and of the keys, as the context has them.  mask: of the context.  bias: of the attention's
    position.  The rest is the attention's own.
    """

    segments: Segments
    mask: Mask
    bias: Bias | None = None
    scale: float | None = None
    softmax: Softmax | Sigmoid = Softmax()
    implementation: str | None = None

    def __call__(self, projected: Projected, **other: Any) -> Float[Array, "B T N H"]:
        """The values that each query gathers; `other` replaces fields of this object for the call."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        q, k, v, dropout = projected
        return attention(q, k, v, dropout=dropout, **given | other)


class Sight(nn.Module):
    """Abstract base of sights: `sight(projections, attend, ctx)` gives the values that each query gathers.

    projections: by name, "" for the attention's own q, k and v, and one for each name in `further`, whose maps belong
    to the attention and are called q_NAME, k_NAME and v_NAME.
    whole_row: None, or why the output for a text depends on the rest of its row, as in a mixer.
    """

    further: ClassVar[tuple[str, ...]] = ()
    whole_row: ClassVar[str | None] = None

    def __call__(self, projections: Mapping[str, Projected], attend: Attend, ctx: Context) -> Float[Array, "B T N H"]:
        raise NotImplementedError


def texts(ctx: Context, q: Float[Array, "B T N H"]) -> Int[Array, "B T"]:
    """The segment of each token, 1 where the context has no segments."""
    return jnp.ones(q.shape[:2], jnp.int32) if ctx.segments is None else ctx.segments


def fit(marks: Bool[Array, "B T"], most: int) -> Bool[Array, ""]:
    """Whether no row has more than `most` marks."""
    return (marks.sum(axis=1) <= most).all()


def whole_texts_only(kind: str, ctx: Context) -> None:
    """Raises SpecError where the context's mask hides any token, for a sight that cannot apply it."""
    if not ctx.mask.shows_all:
        raise SpecError(
            f"sight {kind!r} reads whole segments and cannot be causal or windowed; use it with mask='full'"
        )
