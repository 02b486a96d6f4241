"""WaveMix: a mixer that computes on the wavelet transforms of a grid, level by level.

Jeevan, Viswanathan, Anandu, Sethi, "WaveMix: A Resource-efficient Neural Network for Image Analysis", 2022, section 3;
the order of the bands and of the maps is that of the authors' program. A level halves rows and columns, so tokens far
from each other meet without attention.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.grid import as_grid, of_grid
from xfm.parts.linear import Linear, linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))
SIZE = 4  # rows and columns of the transposed convolutions


def haar(x: Float[Array, "B h w C"]) -> tuple[Float[Array, "B h/2 w/2 C"], Float[Array, "B h/2 w/2 C 3"]]:
    """One level of the orthonormal Haar transform: the low band, and differences of rows, of columns and of both."""
    a, b, c, d = (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    high = jnp.stack([a + b - c - d, a - b + c - d, a - b - c + d], axis=-1)
    return (a + b + c + d) / 2, high / 2


def inverse_haar(low: Float[Array, "B h w C"], high: Float[Array, "B h w C 3"]) -> Float[Array, "B 2*h 2*w C"]:
    """The grid whose `haar` these are."""
    (B, h, w, C), (rows, columns, both) = low.shape, jnp.moveaxis(high, -1, 0)
    four = [low + r * rows + c * columns + r * c * both for r in (1, -1) for c in (1, -1)]
    return jnp.stack(four, axis=3).reshape(B, h, w, 2, 2, C).swapaxes(2, 3).reshape(B, 2 * h, 2 * w, C) / 2


def overlapped(x: Float[Array, "*tiles"], axis: int) -> Float[Array, "*joined"]:
    """[… n 4 …], with n at that axis, as [… 2n …]: y[2 i + j - 1] is the sum of x[i, j], within the ends."""
    n, before, after = x.shape[axis], x.shape[:axis], x.shape[axis + 2 :]
    x = x.reshape(*before, n, 2, 2, *after)

    def half(i, ends):
        y = jnp.take(x, i, axis=axis + 1)
        return jnp.pad(y, [*[(0, 0)] * axis, ends, *[(0, 0)] * (y.ndim - axis - 1)])

    y = (half(0, (0, 1)) + half(1, (1, 0))).reshape(*before, 2 * n + 2, *after)
    return jax.lax.slice_in_dim(y, 1, 2 * n + 1, axis=axis)


def spread(x: Float[Array, "B h w D"], kernel: Float[Array, "4 4 D E"]) -> Float[Array, "B 2*h 2*w E"]:
    """The transposed convolution at strides of 2 with a margin of 1, as PyTorch has it, in one product."""
    tiles = linear(x, jnp.moveaxis(kernel, 2, 0).astype(x.dtype))
    return overlapped(overlapped(jnp.moveaxis(tiles, 3, 2), 1), 2)


class Level(nn.Module):
    """norm(spread(down(drop(activation(up(x)))))), on a grid that has twice the rows and columns of x's."""

    width: int
    hidden: int
    inner: int
    activation: str
    drop: float
    norm: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "B h w C"], train: bool) -> Float[Array, "B 2*h 2*w width"]:
        x = nn.Dropout(self.drop)(
            activation(self.activation)(Linear(self.hidden, name="up")(x)), deterministic=not train
        )
        x = Linear(self.inner, name="down")(x)
        init = nn.initializers.lecun_normal(in_axis=(0, 1, 2), out_axis=3)
        kernel = param(self, "kernel", init, (SIZE, SIZE, self.inner, self.width))
        bias = param(self, "bias", nn.initializers.zeros, (self.width,))
        return build(NORMS, self.norm, name="norm")(spread(x, kernel) + bias.astype(x.dtype))


class WaveMix(nn.Module):
    """A map to D / 4 channels, its wavelet transforms, and a `Level` for each from the coarsest to the finest.

    hidden, inner: widths of a level's MLP, and of its output before it is spread.  levels: of the transform.  drop:
    rate of dropout on the hidden units.  norm: spec of each level's norm.
    All levels but the finest make D / 2 channels, which the next finer one reads beside its four bands. The grid is
    filled up with zeros to a multiple of 2^levels. A row holds one text. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "transforms a whole row"
    mixes_all: ClassVar[bool] = True

    hidden: Count
    inner: Count
    levels: Count = 1
    activation: str = "gelu"
    drop: Rate = 0.0
    norm: Spec = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("wavemix", ctx, state)
        B, T, D = x.shape
        if D % 4:
            raise SpecError(f"wavemix: a width of {D} does not divide by 4; set the width of the stream")
        ctx = of_grid(ctx, T)
        low = as_grid(Linear(D // 4, name="reduce")(ctx.clean(x)), ctx, "mixer 'wavemix'")
        h, w = ctx.grid
        low = jnp.pad(low, [(0, 0), (0, -h % 2**self.levels), (0, -w % 2**self.levels), (0, 0)])
        bands = []
        for _ in range(self.levels):
            low, high = haar(low)
            bands.append(jnp.concatenate([low, high.reshape(*high.shape[:3], -1)], axis=-1))
        y = None
        for i in reversed(range(self.levels)):
            known = bands[i] if y is None else jnp.concatenate([bands[i], y], axis=-1)
            width, how = D // 2 if i else D, (self.hidden, self.inner, self.activation, self.drop, self.norm)
            y = Level(width, *how, name=f"level_{i}")(known, ctx.train)
        return y[:, :h, :w].reshape(B, T, D), None
