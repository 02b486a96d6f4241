"""Rotary positions: q and k turned so that their product depends on the distance. Su et al. 2021, section 3.2."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.parts.position.base import Position, places


def rotate(x: Float[Array, "B T N H"], angles: Float[Array, "#B T half"]) -> Float[Array, "B T N H"]:
    """Channel pairs (i, i + half) turned by angles[i], in float32; channels past 2 · half are left as they are."""
    half = angles.shape[-1]
    sin, cos = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    a, b, rest = (part.astype(jnp.float32) for part in jnp.split(x, (half, 2 * half), axis=-1))
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1).astype(x.dtype)


def angles(position: Int[Array, "*any"], width: int, theta: float) -> Float[Array, "*any half"]:
    """position / theta^(2i / width) for i < width / 2."""
    return position[..., None] * theta ** (-jnp.arange(0, width, 2) / width)


class Rope(Position):
    """theta: the base of the wavelengths.  share: of the head's channels that turn, the first ones."""

    theta: float = 10_000.0
    share: float = 1.0

    def rotate(self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context):
        width = int(q.shape[-1] * self.share) // 2 * 2
        turn = angles(places(q, ctx), width, self.theta)
        return rotate(q, turn), rotate(k, turn)
