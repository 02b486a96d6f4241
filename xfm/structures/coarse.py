"""Fewer, coarser positions for the tokens of a row, and the maps to them and back.

Clark, Garrette, Turc, Wieting, "CANINE: Pre-training an Efficient Tokenization-Free Encoder for Language
Representation", 2021, sections 3.2 and 3.3; which window belongs to which coarse position follows the
authors' program.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context, positions_within
from xfm.kernels.conv import neighbours
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class Slots(NamedTuple):
    """The coarse positions of a row.

    at: the index of the token with which each begins, T where there is none.  segments: of each.  position: of each in
    its text, from 0.  of: the coarse position that each token reads, C where there was no room for one.
    """

    at: Int[Array, "B C"]
    segments: Int[Array, "B C"]
    position: Int[Array, "B C"]
    of: Int[Array, "B T"]


def slots(segments: Int[Array, "B T"], rate: int) -> Slots:
    """max(L // rate, 1) coarse positions for a text of L tokens, and max(T // rate, 1) = C in all.

    A text's coarse position 0 stands for its first token alone, and position i > 0 for window i - 1, the i-th `rate`
    tokens of the text, so the last window has none. Tokens of window i read coarse position i + 1, or the last one
    where there is no such. A text is a run of tokens of one segment.
    """
    T = segments.shape[1]
    position, index = positions_within(segments), jnp.arange(T)
    ends = jnp.diff(segments, axis=1, append=segments[:, -1:] + 1) != 0
    last = jax.lax.cummin(jnp.where(ends, index, T), axis=1, reverse=True)
    count = jnp.maximum((last - index + position + 1) // rate, 1)  # of the text's coarse positions
    begins = (segments > 0) & (position % rate == 0) & (position // rate < count)
    at = jnp.sort(jnp.where(begins, index, T), axis=1)[:, : max(T // rate, 1)]
    own = jnp.where(at < T, taken(segments, at), 0)
    of = jnp.cumsum(begins, axis=1) - 1 + (position // rate < count - 1)
    return Slots(at, own, jnp.where(at < T, taken(position, at) // rate, 0), jnp.minimum(of, at.shape[1]))


def taken(x: Array, index: Int[Array, "B I"]) -> Array:
    """x[b, index[b, i]]; an index outside the row takes its first or last token."""
    index = jnp.clip(index, 0, x.shape[1] - 1)
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)


def windows(x: Float[Array, "B T D"], where: Slots, rate: int) -> Float[Array, "B C rate D"]:
    """The window of each coarse position; zeros for position 0 of a text and where there is no position."""
    (B, C), used = where.at.shape, (where.segments > 0) & (where.position > 0)
    index = where.at[..., None] - rate + jnp.arange(rate)
    found = taken(x, index.reshape(B, C * rate)).reshape(B, C, rate, -1)
    return jnp.where(used[..., None, None], found, 0)


class Down(nn.Module):
    """norm([x_0, activation(W · window_0 + b), activation(W · window_1 + b), …]) of each text."""

    rate: int
    activation: str
    norm: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], where: Slots) -> Float[Array, "B C D"]:
        y = activation(self.activation)(Linear(x.shape[-1], axes=2, name="conv")(windows(x, where, self.rate)))
        first = ((where.segments > 0) & (where.position == 0))[..., None]
        return build(NORMS, self.norm, name="norm")(jnp.where(first, taken(x, where.at), y))


class Up(nn.Module):
    """drop(norm(activation(W · [x, y read by each token] around it + b))); NaN where a token has no coarse position."""

    width: int
    activation: str
    norm: Spec
    drop: float

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], y: Float[Array, "B C D"], where: Slots, segments, ctx: Context):
        read = jnp.where((where.of < y.shape[1])[..., None], taken(y, where.of), jnp.nan)
        both = jnp.concatenate([x, read], axis=-1)
        both = neighbours(both, self.width, segments=segments, before=(self.width - 1) // 2)
        x = activation(self.activation)(Linear(x.shape[-1], axes=2, name="conv")(both))
        x = build(NORMS, self.norm, name="norm")(x)
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train)
