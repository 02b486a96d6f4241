"""The definition of attention: every score formed, in float32, and nothing clever."""

import jax
import jax.numpy as jnp


def naive(q, k, v, *, segments, mask, bias, scale, dropout):
    """softmax(scale · q kᵀ + bias) v: what each implementation must equal. Shapes as in the public function.

    A token sees what the mask shows it of its own segment; segment 0 is padding, sees nothing and gives zeros, and
    whatever its queries, keys and values hold (NaN included) reaches nobody, forward or backward.
    """
    (B, T, N, _), (_, S, K, _) = q.shape, k.shape
    out_dtype = q.dtype
    q_real, k_real = (s[:, :, None, None] > 0 for s in segments)
    q, k, v = (
        jnp.where(real, a, 0).astype(jnp.float32)  # 0 · NaN is NaN: a zero weight alone does not stop it
        for a, real in ((q, q_real), (k, k_real), (v, k_real))
    )
    k, v = (jnp.repeat(a, N // K, axis=2) for a in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * scale

    query, key = jnp.arange(T) + mask.start, jnp.arange(S)
    rows, heads = jnp.arange(B), jnp.arange(N)

    def over_rows_and_heads(block):
        return jax.vmap(lambda b: jax.vmap(lambda n: block(b, n, query, key))(heads))(rows)

    if bias is not None:
        scores += over_rows_and_heads(bias.block)
    own = segments[0][:, None, :, None] == segments[1][:, None, None, :]
    visible = own & (segments[1] > 0)[:, None, None, :]
    for b in range(B):
        block = mask.visible(query, key, None if mask.prefix is None else mask.prefix[b])
        if block is not None:
            visible = visible.at[b].set(visible[b] & block)

    top = jnp.max(jnp.where(visible, scores, -jnp.inf), axis=-1, keepdims=True)
    weights = jnp.where(visible, jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0.0)), 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights / jnp.where(total == 0, 1.0, total)
    if dropout is not None:
        weights *= over_rows_and_heads(dropout.keep) / (1 - dropout.rate)
    return jnp.einsum("bnts,bsnh->btnh", weights, v).astype(out_dtype)
