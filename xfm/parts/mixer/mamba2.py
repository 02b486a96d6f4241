"""Mamba-2: a short causal convolution, a state-space dual recurrence and a gated norm.

Dao, Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured
State Space Duality" (2024), section 7 and figure 6. Initial values are those of the authors' code, except that the
convolution's bias starts at 0.
"""

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context
from xfm.fields import Count, Positive
from xfm.kernels.conv import depthwise, tail_after
from xfm.kernels.ssd import ssd, step
from xfm.parts.linear import Linear
from xfm.parts.param import param
from xfm.spec import SpecError

DECAY_RANGE = (1.0, 16.0)  # -a at the start, uniform
STEP_RANGE = (1e-3, 1e-1)  # dt at the start, log-uniform
# U(-1/sqrt(fan in), 1/sqrt(fan in)), the start of PyTorch's layers that the authors keep
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def first_and_last(segments: Int[Array, "B T"], before: Int[Array, "B"]) -> tuple[Int[Array, "B"], Int[Array, "B"]]:
    """The segments of the first and the last real token of each row, `before` where it has none."""
    real = segments > 0

    def at(index):
        return jnp.take_along_axis(segments, index[:, None], axis=1)[:, 0]

    first = at(jnp.argmax(real, axis=1))
    last = at(segments.shape[1] - 1 - jnp.argmax(real[:, ::-1], axis=1))
    some = real.any(axis=1)
    return jnp.where(some, first, before), jnp.where(some, last, before)


def gated_rms_norm(
    y: Float[Array, "B T E"],
    gate: Float[Array, "B T E"],
    scale: Float[Array, "E"],
    groups: int = 1,
    epsilon: float = 1e-5,
) -> Float[Array, "B T E"]:
    """scale · u / rms(u) for u = y silu(gate), each of `groups` equal parts by its own rms."""
    u = y.astype(jnp.float32) * jax.nn.silu(gate.astype(jnp.float32))
    parts = u.reshape(*u.shape[:-1], groups, -1)
    parts = parts * jax.lax.rsqrt(jnp.mean(parts**2, axis=-1, keepdims=True) + epsilon)
    return (scale * parts.reshape(u.shape)).astype(y.dtype)


def initial_a_log(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "N"]:
    """log(-a) for a decay rate uniform in DECAY_RANGE."""
    low, high = DECAY_RANGE
    return jnp.log(jax.random.uniform(key, shape, dtype, low, high))


def initial_dt_bias(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "N"]:
    """The inverse of softplus of a step size log-uniform in STEP_RANGE."""
    low, high = (math.log(end) for end in STEP_RANGE)
    dt = jnp.exp(jax.random.uniform(key, shape, dtype, low, high))
    return dt + jnp.log(-jnp.expm1(-dt))


