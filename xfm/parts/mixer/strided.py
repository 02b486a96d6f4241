"""Any mixer over groups of a grid's tokens that lie apart. Wang et al. 2022 (CrossFormer), section 3.2.

Long distance attention: a group has the tokens at fixed intervals, so that it reaches as far as a much larger window.
The oracle is the authors' program, in whose classification networks the groups of a stage fill its grid.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.grid import pair
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.mixer.groups import check_grid, over_groups
from xfm.spec import Spec, build


class Lattices(NamedTuple):
    """A grid in regions of size · interval rows and columns, each divided into interval x interval groups of `size`.

    A group has every interval-th row and column of its region.
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    interval: tuple[int, int]

    @property
    def whole(self) -> tuple[int, int]:
        """Rows and columns of the grid after padding to whole regions."""
        sides = zip(self.grid, self.size, self.interval, strict=True)
        return tuple(-(-side // (size * interval)) * size * interval for side, size, interval in sides)

    def cut(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B*n p*q *any"]:
        """Each group as a row, with zeros at positions outside the grid."""
        (h, w), (H, W), (p, q), (i, j), rest = self.grid, self.whole, self.size, self.interval, x.shape[2:]
        x = jnp.pad(x.reshape(-1, h, w, *rest), [(0, 0), (0, H - h), (0, W - w), *[(0, 0)] * len(rest)])
        x = x.reshape(-1, H // (p * i), p, i, W // (q * j), q, j, *rest)
        return jnp.moveaxis(x, (2, 5), (5, 6)).reshape(-1, p * q, *rest)

    def join(self, x: Shaped[Array, "B*n p*q *any"]) -> Shaped[Array, "B T *any"]:
        """The inverse of `cut`."""
        (h, w), (H, W), (p, q), (i, j), rest = self.grid, self.whole, self.size, self.interval, x.shape[2:]
        x = x.reshape(-1, H // (p * i), i, W // (q * j), j, p, q, *rest)
        x = jnp.moveaxis(x, (5, 6), (2, 5)).reshape(-1, H, W, *rest)
        return x[:, :h, :w].reshape(-1, h * w, *rest)

    def segments(self, segments: Int[Array, "B T"] | None, rows: int) -> Int[Array, "B*n p*q"] | None:
        """The segments in each group of a batch of `rows`, 0 outside the grid; None where no tokens are kept apart."""
        if segments is None and self.whole == self.grid:
            return None
        return self.cut(jnp.ones((rows, self.grid[0] * self.grid[1]), jnp.int32) if segments is None else segments)


class Strided(nn.Module):
    """`mixer` over groups of tokens at fixed intervals, each a row of its own, with the group as its grid.

    mixer: spec of a mixer.  size: rows and columns of a group, or one number for both.  interval: rows and columns from
    one token of a group to the next, or one number for both.
    Along an axis that one group covers, the group is the grid's side and has an interval of 1. Groups that reach beyond
    the grid hold padding there. A row without a grid is one of 1 x T.
    Raises SpecError for a stream that holds other tokens than the grid's, and for a mixer that reads a memory.
    """

    whole_row: ClassVar[str | None] = "divides a whole row into groups of a grid"
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    size: Count | tuple[Count, Count]
    interval: Count | tuple[Count, Count]

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("strided", ctx, state)
        groups = self.groups(x.shape[1], ctx.grid or (1, x.shape[1]))
        return over_groups(build("mixer", self.mixer, name="mixer"), self.mixer, groups, "strided", x, ctx), None

    @nn.nowrap
    def groups(self, length: int, grid: tuple[int, ...]) -> Lattices:
        """How a row of `length` tokens of this grid is divided; raises SpecError where it cannot be."""
        check_grid("strided", length, grid)
        size, interval = pair(self.size), pair(self.interval)
        covered = [side <= p for side, p in zip(grid, size, strict=True)]
        size = tuple(side if one else p for side, p, one in zip(grid, size, covered, strict=True))
        return Lattices(tuple(grid), size, tuple(1 if one else i for i, one in zip(interval, covered, strict=True)))
