"""Attention through landmarks: the softmax of T × T scores approximated by softmaxes of T × m, m × m and m × T.

Xiong, Zeng, Chakraborty, Tan, Fung, Li, Singh, "Nyströmformer: A Nyström-based Algorithm for Approximating
Self-Attention", 2021, section 3. Each segment has landmarks of its own: the means of m consecutive groups of its
tokens, whose lengths differ by one at most; a shorter segment's landmarks are its tokens.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import attention
from xfm.kernels.conv import depthwise
from xfm.kernels.platform import product
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.param import param
from xfm.parts.texts import positions_and_lengths
from xfm.spec import SpecError

STARTS = ("matrix", "batch")


def slots(segments: Int[Array, "B T"], m: int) -> Int[Array, "B T"]:
    """The landmark to which each token belongs, numbered across all segments of the row; -1 at padding."""
    position, length = positions_and_lengths(segments)
    many = jnp.minimum(length, m)
    starts = position * many // length != (position - 1) * many // length  # a token is the first of its landmark
    leads = (segments > 0) & starts
    order = jnp.argsort(segments, axis=1, stable=True)
    count = jnp.cumsum(jnp.take_along_axis(leads, order, axis=1), axis=1)
    return jnp.take_along_axis(count, jnp.argsort(order, axis=1), axis=1) - 1


def softmax_within(scores: Float[Array, "B N t s"], own: Bool[Array, "B 1 t s"]) -> Float[Array, "B N t s"]:
    """Softmax over the keys marked `own`; zeros for a query that has none."""
    scores = jnp.where(own, scores, -jnp.inf)
    top = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0.0))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / jnp.where(total == 0, 1.0, total)


def pseudo_inverse(
    a: Float[Array, "B N G G"], own: Bool[Array, "B 1 G G"], start: str, iterations: int = 6
) -> Float[Array, "B N G G"]:
    """An approximate inverse of each segment's block of a, by equation 11 of section 3.2.

    start: what the first iterate, aᵀ / the largest column sum, takes the maximum over: each block ("matrix", the
    paper's) or the whole batch ("batch", the authors' program's, by which texts of a batch affect each other slightly).
    """
    sums = a.sum(axis=-2, keepdims=True)
    most = sums.max() if start == "batch" else jnp.where(own, sums, 0).max(axis=-1, keepdims=True)
    z = a.swapaxes(-1, -2) / jnp.where(most == 0, 1.0, most)
    one = jnp.eye(a.shape[-1])
    with jax.default_matmul_precision("float32"):
        for _ in range(iterations):
            az = a @ z
            z = 0.25 * z @ (13 * one - az @ (15 * one - az @ (7 * one - az)))
    return z


def nystrom(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T N H"],
    v: Float[Array, "B T N H"],
    segments: Int[Array, "B T"],
    m: int,
    texts: int | None = None,
    start: str = "matrix",
) -> Float[Array, "B T N H"]:
    """softmax(q k̃ᵀ) softmax(q̃ k̃ᵀ)⁺ softmax(q̃ kᵀ) v, in float32, scores scaled by 1 / sqrt(H); q̃, k̃: landmarks.

    texts: the largest number of segments in a row; any number if None, for which a T × T matrix is inverted. A token
    whose landmark is beyond texts · m gives NaN.
    """
    T, H = q.shape[1], q.shape[-1]
    G = T if texts is None else min(T, texts * m)
    slot = slots(segments, m)
    member = slot[..., None] == jnp.arange(G)
    q, k, v = (jnp.where((segments > 0)[..., None, None], a, 0).astype(jnp.float32) for a in (q, k, v))
    q, k = q * H**-0.25, k * H**-0.25
    share = member / jnp.maximum(member.sum(axis=1, keepdims=True), 1)
    q_mark, k_mark = (product("btg,btnh->bgnh", share, a) for a in (q, k))
    mark = jnp.where(member, segments[..., None], 0).max(axis=1)  # the segment of each landmark

    def weights(a, b, a_segments, b_segments):
        own = (a_segments[:, :, None] == b_segments[:, None, :]) & (b_segments > 0)[:, None, :]
        return softmax_within(product("btnh,bsnh->bnts", a, b), own[:, None]), own[:, None]

    near, _ = weights(q, k_mark, segments, mark)
    middle, own = weights(q_mark, k_mark, mark, mark)
    far, _ = weights(q_mark, k, mark, segments)
    y = near @ (pseudo_inverse(middle, own, start) @ product("bngs,bsnh->bngh", far, v))
    return jnp.where((slot < G)[..., None, None], y.swapaxes(1, 2), jnp.nan)


class Nystrom(nn.Module):
    """Attention by `nystrom`, and a convolution within segments over the values of each head, added (section 3.4).

    heads: N.  landmarks: m for each text; None attends exactly.  conv: W, odd, tokens that the convolution spans, no
    convolution if None.  texts: the most that a row holds, any number if None.  start: of the inverse, one of STARTS.
    """

    whole_row: ClassVar[str | None] = "takes its landmarks from a whole row"
    mixes_all: ClassVar[bool] = True

    heads: Count
    landmarks: Count | None = 64
    conv: Count | None = 65
    texts: Count | None = None
    start: Literal["matrix", "batch"] = "matrix"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("nystrom", ctx, state)
        ctx.refuse_heard("mixer 'nystrom'")
        self._check(D := x.shape[-1])
        x = ctx.clean(x)
        q, k, v = (Linear((self.heads, D // self.heads), name=name)(x) for name in ("q", "k", "v"))
        if self.landmarks is None:
            y = attention(q, k, v, segments=ctx.segments)
        else:
            one = ctx.segments is None
            segments = jnp.ones(x.shape[:2], jnp.int32) if one else ctx.segments
            y = nystrom(q, k, v, segments, self.landmarks, 1 if one else self.texts, self.start).astype(x.dtype)
        if self.conv is not None:
            taps = param(self, "conv", nn.initializers.normal(0.02), (self.heads, 1, self.conv, 1))
            y += depthwise(v, jnp.moveaxis(taps, 2, 0)[:, :, 0], segments=ctx.segments)
        return Linear(D, axes=2, name="o")(y), None

    def _check(self, D: int) -> None:
        if self.heads < 1 or D % self.heads:
            raise SpecError(f"nystrom: a width of {D} does not divide among {self.heads} heads")
        if self.conv is not None and (self.conv < 1 or self.conv % 2 == 0):
            raise SpecError(f"nystrom: conv is an odd number of tokens or None, not {self.conv}")
        if min(self.landmarks or 1, self.texts or 1) < 1:
            raise SpecError(f"nystrom: landmarks and texts are 1 or more, not {self.landmarks} and {self.texts}")
        if self.start not in STARTS:
            raise SpecError(f"nystrom: start is one of {', '.join(STARTS)}, not {self.start!r}")
