"""A mixer over groups of a grid's tokens, each group being a row and a grid of its own."""

from collections.abc import Callable, Mapping
from typing import Protocol

from jaxtyping import Array, Float, Int, Shaped

from xfm.context import Context
from xfm.spec import SpecError


class Groups(Protocol):
    """How the tokens of a grid are divided into groups of `size` rows and columns."""

    size: tuple[int, int]

    def cut(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B*n p*q *any"]:
        """Each group as a row, with zeros at positions outside the grid."""
        ...

    def join(self, x: Shaped[Array, "B*n p*q *any"]) -> Shaped[Array, "B T *any"]:
        """The inverse of `cut`."""
        ...

    def segments(self, segments: Int[Array, "B T"] | None, rows: int) -> Int[Array, "B*n p*q"] | None:
        """The segments in each group of a batch of `rows`, 0 outside the grid; None where no tokens are kept apart."""
        ...


def check_grid(kind: str, length: int, grid: tuple[int, ...]) -> None:
    """Raises SpecError unless a row of `length` tokens is a grid of rows and columns and nothing else."""
    if len(grid) != 2 or length != grid[0] * grid[1]:
        raise SpecError(
            f"mixer {kind!r} needs the tokens of a grid of rows and columns and no others; the grid is {grid}, "
            f"and the row has {length} tokens; embed images, with embed.cls=0 and embed.registers=0"
        )


def over_groups(
    mixer: Callable, spec: Mapping, groups: Groups, kind: str, x: Float[Array, "B T D"], ctx: Context
) -> Float[Array, "B T D"]:
    """What the mixer, built from `spec`, makes of each group.

    kind: of the mixer that has this one inside, for errors. Raises SpecError for a mixer that reads a memory.
    """
    if getattr(mixer, "memory", None) is not None:
        raise SpecError(
            f"mixer {kind!r} mixes the tokens of a group of the grid's, and {spec['kind']!r} with "
            f"memory={mixer.memory!r} reads others; make it an entry of the pattern by itself"
        )
    inner = ctx.replace(
        segments=groups.segments(ctx.segments, x.shape[0]),
        heard=None if ctx.heard is None else ~groups.cut(~ctx.heard),
        types=None if ctx.types is None else groups.cut(ctx.types),
        positions=None,
        grid=groups.size,
    )
    return groups.join(mixer(groups.cut(x), inner)[0])
