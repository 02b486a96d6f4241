"""The definition of attention: every score is formed, in float32 or float64, without any optimisation."""

import jax
import jax.numpy as jnp

from ..counting import included
from .softmax import Softmax, capped


def naive(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """(values, log-sum-exp or None), which each implementation must equal. Shapes are those of the public function.

    A query attends to the keys of its own segment that the mask leaves visible. Segment 0 is padding: it attends to
    nothing and returns zeros, and nothing that its queries, keys and values hold, NaN included, affects other tokens or
    gradients. A query that attends to nothing returns zeros.
    """
    (B, T, N, _), (_, S, K, _) = q.shape, k.shape
    out_dtype, wide = q.dtype, jnp.promote_types(q.dtype, jnp.float32)
    if segments is None:
        segments = tuple(jnp.ones((B, length), jnp.int32) for length in (T, S))
    q_real, k_real = (s[:, :, None, None] > 0 for s in segments)
    q, k, v = (
        jnp.where(real, a, 0).astype(wide)  # 0 · NaN is NaN: a zero weight alone does not stop it
        for a, real in ((q, q_real), (k, k_real), (v, k_real))
    )
    k, v = (jnp.repeat(a, N // K, axis=2) for a in (k, v))
    with included():
        scores = jnp.einsum("btnh,bsnh->bnts", q, k) * scale

    query, key = jnp.arange(T) + mask.start, jnp.arange(S)
    rows, heads = jnp.arange(B), jnp.arange(N)

    def over_rows_and_heads(block):
        return jax.vmap(lambda b: jax.vmap(lambda n: block(b, n, query, key))(heads))(rows)

    def per_head(number):
        return jnp.broadcast_to(jnp.asarray(number, wide), (N,))[:, None, None]

    if bias is not None:
        scores += over_rows_and_heads(bias.block)
    if softmax.temperature is not None:
        scores /= per_head(softmax.temperature)
    scores = capped(scores, softmax.cap)

    def seen(b, n, query, key):
        prefix = None if mask.prefix is None else mask.prefix[b]
        everyone = None
        if mask.everyone is not None:
            everyone = mask.everyone[b].at[query].get(mode="fill", fill_value=False), mask.everyone[b]
        shown = None
        if mask.pattern is not None:
            at = None if mask.pattern.at is None else mask.pattern.at[b]
            shown = mask.pattern.block(n, jnp.arange(T), query, key, at)
        rule = mask.visible(query, key, prefix, everyone, shown)
        own = (segments[0][b][:, None] == segments[1][b][None, :]) & (segments[0][b][:, None] > 0)
        return own if rule is None else own & rule

    visible = over_rows_and_heads(seen)
    if isinstance(softmax, Softmax):
        top = jnp.max(jnp.where(visible, scores, -jnp.inf), axis=-1, keepdims=True)
        top = jnp.where(jnp.isfinite(top), top, 0.0)
        weights = jnp.where(visible, jnp.exp(jnp.where(visible, scores - top, 0.0)), 0.0)
        total = weights.sum(axis=-1, keepdims=True)
        if softmax.sink is not None:
            total += jnp.exp(per_head(softmax.sink) - top)
        some = jnp.where(total == 0, 1.0, total)
        weights /= some
        lse = jnp.where(total == 0, -jnp.inf, jnp.log(some) + top)[..., 0].transpose(0, 2, 1)
        if softmax.clip is not None:
            gamma, zeta = softmax.clip
            weights = jnp.where(visible, jnp.clip((zeta - gamma) * weights + gamma, 0, 1), 0)
    else:
        weights = jnp.where(visible, jax.nn.sigmoid(scores + per_head(softmax.shift)), 0)
        lse = None
    if dropout is not None:
        weights *= over_rows_and_heads(dropout.keep) / (1 - dropout.rate)
    with included():
        return jnp.einsum("bnts,bsnh->btnh", weights, v).astype(out_dtype), lse
