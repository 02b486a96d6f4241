"""The stream as a grid of rows and columns, for parts that read the neighbours of a token."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.spec import SpecError


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a size that is given as a pair or as one number for both."""
    return (size, size) if isinstance(size, int) else tuple(size)


def as_grid(x: Float[Array, "B T D"], ctx: Context, kind: str) -> Float[Array, "B h w D"]:
    """x as a grid of h rows and w columns, with zeros in padding.

    kind: the part's name in errors. Raises SpecError for a stream that is not exactly the tokens of one such grid, and
    for a context in which some tokens only attend, since their neighbours would read what they hold.
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


def of_grid(ctx: Context, length: int) -> Context:
    """The context with a grid: a row of `length` tokens without one is a grid of one row."""
    return ctx if ctx.grid is not None else ctx.replace(grid=(1, length))


def segments_of(ctx: Context) -> Int[Array, "B h w"] | None:
    """The segments of a grid's tokens."""
    return None if ctx.segments is None else ctx.segments.reshape(-1, *ctx.grid)
