"""Rotary positions: q and k turned so that their product depends on the distance. Su et al. 2021, section 3.2."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Positive, Share
from xfm.parts.position.base import Position, positions
from xfm.spec import SpecError

Pairs = Literal["halves", "neighbours"]


def rotate(
    x: Float[Array, "B T N H"], angles: Float[Array, "#B T half"], pairs: Pairs = "halves"
) -> Float[Array, "B T N H"]:
    """Channel pairs turned by angles[i], in float32; channels past 2 · half are left as they are.

    Pair i is (i, i + half), or with "neighbours" (2i, 2i + 1).
    """
    half = angles.shape[-1]
    sin, cos = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    if pairs == "neighbours":
        turned, rest = jnp.split(x.astype(jnp.float32), (2 * half,), axis=-1)
        a, b = turned[..., ::2], turned[..., 1::2]
        turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(turned.shape)
        return jnp.concatenate([turned, rest], axis=-1).astype(x.dtype)
    a, b, rest = (part.astype(jnp.float32) for part in jnp.split(x, (half, 2 * half), axis=-1))
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1).astype(x.dtype)


def angles(position: Int[Array, "*any"], width: int, theta: float) -> Float[Array, "*any half"]:
    """position / theta^(2i / width) for i < width / 2.

    Exponent, power and frequency are each rounded to float32, as in the code that the published models were trained
    with: a large position magnifies every rounding error.
    """
    exponents = (np.arange(0, width, 2) / width).astype(np.float32)
    wavelengths = (theta ** exponents.astype(np.float64)).astype(np.float32)
    return position[..., None] * (1 / wavelengths)


def by_grid(
    kind: str,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    grid: tuple[int, ...] | None,
    turn: Callable[[int, int, int], Float[Array, "h*w half"]],
    pairs: Pairs = "halves",
) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"]]:
    """q and k of the tokens of a grid (h, w), which are the last of a row, turned; tokens before them do not turn.

    kind: the position's name in errors.  turn: (h, w, H) -> the angles.
    Raises SpecError without such a grid, and for heads of a width that 4 does not divide.
    """
    T, H = q.shape[1], q.shape[-1]
    if grid is None or len(grid) != 2 or T < grid[0] * grid[1]:
        raise SpecError(
            f"position {kind!r} needs the tokens of a grid (h, w); the grid is {grid}, the row has {T} tokens"
        )
    if H % 4:
        raise SpecError(f"position {kind!r} needs heads of a width that 4 divides, not {H}")
    h, w = grid
    made = jnp.pad(turn(h, w, H), ((T - h * w, 0), (0, 0)))[None]
    return rotate(q, made, pairs), rotate(k, made, pairs)


class Rope(Position):
    """Rotates q and k by angles proportional to the position.

    theta: the base of the wavelengths.  share: the share of the head's channels that turn, from the first on.
    pairs: the channels that turn together, "halves" (i, i + half) as in most models, or "neighbours" (2i, 2i + 1) as in
    the paper.  turns: "qk", or "qkv" for values too (RoFormer's `rotary_value`).
    """

    theta: Positive = 10_000.0
    share: Share = 1.0
    pairs: Pairs = "halves"
    turns: Literal["qk", "qkv"] = "qk"

    def rotate(self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context):
        turn = self.angles(q, ctx)
        return rotate(q, turn, self.pairs), rotate(k, turn, self.pairs)

    def value(self, v: Float[Array, "B T K H"], ctx: Context):
        return rotate(v, self.angles(v, ctx), self.pairs) if self.turns == "qkv" else v

    def angles(self, x: Float[Array, "B T N H"], ctx: Context) -> Float[Array, "#B T half"]:
        """The angles by which the channel pairs of x turn."""
        return angles(positions(x, ctx), int(x.shape[-1] * self.share) // 2 * 2, self.theta)
