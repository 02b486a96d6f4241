"""What the parts of the slot `down` share: tiles of a grid, and the context of the coarser grid."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from xfm.context import Context, positions_within
from xfm.spec import SpecError


def filled(x: Shaped[Array, "B h w *any"], size: tuple[int, int]) -> Shaped[Array, "B H W *any"]:
    """The grid with rows and columns of zeros at its end, so that tiles of p rows and q columns fill it."""
    more = [(0, -side % one) for side, one in zip(x.shape[1:3], size, strict=True)]
    return jnp.pad(x, [(0, 0), *more, *[(0, 0)] * (x.ndim - 3)])


def tiles(x: Float[Array, "B h w *any"], size: tuple[int, int]) -> Float[Array, "B h//p w//q p q *any"]:
    """The grid cut into tiles of p rows and q columns, which divide it."""
    (B, h, w), (p, q) = x.shape[:3], size
    return x.reshape(B, h // p, p, w // q, q, *x.shape[3:]).swapaxes(2, 3)


def check_divides(ctx: Context, size: tuple[int, int], kind: str) -> None:
    """Raises SpecError where tiles of this size do not fill the grid."""
    if ctx.grid[0] % size[0] or ctx.grid[1] % size[1]:
        raise SpecError(
            f"{kind} joins tiles of {size[0]} x {size[1]}, which do not fill a grid of {ctx.grid[0]} x {ctx.grid[1]}; "
            "choose an image size and a patch that give such a grid"
        )


def coarser(ctx: Context, real: Array | None, grid: tuple[int, int]) -> Context:
    """The context of a coarser grid of (rows, columns).

    real: the segments of its tokens, [B h w], or None. Positions are counted anew; types, `at` and `shared`, which
    describe tokens of the finer grid, are dropped.
    """
    segments = None if real is None else real.reshape(real.shape[0], -1)
    positions = None if segments is None else positions_within(segments)
    if positions is not None:
        positions = jnp.where(segments > 0, positions, 0)
    return ctx.replace(grid=grid, segments=segments, positions=positions, types=None, at=None, shared={})
