"""The lambda layer: what a token reads of its context is one linear map, a lambda, that is applied to its queries.

Bello, "LambdaNetworks: Modeling Long-Range Interactions Without Attention", 2021, section 3, equations 1 to 3, and
section 3.2 for several queries a token (`heads`), the depth of keys and values within a position (`depth`) and the
lambda convolution (`size`). There is no map of scores between tokens: a lambda has M x H numbers.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.platform import product
from xfm.parts.conv import convolved
from xfm.parts.grid import as_grid, of_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


def content_lambda(
    k: Float[Array, "B T M U"], v: Float[Array, "B T H U"], real: Bool[Array, "B T"]
) -> Float[Array, "B M H"]:
    """sum over tokens of softmax(k) vᵀ, one for all tokens of a row, in float32. The softmax is over real tokens."""
    real = real[..., None, None]
    weights = jax.nn.softmax(jnp.where(real, k.astype(jnp.float32), jnp.finfo(jnp.float32).min), axis=1)
    return product("btmu,bthu->bmh", jnp.where(real, weights, 0.0), v.astype(jnp.float32))


def position_lambdas(v: Float[Array, "B h w H U"], table: Float[Array, "p q U M"]) -> Float[Array, "B h w H M"]:
    """Of each token the sum over tokens within p rows and q columns around it of (their offset's embedding) vᵀ."""
    B, h, w, H, U = v.shape
    x = jnp.moveaxis(v, 3, 1).reshape(B * H, h, w, U)
    y = convolved(x, table.astype(v.dtype), (1, 1), (table.shape[0] // 2, table.shape[1] // 2))
    return jnp.moveaxis(y.reshape(B, H, h, w, -1), 1, 3)


def embeddings(table: Float[Array, "p q U M"], grid: tuple[int, int]) -> Float[Array, "T T U M"]:
    """E[n, m], the embedding of the offset from token n to token m; the table has all offsets of the grid."""
    (h, w), (p, q, U, M) = grid, table.shape
    rows, columns = (jnp.arange(n) - jnp.arange(n)[:, None] + size // 2 for n, size in ((h, p), (w, q)))
    return table[rows[:, None, :, None], columns[None, :, None, :]].reshape(h * w, h * w, U, M)


def global_lambdas(v: Float[Array, "B h w H U"], table: Float[Array, "p q U M"]) -> Float[Array, "B h w H M"]:
    """`position_lambdas` of a table that has all offsets of the grid, as one product with its embeddings."""
    B, h, w, H, U = v.shape
    each = embeddings(table.astype(v.dtype), (h, w))
    return jnp.einsum("tsum,bshu->bthm", each, v.reshape(B, h * w, H, U)).reshape(B, h, w, H, -1)


class LambdaLayer(nn.Module):
    """y_nh = sum over m of norm(q)_nm λ_mh, λ = content_lambda + position_lambdas, side by side for the N queries.

    heads: N, queries of a token, which share its lambda; H = D / N.  keys: M, the width of a query and of a key.
    depth: U, keys and values of a token (the paper's u).  size: rows and columns of the context whose positions count,
    odd; twice the grid's sides less one, or more, is all of it.  bias: a bias of the position lambdas, as timm has it.
    norm: spec of the norm of queries and values.
    There is no map after it. A row holds one text. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "normalises keys over a whole row"
    mixes_all: ClassVar[bool] = True

    heads: Count = 4
    keys: Count = 16
    depth: Count = 1
    size: Count | tuple[Count, Count] = 23
    bias: bool = False
    norm: Spec = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("lambda_layer", ctx, state)
        (B, T, D), N, M, U, (p, q) = x.shape, self.heads, self.keys, self.depth, pair(self.size)
        if D % N:
            raise SpecError(f"lambda_layer: a width of {D} does not divide among {N} heads; set heads")
        if not p % 2 or not q % 2:
            raise SpecError(f"lambda_layer: size is {p} x {q}; choose odd numbers of rows and columns")
        ctx, H, real = of_grid(ctx, T), D // N, ctx.real(x)
        x = as_grid(x, ctx, "mixer 'lambda_layer'").reshape(B, T, D)

        def normed(name, y):
            return build(NORMS, self.norm, name=f"{name}_norm")(y.reshape(B, T, -1)).reshape(y.shape)

        queries = normed("q", Linear((N, M), bias=False, name="q")(x))
        k = Linear((M, U), bias=False, name="k")(x)
        v = normed("v", Linear((H, U), bias=False, name="v")(x))
        v = jnp.where(real[..., None, None], v, 0)  # the norm's bias in padding too
        table = param(self, "table", nn.initializers.normal(0.02), (p, q, U, M))
        (h, w), content = ctx.grid, content_lambda(k, v, real)
        lambdas = global_lambdas if p >= 2 * h - 1 and q >= 2 * w - 1 else position_lambdas
        position = lambdas(v.reshape(B, h, w, H, U), table).reshape(B, T, H, M)
        if self.bias:
            position = position + param(self, "bias", nn.initializers.zeros, (M,)).astype(position.dtype)
        each = content.swapaxes(1, 2)[:, None].astype(x.dtype) + position
        return jnp.einsum("btnm,bthm->btnh", queries, each).reshape(B, T, D), None
