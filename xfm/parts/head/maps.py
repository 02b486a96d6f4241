"""The feature maps that heads of dense prediction read: of a pyramid's stages, or of a plain network's patches."""

from collections.abc import Sequence

from jaxtyping import Array, Float

from xfm.context import Context
from xfm.spec import SpecError

Map = Float[Array, "B h w D"]


def map_of(x: Float[Array, "B T D"], ctx: Context, kind: str) -> Map:
    """The tokens of the grid, which come after any others, as a map, with zeros in padding.

    kind: the head's name in errors. Raises SpecError for a stream that is not of an image.
    """
    if ctx.grid is None or len(ctx.grid) != 2:
        raise SpecError(f"{kind} needs a grid of rows and columns, and the embedding sets {ctx.grid}; embed images")
    return ctx.patches(ctx.clean(x)).reshape(x.shape[0], *ctx.grid, x.shape[2])


def maps_of(x: Float[Array, "B T D"], ctx: Context, kind: str) -> list[Map]:
    """The maps of ctx.features, finest first; the map of the stream alone where there are none."""
    return list(ctx.features.values()) or [map_of(x, ctx, kind)]


def named(maps: Sequence[Map]) -> dict[str, Map]:
    """Maps as ctx.features has them."""
    return {f"map_{i}": one for i, one in enumerate(maps)}
