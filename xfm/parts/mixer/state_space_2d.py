"""A state space of two dimensions: Roesser's recurrence over rows and columns, as a convolution by FFT.

Baron, Zimerman, Wolf, "2-D SSM: A General Spatial Layer for Visual Transformers", 2023, sections 3 and 4; where the
states are averaged, which systems the channels share and the first values follow the authors' program.
The recurrence of one channel, with diagonal A1 to A4 and input u, is
    horizontal[i, j] = A1 horizontal[i, j-1] + A2 vertical[i, j-1] + B1 u[i, j]
    vertical[i, j] = A3 horizontal[i-1, j] + A4 vertical[i-1, j] + B2 u[i, j]
    y[i, j] = C1 · horizontal[i, j] + C2 · vertical[i, j].
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.grid import of_grid
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))
# The corners from which the recurrence may start, as signs along rows and columns.
CORNERS = {2: ((1, 1), (-1, -1)), 4: ((1, 1), (-1, 1), (1, -1), (-1, -1))}


def averages(grid: tuple[int, int]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """What a step to each cell is multiplied by, from the left and from above: 1/2 where it adds two states, else 1.

    Of the states of an impulse at the first cell, the vertical ones are 0 in the rest of the first row, and the
    horizontal ones in the rest of the first column.
    """
    rows, columns = np.indices(grid)
    both = (rows > 0) == (columns > 0)
    left, above = np.ones(grid, np.float32), np.ones(grid, np.float32)
    left[:, 1:] = np.where(both[:, :-1], 0.5, 1)
    above[1:] = np.where(both[:-1], 0.5, 1)
    return left, above


def responses(
    A: Float[Array, "4 K N"], B: Float[Array, "2 K N"], left: Float[np.ndarray, "h w"], above: Float[np.ndarray, "h w"]
) -> Float[Array, "2 h w K N"]:
    """The horizontal and the vertical states after an impulse at the first cell, one diagonal of the grid at a time.

    left, above: what a step to each cell is multiplied by.
    """
    h, w = left.shape
    rows, diagonals = np.arange(h), np.arange(h + w - 1)
    columns = diagonals[:, None] - rows  # of the cell in each row of a diagonal
    within = (columns >= 0) & (columns < w)
    steps = [np.where(within, one[rows, np.clip(columns, 0, w - 1)], 0)[..., None, None] for one in (left, above)]

    def step(states, by):
        across, down = states
        from_left = by[0] * (A[0] * across + A[1] * down)
        from_above = by[1] * jnp.roll(A[2] * across + A[3] * down, 1, axis=0).at[0].set(0)
        return (from_left, from_above), (from_left, from_above)

    first = tuple(jnp.zeros((h, *b.shape), b.dtype).at[0].set(b) for b in B)
    _, rest = jax.lax.scan(step, first, tuple(jnp.asarray(one[1:], A.dtype) for one in steps))
    every = jnp.stack([jnp.concatenate([a[None], b]) for a, b in zip(first, rest, strict=True)])
    i, j = np.indices((h, w))
    return every[:, i + j, i]


def kernels(states: Float[Array, "2 h w K N"], C: Float[Array, "2 R D N"]) -> Float[Array, "R h w D"]:
    """C · states / sqrt(N) for each direction and channel; channel d reads the system d modulo K."""
    (K, N), (_, R, D, _) = states.shape[-2:], C.shape
    each = jnp.einsum("xabkn,xrdkn->rabdk", states, C.reshape(2, R, D // K, K, N)) / N**0.5
    return each.reshape(R, *states.shape[1:3], D)


def convolved(x: Float[Array, "B h w D"], kernels: Float[Array, "R h w D"]) -> Float[Array, "B h w D"]:
    """The sum over R corners of the convolutions of x from that corner, as one convolution by FFT, in float32."""
    (_, h, w, _), corners = x.shape, CORNERS[len(kernels)]
    ring = jnp.zeros((2 * h, 2 * w, x.shape[3]))  # whose cell (a, b) is for the offset (a, b) modulo its sides
    for (down, right), kernel in zip(corners, kernels, strict=True):
        ring = ring.at[np.ix_(down * np.arange(h), right * np.arange(w))].add(kernel)
    wave = jnp.fft.rfft2(x.astype(jnp.float32), ring.shape[:2], axes=(1, 2)) * jnp.fft.rfft2(ring, axes=(0, 1))
    return jnp.fft.irfft2(wave, ring.shape[:2], axes=(1, 2))[:, :h, :w]


class StateSpace2D(nn.Module):
    """norm(skip · x + the convolutions of x from each corner); tokens before those of the grid stay as they are.

    states: N.  systems: K, among which the channels are divided; each has transitions and inputs of its own, and each
    channel and direction an output.  directions: R, the corners that are started from.  norm: none if None.
    Transitions and inputs are sigmoids of the parameters. A row holds one text. A row without a grid is a grid of one
    row.
    """

    whole_row: ClassVar[str | None] = "runs over a whole row"
    mixes_all: ClassVar[bool] = True

    states: Count = 16
    systems: Count = 8
    directions: Literal[2, 4] = 4
    norm: Spec | None = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("state_space_2d", ctx, state)
        ctx.refuse_heard("mixer 'state_space_2d'")
        (B, T, D), K, N = x.shape, self.systems, self.states
        if D % K:
            raise SpecError(f"state_space_2d: a width of {D} does not divide among {K} systems; set systems")
        ctx, x = of_grid(ctx, T), ctx.clean(x)
        small, unit = nn.initializers.normal(0.2), nn.initializers.normal(1.0)
        A = jax.nn.sigmoid(param(self, "transition", small, (4, K, N)))
        U = jax.nn.sigmoid(param(self, "input", small, (2, K, N)))
        C = param(self, "output", unit, (2, self.directions, D, N))
        skip = param(self, "skip", unit, (D,)).astype(x.dtype)
        patches = jnp.where(ctx.patches(ctx.real(x))[..., None], ctx.patches(x), 0)
        edge = np.ones(ctx.grid, np.float32)  # the first row and column, less the first cell, have been halved once
        edge[0, 1:] = edge[1:, 0] = 2.0
        kernel = kernels(responses(A, U, *averages(ctx.grid)), C) * edge[..., None]
        y = convolved(patches.reshape(B, *ctx.grid, D), kernel).reshape(patches.shape).astype(x.dtype)
        y = skip * patches + y
        y = y if self.norm is None else build(NORMS, self.norm, name="norm")(y)
        return jnp.concatenate([x[:, : T - patches.shape[1]], y], axis=1), None
