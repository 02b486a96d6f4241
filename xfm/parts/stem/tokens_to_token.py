"""Tokens to token: overlapping tiles are joined to fewer tokens again and again, with a small transformer in between.

Yuan, Chen, Wang, Yu, Shi, Jiang, Tay, Feng, Yan, "Tokens-to-Token ViT: Training Vision Transformers from Scratch on
ImageNet", 2021, section 3.1. The linear attention is that of Choromanski et al. 2021 (Performer), lemma 1: positive
random features. That the values take the place of the residual stream, whose width differs, follows the authors'
program.
"""

import math
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.kernels.attention import attention
from xfm.kernels.platform import product
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.split import soft_split
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))
Split = tuple[Count, Count, CountOrZero]


def positive_features(x: Float[Array, "B T H"], w: Float[Array, "M H"]) -> Float[Array, "B T M"]:
    """exp(w · x - |x|² / 2) / sqrt(M), whose inner products have the mean exp(x · y) over normal w."""
    return jnp.exp(product("bth,mh->btm", x, w) - jnp.square(x).sum(-1, keepdims=True) / 2) / math.sqrt(w.shape[0])


def performer(q, k, v: Float[Array, "B T H"], w: Float[Array, "M H"]) -> Float[Array, "B T H"]:
    """φ(q) (φ(k)ᵀ v) / φ(q) · sum of φ(k), in float32: attention with exp(q · k) estimated by M features."""
    q, k = (positive_features(a.astype(jnp.float32), w) for a in (q, k))
    weighted = product("btm,bmh->bth", q, product("btm,bth->bmh", k, v.astype(jnp.float32)))
    total = product("btm,bm->bt", q, k.sum(1))
    return (weighted / (total[..., None] + 1e-8)).astype(v.dtype)


def orthogonal_features(key: Array, shape: tuple[int, int], dtype=jnp.float32) -> Float[Array, "M H"]:
    """M orthogonal rows of length sqrt(M), as the authors' program draws them."""
    return math.sqrt(shape[0]) * nn.initializers.orthogonal()(key, shape, dtype)


class Reencoder(nn.Module):
    """h + mlp(norm(h)) with h = v + o(attention), a layer that changes the width to that of its values.

    kind: "transformer" (softmax, scaled by the width of the input as in the authors' program) or "performer".
    """

    width: int
    kind: str
    norm: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T D"]:
        D, performs = self.width, self.kind == "performer"
        h = build(NORMS, self.norm, name="in_norm")(x)
        q, k, v = (Linear((1, D), bias=performs, name=name)(h) for name in "qkv")
        if performs:
            w = param(self, "features", orthogonal_features, (D // 2, D)).astype(jnp.float32)
            y = performer(q[:, :, 0], k[:, :, 0], v[:, :, 0], w)[:, :, None]
        else:
            y = attention(q, k, v, scale=x.shape[-1] ** -0.5)
        h = v[:, :, 0] + Linear(D, axes=2, name="o")(y)
        y = Linear(D, name="up")(build(NORMS, self.norm, name="out_norm")(h))
        return h + Linear(D, name="down")(activation("gelu")(y))


class TokensToToken(nn.Module):
    """Each of `splits` but the last is followed by a layer of width `inner`, the last by a linear map to D.

    splits: (size, stride, margin) of the tiles of each step, in pixels and then in tokens.
    encoder: of the layers, "performer" or "transformer".  norm: of the layers.
    """

    width: Count
    splits: tuple[Split, ...] = ((7, 4, 2), (3, 2, 1), (3, 2, 1))
    inner: Count = 64
    encoder: Literal["performer", "transformer"] = "performer"
    norm: Spec = LAYERNORM

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return (math.prod(stride for _, stride, _ in self.splits),) * 2

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        *between, last = self.splits
        x = images
        for i, split in enumerate(between):
            x = soft_split(x, *split)
            B, h, w, C = x.shape
            layer = Reencoder(self.inner, self.encoder, self.norm, name=f"layer_{i}")
            x = layer(x.reshape(B, h * w, C)).reshape(B, h, w, self.inner)
        return Linear(self.width, name="out")(soft_split(x, *last))