class Conv(nn.Module):
    """Owns the kernel and the bias of a causal depthwise convolution over `width` positions."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T E"], **where: Array | None) -> Float[Array, "B T E"]:
        kernel = param(self, "kernel", UNIFORM, (self.width, x.shape[-1]))
        bias = param(self, "bias", nn.initializers.zeros, (x.shape[-1],))
        return depthwise(x, kernel, bias=bias, before=self.width - 1, **where)


class GatedNorm(nn.Module):
    """Owns the scale of the gated RMS norm."""

    groups: int
    epsilon: float

    @nn.compact
    def __call__(self, y: Float[Array, "B T E"], gate: Float[Array, "B T E"]):
        scale = param(self, "scale", nn.initializers.ones, (y.shape[-1],))
        return gated_rms_norm(y, gate, scale, self.groups, self.epsilon)


class Mamba2(nn.Module):
    """Causal mixer of linear cost in length, with a state of fixed size; padding gives 0.

    expand: inner width E over D.  head_width: H.  heads: N, expand D / H if None; if given, E is
    N H and expand is not used.
    state: M, numbers per channel that the state holds.  groups: G sets of input and output maps,
    each for N / G heads.
    conv: W, positions that the convolution reads.  norm_groups: parts of E normalised apart (the authors'
    code and transformers take `groups`).  epsilon: of the norm.  chunk, implementation: as in
    `xfm.kernels.ssd.ssd`.

    Parameters: in/kernel (columns z E, x E, b G M, c G M, dt N), conv/{kernel, bias}, a_log,
    dt_bias, d, norm/scale, out/kernel. State: conv [B W-1 E+2GM], ssm [B N H M] float32, segment
    [B], the id that the next token may continue (0: none yet). Without a state the second result is
    None.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    expand: Count = 2
    heads: Count | None = None
    head_width: Count = 64
    state: Count = 128
    groups: Count = 1
    conv: Count = 4
    norm_groups: Count = 1
    epsilon: Positive = 1e-5
    chunk: Count = 256
    implementation: str | None = None

    def _heads(self, width: int) -> int:
        """N for D = width; raises SpecError where the sizes do not divide."""
        if self.heads is None and self.expand * width % self.head_width:
            raise SpecError(
                f"mamba2: expand · D = {self.expand} · {width} has to be a multiple of head_width = {self.head_width}."
            )
        heads = self.heads or self.expand * width // self.head_width
        if heads % self.groups or heads * self.head_width % self.norm_groups:
            raise SpecError(
                f"mamba2: groups = {self.groups} has to divide the {heads} heads, and "
                f"norm_groups = {self.norm_groups} the inner width {heads * self.head_width}."
            )
        return heads

    def init_state(self, batch: int, length: int, width: int, dtype=jnp.float32) -> dict[str, Array]:
        """The state of one layer before any token; its size does not depend on `length`."""
        N, H, M = self._heads(width), self.head_width, self.state
        return {
            "conv": jnp.zeros((batch, self.conv - 1, N * H + 2 * self.groups * M), dtype),
            "ssm": jnp.zeros((batch, N, H, M), jnp.float32),
            "segment": jnp.zeros(batch, jnp.int32),
        }

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], ctx: Context, state: dict[str, Array] | None = None
    ) -> tuple[Float[Array, "B T D"], dict[str, Array] | None]:
        ctx.refuse_heard("mixer 'mamba2'")
        B, T, D = x.shape
        N, H, G, M = self._heads(D), self.head_width, self.groups, self.state
        E, GM = N * H, G * M
        x, segments = ctx.clean(x), ctx.segments
        before = state
        if state is not None:
            segments = jnp.ones((B, T), jnp.int32) if segments is None else segments
            first, last = first_and_last(segments, state["segment"])
            before = _if_continued(state, first == state["segment"])

        dense = partial(Linear, bias=False, init=UNIFORM)
        parts = dense(2 * E + 2 * GM + N, name="in")(x)
        z, xbc, dt = jnp.split(parts, [E, 2 * E + 2 * GM], axis=-1)
        where = {"segments": segments}
        if state is not None:
            where |= {"tail": before["conv"], "tail_segment": state["segment"]}
            tail = tail_after(xbc, segments, before["conv"], state["segment"], last)
        h, b, c = jnp.split(jax.nn.silu(Conv(self.conv, name="conv")(xbc, **where)), [E, E + GM], axis=-1)

        a = -jnp.exp(param(self, "a_log", initial_a_log, (N,)))
        dt = jax.nn.softplus(dt.astype(jnp.float32) + param(self, "dt_bias", initial_dt_bias, (N,)))
        of_heads = (h.reshape(B, T, N, H), dt, a, b.reshape(B, T, G, M), c.reshape(B, T, G, M))
        d = param(self, "d", nn.initializers.ones, (N,))
        y, after = _recurrence(of_heads, d, segments, before, self.chunk, self.implementation)
        y = GatedNorm(self.norm_groups, self.epsilon, name="norm")(y.reshape(B, T, E), z)
        y = dense(D, name="out")(y)
        return y, None if state is None else {"conv": tail, "ssm": after, "segment": last}


def _if_continued(state: dict[str, Array], same: Bool[Array, "B"]) -> dict[str, Array]:
    """The state of rows whose first real token continues its segment; zeros in the others."""
    return {
        name: jnp.where(same.reshape(-1, *[1] * (state[name].ndim - 1)), state[name], 0) for name in ("conv", "ssm")
    }


def _recurrence(of_heads, d, segments, before, chunk, implementation):
    """`ssd` over the row, or `step` where a single token continues a state."""
    x, dt, a, b, c = of_heads
    if before is not None and x.shape[1] == 1 and implementation is None:
        x, dt, b, c, segments = (v[:, 0] for v in (x, dt, b, c, segments))
        y, after = step(x, dt, a, b, c, d=d, segments=segments, state=before["ssm"])
        return y[:, None], after
    h = None if before is None else before["ssm"]
    return ssd(*of_heads, d=d, segments=segments, state=h, chunk=chunk, implementation=implementation)
