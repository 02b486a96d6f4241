"""A linear recurrence with one decay for each head, in chunks.

Dao, Gu, "Transformers are SSMs" (2024), section 6 and listing 1; Sun et al., "Retentive Network" (2023), section 2.3.
Differences from the listing: there are segments; keys and queries are not repeated for the heads of a group; weights of
tokens are multiplied into the scores, so that bfloat16 inputs are rounded only once; and differences of the cumulative
log-decay are exact (see `cumulative`).
"""

import jax
import jax.numpy as jnp

from ..chunks import between, cumulative, gap, reach
from ..platform import product


@jax.checkpoint  # the arrays [C C] of every head are recomputed in the backward pass instead of stored
def within(q, k, v, weight, sums, run):
    """The part of y [B Z G R C H] that comes from tokens of the same chunk. Arguments as in `scalar`.

    sums: those of `cumulative`, or None where nothing decays.
    """
    wide = jnp.promote_types(v.dtype, jnp.float32)
    visible = jnp.tril(jnp.ones((v.shape[-2],) * 2, bool))
    if run is not None:
        visible = visible & (gap(run) == 0)[:, :, None, None]
    scores = product("bzgim,bzgjm->bzgij", q, k, wide)[:, :, :, None]
    if sums is None:
        scores = jnp.where(visible, scores, 0)
    else:
        coarse, fine = sums
        scores = scores * jnp.exp(jnp.where(visible, gap(coarse) + gap(fine), -jnp.inf))
    if weight is not None:
        scores = scores * weight[..., None, :]
    scores = jnp.broadcast_to(scores.astype(v.dtype), (*v.shape[:-1], v.shape[-2]))
    return product("bzgrij,bzgrjh->bzgrih", scores, v, wide)


def scalar(q, k, v, steps, *, weight=None, run=None, state=None):
    """y [B Z G R C H] and the last state [B G R H M] of S <- exp(step) S + weight v k^T, y = S q, both float32.

    q, k [B Z G C M] and v [B Z G R C H] of one dtype, which is that of the operands of products.
    steps: log-decays [. Z G R C], at least VANISHED and 0 in padding; None for none.  weight [B Z G R C]: None for 1.
    run: `runs` [B Z C]; None for a single one.  state: before the first token; None for zero.
    """
    wide = jnp.promote_types(v.dtype, jnp.float32)
    sums, since_entry, until_exit = None, jnp.zeros((1,) * 5, wide), jnp.zeros((1,) * 5, wide)
    if steps is not None:
        coarse, fine = sums = cumulative(steps)
        since_entry, until_exit = coarse + fine, coarse[..., -1:] - coarse + (fine[..., -1:] - fine)
    if run is not None:
        entering, leaving = (mask[:, :, None, None] for mask in reach(run))
        since_entry = jnp.where(entering, since_entry, -jnp.inf)
        until_exit = jnp.where(leaving, until_exit, -jnp.inf)
    since_entry, until_exit = jnp.exp(since_entry), jnp.exp(until_exit)

    y = within(q, k, v, weight, sums, run)
    until_exit = until_exit if weight is None else until_exit * weight
    given = product("bzgrjh,bzgjm->bzgrhm", (v * until_exit[..., None]).astype(v.dtype), k, wide)
    if v.shape[1] == 1 and state is None:
        return y, given[:, 0]
    state = jnp.zeros_like(given[:, 0]) if state is None else state.astype(wide)
    kept = jnp.broadcast_to(since_entry[..., -1], (since_entry.shape[0], v.shape[1], *since_entry.shape[2:4]))
    entry, last = between(kept[..., None, None], given, state)
    carried = product("bzgim,bzgrhm->bzgrih", q, entry.astype(v.dtype), wide)
    return y + carried * since_entry[..., None], last
