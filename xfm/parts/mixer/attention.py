"""Multi-head attention. Vaswani et al. 2017, section 3.2; grouped queries: Ainslie et al. 2023."""

import math
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context, Memory
from xfm.errors import XfmError
from xfm.fields import Count, Number, Rate
from xfm.kernels.attention import Dropout, Mask
from xfm.parts.linear import Linear
from xfm.parts.mixer.softmaxes import SUM, softmax_of
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.parts.sight import SIGHTS
from xfm.parts.sight.base import Attend, Projected
from xfm.spec import Spec, SpecError, build, freeze

NO_POSITION = freeze(dict(kind="none"))
LARGEST = 100.0  # scale of the scores that is learned
State = dict[str, Array]


def bounded(logarithm: Float[Array, "N"]) -> Float[Array, "N"]:
    """min(exp(logarithm), LARGEST), in float32; where it is cut, nothing is learned."""
    return jnp.exp(jnp.minimum(logarithm.astype(jnp.float32), math.log(LARGEST)))


class Attention(nn.Module):
    """Multi-head attention of each token to those of its segment that the mask, the window and the sight leave visible.

    heads: N query heads.  kv_heads: K heads of keys and values, N if None; fewer is grouped-query attention.
    width: H, D / N if None (a free head size: Bhojanapalli et al. 2020).  bias: on all four projections, or the names
    of those that have one, such as ("q", "v", "o") (BEiT's keys have none, which the softmax would cancel).
    position: spec of the position slot.  qk_norm: spec of a norm over H on q and k (Dehghani et al. 2023).
    window: W tokens, W // 2 on either side; in a causal context the W that end with the token itself.
    sight: spec of the pattern of keys that a query attends to, all of them if None; not together with a window.
    scale: of the scores, 1 / sqrt(H) if None (T5 has 1); "learned" for one of each head, which starts at 10 and is at
    most 100, for the cosines of unit vectors (Liu et al. 2022, Swin V2, equation 3).
    softmax: spec of how scores become weights, see softmaxes.py.
    drop: rate of dropout on the attention weights.  implementation: of the kernel, the best one if None.
    memory: name of the entry of ctx.memory from which keys and values are made, the stream itself if None. The
    context's mask describes the stream and does not apply to a memory.

    The state holds the keys and values of the tokens so far, up to the length given to `init_state`; with a memory it
    holds only their number. For more tokens than that XfmError is raised, or NaN returned where their number is traced.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    kv_heads: Count | None = None
    width: Count | None = None
    bias: bool | tuple[Literal["q", "k", "v", "o"], ...] = True
    position: Spec = NO_POSITION
    qk_norm: Spec | None = None
    window: Count | None = None
    sight: Spec | None = None
    scale: Number | Literal["learned"] | None = None
    softmax: Spec = SUM
    drop: Rate = 0.0
    implementation: str | None = None
    memory: str | None = None

    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: State | None = None):
        return self.attend(x, ctx, state)

    @nn.compact
    def attend(
        self, x: Float[Array, "B T D"], ctx: Context, state: State | None = None
    ) -> tuple[Float[Array, "B T D"], State | None]:
        """`__call__` under another name, for a part that shares its scope with this one and that `capture` lists."""
        D = x.shape[-1]
        N, K, H = self.sizes(D)
        sight, memory = self._sight(state), self._memory(ctx)
        x, ctx = ctx.clean(x), _continued(ctx, x, state)
        position = build(POSITIONS, self.position, name="position")
        own = self._projected(x, ctx, position, "", memory)
        softmax = softmax_of(self.softmax, N, own.k.shape[1] if state is None or memory is not None else None)
        segments, mask = ctx.attending, ctx.mask & self._window(ctx.mask)
        if memory is not None:
            segments, mask = memory.segments_for(x, ctx), Mask.full()
        scale = 1.0 if self.scale == "learned" else self.scale  # q holds what is learned
        attend = Attend(segments, mask, position.bias(N, ctx), scale, softmax, self.implementation)
        if sight is not None:
            further = {name: self._projected(x, ctx, position, f"_{name}") for name in sight.further}
            y = sight({"": own, **further}, attend, ctx)
        elif memory is not None:
            y, state = attend(own), None if state is None else dict(held=state["held"] + x.shape[1])
        elif state is not None:
            k, v, segments, mask, state = _cached(own.k, own.v, attend.segments, attend.mask, state)
            y = attend(own._replace(k=k, v=v), segments=segments, mask=mask)
            y = jnp.where(state["held"] <= k.shape[1], y, jnp.nan)
        else:
            y = attend(own)
        return Linear(D, self._biased("o"), axes=2, name="o")(y), state

    def _projected(self, x, ctx: Context, position, suffix: str, memory: Memory | None = None) -> Projected:
        """q of x, k and v of x or the memory, by the maps whose names end in `suffix`, with norms and positions."""
        N, K, H = self.sizes(x.shape[-1])
        read = x if memory is None else memory.x.astype(x.dtype)
        maps = ("q", N, x), ("k", K, read), ("v", K, read)
        q, k, v = (Linear((n, H), self._biased(name), name=f"{name}{suffix}")(of) for name, n, of in maps)
        if self.qk_norm is not None:
            q = build(NORMS, self.qk_norm, name=f"q{suffix}_norm")(q)
            k = build(NORMS, self.qk_norm, name=f"k{suffix}_norm")(k)
        if self.scale == "learned":
            start = nn.initializers.constant(math.log(10))
            q = q * bounded(param(self, f"logit_scale{suffix}", start, (N,)))[:, None].astype(q.dtype)
        if memory is None:
            (q, k), v = position.rotate(q, k, ctx), position.value(v, ctx)
        else:
            there = ctx.replace(positions=memory.positions, grid=None)
            q, k, v = position.rotate(q, q, ctx)[0], position.rotate(k, k, there)[1], position.value(v, there)
        return Projected(q, k, v, self._dropout(ctx))

    def _biased(self, name: str) -> bool:
        return self.bias if isinstance(self.bias, bool) else name in self.bias

    def _memory(self, ctx: Context) -> Memory | None:
        if self.memory is None:
            return None
        if self.window is not None or self.sight is not None:
            raise SpecError(
                f"attention to the memory {self.memory!r} has neither a window nor a sight, which are for the stream "
                "itself; leave both out"
            )
        return ctx.remembered(self.memory, "attention")

    def _sight(self, state):
        if self.sight is None:
            return None
        if state is not None:
            raise XfmError("attention with a sight keeps no state; give it state=None")
        if self.window is not None:
            raise SpecError("attention has a window or a sight, not both; a sight says itself how far it reaches")
        return build(SIGHTS, self.sight, name="sight")

    def sizes(self, D: int) -> tuple[int, int, int]:
        """N, K and H for a model of width D; raises SpecError where they do not fit."""
        N, K = self.heads, self.heads if self.kv_heads is None else self.kv_heads
        if N < 1 or K < 1:
            raise SpecError(f"attention: heads and kv_heads are 1 or more, not {self.heads} and {self.kv_heads}")
        if self.width is None and D % N:
            raise SpecError(f"attention: a width of {D} does not divide among {N} heads; set heads or width")
        if N % K:
            raise SpecError(f"attention: {N} heads do not divide among {K} kv_heads")
        return N, K, self.width or D // N

    @nn.nowrap
    def init_state(self, batch: int, length: int, width: int, dtype=jnp.float32) -> State:
        """An empty cache for `length` tokens; segment 0 marks a free position."""
        if self.sight is not None:
            raise SpecError("attention with a sight keeps no state, so it does not read piece by piece")
        if self.memory is not None:
            return dict(held=jnp.int32(0))
        _, K, H = self.sizes(width)
        empty = jnp.zeros((batch, length, K, H), dtype)
        return dict(k=empty, v=empty, segments=jnp.zeros((batch, length), jnp.int32), held=jnp.int32(0))

    def _window(self, mask: Mask) -> Mask:
        if self.window is None:
            return Mask.full()
        if self.window < 1:
            raise SpecError(f"attention: a window holds 1 token or more, not {self.window}")
        causal = mask.order == "causal"
        return Mask.window(self.window - 1, 0) if causal else Mask.window(self.window // 2, self.window // 2)

    def _dropout(self, ctx: Context) -> Dropout | None:
        if self.drop == 0.0 or not ctx.train:
            return None
        return Dropout.of(self.drop, self.make_rng("dropout"))


def _continued(ctx: Context, x, state) -> Context:
    """The context with positions that continue those of the tokens in the state."""
    if state is None or ctx.positions is not None:
        return ctx
    return ctx.replace(positions=state["held"] + jnp.arange(x.shape[1])[None])


def _cached(k, v, segments, mask, state):
    """The cache with the new keys and values written after the held ones, and the mask offset by the held ones.

    Raises XfmError where it is known that they do not fit: they would be written over the last ones held.
    """
    held, length = state["held"], state["k"].shape[1]
    most = k.shape[1] if isinstance(held, jax.core.Tracer) else int(held) + k.shape[1]
    if most > length:
        raise XfmError(
            f"attention's state holds {length} tokens, and with these there are {most}; give init_state the length of "
            "the whole stream"
        )
    new = jnp.ones(k.shape[:2], jnp.int32) if segments is None else segments
    queries, keys = new if isinstance(new, tuple) else (new, new)
    state = dict(
        k=jax.lax.dynamic_update_slice_in_dim(state["k"], k.astype(state["k"].dtype), held, axis=1),
        v=jax.lax.dynamic_update_slice_in_dim(state["v"], v.astype(state["v"].dtype), held, axis=1),
        segments=jax.lax.dynamic_update_slice_in_dim(state["segments"], keys, held, axis=1),
        held=held + k.shape[1],
    )
    mask = mask & Mask(offset=held)
    return state["k"].astype(k.dtype), state["v"].astype(v.dtype), (queries, state["segments"]), mask, state
