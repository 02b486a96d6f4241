"""What the parts of the slot `down` share: the stream as a grid, and the context of the coarser grid."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from xfm.context import Context, positions_within
from xfm.spec import SpecError


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a size that is given as a pair or as one number for both."""
    return (size, size) if isinstance(size, int) else tuple(size)


def as_grid(x: Float[Array, "B T D"], ctx: Context, kind: str) -> Float[Array, "B h w D"]:
    """x as a grid of h rows and w columns, with zeros in padding.

    kind: the part's name in errors. Raises SpecError for a stream that is not exactly the tokens of one such grid, and
    for a context in which some tokens only attend, since a coarser token would pass on what they hold.
    """
    ctx.refuse_heard(kind)
    if ctx.grid is None or len(ctx.grid) != 2:
        raise SpecError(f"{kind} needs a grid of rows and columns, and the embedding sets {ctx.grid}; embed images")
    h, w = ctx.grid
    if x.shape[1] != h * w:
        raise SpecError(
            f"{kind} needs the {h * w} tokens of a grid of {h} x {w} and no others, and the stream has {x.shape[1]}; "
            "set embed.cls=0 and embed.registers=0"
        )
    x = x if ctx.segments is None else jnp.where(ctx.real(x)[..., None], x, 0)
    return x.reshape(x.shape[0], h, w, x.shape[2])


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
