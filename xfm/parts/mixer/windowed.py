"""Any mixer inside windows of a grid, which may be shifted. Liu et al. 2021 (Swin), section 3.2.

Tokens that a shift brings into one window from opposite sides of the grid get different segments there, so that no
mixer mixes them. What windows that do not fill the grid hold outside of it, and what becomes of windows larger than the
grid, the paper leaves open, and programs differ; the oracles are transformers' SwinModel and timm's SwinTransformer.
"""

from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.mixer.groups import check_grid, over_groups
from xfm.spec import Spec, SpecError, build

Padding = Literal["masked", "before_shift", "after_shift"]


class Windows(NamedTuple):
    """A grid of `grid` rows and columns in windows of `size`, moved down and right by `shift`.

    padding: see `Windowed`.
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    shift: tuple[int, int]
    padding: Padding = "masked"

    @property
    def whole(self) -> tuple[int, int]:
        """Rows and columns of the grid after padding to whole windows."""
        return tuple(-(-side // size) * size for side, size in zip(self.grid, self.size, strict=True))

    def cut(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B*n p*q *any"]:
        """Each window as a row, with zeros at positions outside the grid."""
        (h, w), (H, W), (p, q), rest = self.grid, self.whole, self.size, x.shape[2:]
        around, back = [(0, 0), (0, H - h), (0, W - w), *[(0, 0)] * len(rest)], tuple(-s for s in self.shift)
        x = x.reshape(-1, h, w, *rest)
        if self.padding == "after_shift":
            x = jnp.pad(jnp.roll(x, back, axis=(1, 2)), around)
        else:
            x = jnp.roll(jnp.pad(x, around), back, axis=(1, 2))
        return x.reshape(-1, H // p, p, W // q, q, *rest).swapaxes(2, 3).reshape(-1, p * q, *rest)

    def join(self, x: Shaped[Array, "B*n p*q *any"]) -> Shaped[Array, "B T *any"]:
        """The inverse of `cut`."""
        (h, w), (H, W), (p, q), rest = self.grid, self.whole, self.size, x.shape[2:]
        x = x.reshape(-1, H // p, W // q, p, q, *rest).swapaxes(2, 3).reshape(-1, H, W, *rest)
        if self.padding == "after_shift":
            x = jnp.roll(x[:, :h, :w], self.shift, axis=(1, 2))
        else:
            x = jnp.roll(x, self.shift, axis=(1, 2))[:, :h, :w]
        return x.reshape(-1, h * w, *rest)

    def regions(self) -> Int[Array, "n p*q"]:
        """0 to 3 in each window: which sides of the grid a position is brought from by the shift.

        With padding after the shift these are the last rows and columns of the padded grid, as in timm's program, and
        not those that were moved.
        """
        (H, W), (p, q), (s, t) = self.whole, self.size, self.shift
        side = 2 * (jnp.arange(H) >= H - s)[:, None] + (jnp.arange(W) >= W - t)
        return side.reshape(H // p, p, W // q, q).swapaxes(1, 2).reshape(-1, p * q)

    def segments(self, segments: Int[Array, "B T"] | None, rows: int) -> Int[Array, "B*n p*q"] | None:
        """The segments in each window, different for tokens that the shift brought from opposite sides of the grid.

        rows: B, which counts where segments is None. Zeros that take part have the last segment of their row. The
        result is None where no tokens have to be kept apart.
        """
        masked = self.padding == "masked" and self.whole != self.grid
        if segments is None and not masked and not any(self.shift):
            return None
        if segments is None:
            segments = jnp.ones((rows, self.grid[0] * self.grid[1]), jnp.int32)
        outside = jnp.zeros((rows, 1), jnp.int32) if masked else segments.max(axis=1, keepdims=True)
        regions = self.regions()
        cut = self.cut(segments - outside) + jnp.repeat(outside, len(regions), axis=0)
        return jnp.where(cut > 0, 4 * cut + jnp.tile(regions, (rows, 1)), 0)


class Windowed(nn.Module):
    """`mixer` over the windows of a grid, each a row of its own, with the window as its grid.

    mixer: spec of a mixer.  window: rows and columns, or one number for both.  shift: rows and columns, or one number,
    by which the windows are moved; less than the window.
    padding: what windows hold outside the grid. "masked": nothing, as no token attends to it. Otherwise zeros, which
    take part like tokens of the image, put after the last row and column: "before_shift" (the authors' program and
    transformers) or "after_shift" (timm). Tokens of the row that are padding themselves are always masked.
    fit: of windows to a small grid. "axis": along an axis that one window covers, the window is the grid's side and is
    not shifted (timm). "square": if a window covers one of the axes, windows are squares of the grid's shorter side,
    without shift (the authors' program and transformers). "never": windows are always padded and shifted (backbones of
    transformers).
    A row without a grid is one of 1 x T.
    Raises SpecError for a stream that holds other tokens than the grid's, for a shift that does not fit, and for a
    mixer that reads a memory.
    """

    whole_row: ClassVar[str | None] = "cuts a whole row into windows"
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    window: Count | tuple[Count, Count]
    shift: CountOrZero | tuple[CountOrZero, CountOrZero] = 0
    padding: Padding = "masked"
    fit: Literal["axis", "square", "never"] = "axis"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("windowed", ctx, state)
        windows = self.windows(x.shape[1], ctx.grid or (1, x.shape[1]))
        mixer = build("mixer", self.mixer, name="mixer")
        return over_groups(mixer, self.mixer, windows, "windowed", x, ctx), None

    @nn.nowrap
    def windows(self, length: int, grid: tuple[int, ...]) -> Windows:
        """How a row of `length` tokens of this grid is cut; raises SpecError where it cannot be."""
        check_grid("windowed", length, grid)
        size, shift = ((a, a) if isinstance(a, int) else a for a in (self.window, self.shift))
        if any(s >= p for s, p in zip(shift, size, strict=True)):
            raise SpecError(
                f"mixer 'windowed' shifts windows by less than their size; {self.shift} is not less than {self.window}"
            )
        covered = [side <= p and self.fit != "never" for side, p in zip(grid, size, strict=True)]
        if self.fit == "square" and any(covered):
            return Windows(grid, (min(grid), min(grid)), (0, 0), self.padding)
        size = tuple(side if one else p for side, p, one in zip(grid, size, covered, strict=True))
        return Windows(grid, size, tuple(0 if one else s for s, one in zip(shift, covered, strict=True)), self.padding)
