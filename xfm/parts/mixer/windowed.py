"""Any mixer inside windows of a grid, which may be shifted. Liu et al. 2021 (Swin), section 3.2.

Tokens that a shift brings into one window from opposite sides of the grid get different segments there, so that no
mixer mixes them.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import Spec, SpecError, build


class Windows(NamedTuple):
    """A grid of `grid` rows and columns in windows of `size`, moved down and right by `shift`."""

    grid: tuple[int, int]
    size: tuple[int, int]
    shift: tuple[int, int]

    @property
    def whole(self) -> tuple[int, int]:
        """Rows and columns of the grid after padding to whole windows."""
        return tuple(-(-side // size) * size for side, size in zip(self.grid, self.size, strict=True))

    def cut(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B*n p*q *any"]:
        """Each window as a row, with zeros at positions outside the grid."""
        (h, w), (H, W), (p, q), rest = self.grid, self.whole, self.size, x.shape[2:]
        x = x.reshape(-1, h, w, *rest)
        x = jnp.pad(x, [(0, 0), (0, H - h), (0, W - w), *[(0, 0)] * len(rest)])
        x = jnp.roll(x, (-self.shift[0], -self.shift[1]), axis=(1, 2))
        return x.reshape(-1, H // p, p, W // q, q, *rest).swapaxes(2, 3).reshape(-1, p * q, *rest)

    def join(self, x: Shaped[Array, "B*n p*q *any"]) -> Shaped[Array, "B T *any"]:
        """The inverse of `cut`."""
        (h, w), (H, W), (p, q), rest = self.grid, self.whole, self.size, x.shape[2:]
        x = x.reshape(-1, H // p, W // q, p, q, *rest).swapaxes(2, 3).reshape(-1, H, W, *rest)
        x = jnp.roll(x, self.shift, axis=(1, 2))
        return x[:, :h, :w].reshape(-1, h * w, *rest)

    def segments(self, segments: Int[Array, "B T"] | None, rows: int) -> Int[Array, "B*n p*q"] | None:
        """The segments in each window, different for tokens that the shift brought from opposite sides of the grid.

        rows: B, which counts where segments is None. The result is None where no tokens have to be kept apart.
        """
        if segments is None and self.whole == self.grid and not any(self.shift):
            return None
        if segments is None:
            segments = jnp.ones((rows, self.grid[0] * self.grid[1]), jnp.int32)
        (h, w), (p, q) = self.grid, self.shift
        side = 2 * (jnp.arange(h) < p)[:, None] + (jnp.arange(w) < q)  # the first rows and columns come last
        return self.cut(jnp.where(segments > 0, 4 * segments + side.reshape(-1), 0))


class Windowed(nn.Module):
    """`mixer` over the windows of a grid, each a row of its own, with the window as its grid.

    mixer: spec of a mixer.  window: rows and columns, or one number for both.  shift: rows and columns, or one number,
    by which the windows are moved; less than the window.  Along an axis that one window covers, the window is the grid
    and there is no shift. Windows that reach beyond the grid hold padding there. A row without a grid is one of 1 x T.
    Raises SpecError for a stream that holds other tokens than the grid's, for a shift that does not fit, and for a
    mixer that reads a memory.
    """

    whole_row: ClassVar[str | None] = "cuts a whole row into windows"
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    window: Count | tuple[Count, Count]
    shift: CountOrZero | tuple[CountOrZero, CountOrZero] = 0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("windowed", ctx, state)
        windows = self.windows(x.shape[1], ctx.grid or (1, x.shape[1]))
        inner = ctx.replace(
            segments=windows.segments(ctx.segments, x.shape[0]),
            heard=None if ctx.heard is None else windows.cut(ctx.heard),
            types=None if ctx.types is None else windows.cut(ctx.types),
            positions=None,
            grid=windows.size,
        )
        mixer = build("mixer", self.mixer, name="mixer")
        if getattr(mixer, "memory", None) is not None:
            raise SpecError(
                f"mixer 'windowed' mixes the tokens of a window, and {self.mixer['kind']!r} with "
                f"memory={mixer.memory!r} reads others; make it an entry of the pattern by itself"
            )
        y, _ = mixer(windows.cut(x), inner)
        return windows.join(y), None

    @nn.nowrap
    def windows(self, length: int, grid: tuple[int, ...]) -> Windows:
        """How a row of `length` tokens of this grid is cut; raises SpecError where it cannot be."""
        if len(grid) != 2 or length != grid[0] * grid[1]:
            raise SpecError(
                f"mixer 'windowed' needs the tokens of a grid of rows and columns and no others; the grid is {grid}, "
                f"and the row has {length} tokens; embed images, with embed.cls=0 and embed.registers=0"
            )
        size, shift = ((a, a) if isinstance(a, int) else a for a in (self.window, self.shift))
        if any(s >= p for s, p in zip(shift, size, strict=True)):
            raise SpecError(
                f"mixer 'windowed' shifts windows by less than their size; {self.shift} is not less than {self.window}"
            )
        covered = [side <= p for side, p in zip(grid, size, strict=True)]
        size = tuple(side if one else p for side, p, one in zip(grid, size, covered, strict=True))
        return Windows(grid, size, tuple(0 if one else s for s, one in zip(shift, covered, strict=True)))
