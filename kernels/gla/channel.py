"""A linear recurrence with a decay for each channel of the keys, in chunks.

Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training" (2023), section 4. The score of two
tokens is sum_m q_m k_m exp(g_m), where g is the sum of the log-decays between them; it is a product of matrices only if
exp(g) is a product of a factor of either token, and one of the two can overflow. Here a chunk is divided in halves,
each half in halves, and so on. Between the two halves of a block, both factors are decays to or from the border
between them, which are at most 1; and in blocks of a few tokens, the sums over channels are formed one by one. So
nothing overflows, and no decay is bounded or approximate.
"""

import jax
import jax.numpy as jnp

from ..chunks import between, cumulative, gap, reach
from ..platform import product

BLOCK = 4  # tokens of the blocks in which sums over channels are formed one by one


def scores(q, k, coarse, fine):
    """sum_m q_im k_jm exp(g_im - g_jm) [... C C] for i >= j, and 0 for i < j; all arguments are [... C M].

    coarse, fine: the cumulative sums g of log-decays (see `cumulative`); C is a power of two.
    """
    *lead, C, M = q.shape  # few axes below: jaxlib 0.10.2 crashed on a CPU where the sums had seven
    h = min(BLOCK, C)

    def differences(v):
        v = v.reshape(-1, h, M)
        return v[:, :, None] - v[:, None]

    visible = jnp.tril(jnp.ones((h, h), bool))[..., None]
    decay = jnp.exp(jnp.where(visible, differences(coarse) + differences(fine), -jnp.inf))
    s = (q.reshape(-1, h, 1, M) * k.reshape(-1, 1, h, M) * decay).sum(-1)  # [blocks h h]
    while h < C:
        halves = (jnp.moveaxis(v.reshape(-1, 2, h, M), 1, 0) for v in (q, k, coarse, fine))
        (_, late_q), (early_k, _), (early_c, late_c), (early_f, late_f) = halves
        c, f = early_c[:, -1:], early_f[:, -1:]
        late = late_q * jnp.exp((late_c - c) + (late_f - f))
        early = early_k * jnp.exp((c - early_c) + (f - early_f))
        # a product of a single bfloat16 pass would spoil the gradients of gates, which are small differences
        below = product("bim,bjm->bij", late, early, q.dtype, precision=jax.lax.Precision.HIGH)
        first, second = jnp.moveaxis(s.reshape(-1, 2, h, h), 1, 0)
        upper = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        s = jnp.concatenate([upper, jnp.concatenate([below, second], axis=-1)], axis=-2)
        h *= 2
    return s.reshape(*lead, C, C)


@jax.checkpoint  # the factors and the arrays [C C] are recomputed in the backward pass instead of stored
def within(q, k, v, coarse, fine, run):
    """The part of y [B Z N C H] that comes from tokens of the same chunk. Arguments as in `channel`."""
    s = scores(q.astype(coarse.dtype), k.astype(coarse.dtype), coarse, fine)
    if run is not None:
        s = jnp.where((gap(run) == 0)[:, :, None], s, 0)
    return product("bznij,bznjh->bznih", s.astype(v.dtype), v, coarse.dtype)


def channel(q, k, v, steps, *, run=None, state=None):
    """y [B Z N C H] and the last state [B N H M] of S <- S diag(exp(step)) + v k^T, y = S q, both float32.

    q, k [B Z N C M] and v [B Z N C H] of one dtype; C is a power of two.
    steps: log-decays [B Z N C M] in float32, at least VANISHED and 0 in padding.
    run: `runs` [B Z C]; None for a single one.  state: before the first token; None for zero.
    """
    coarse, fine = (jnp.swapaxes(sums, -1, -2) for sums in cumulative(jnp.swapaxes(steps, -1, -2)))
    since_entry = coarse + fine
    until_exit = coarse[..., -1:, :] - coarse + (fine[..., -1:, :] - fine)
    if run is not None:
        entering, leaving = (mask[:, :, None, :, None] for mask in reach(run))
        since_entry = jnp.where(entering, since_entry, -jnp.inf)
        until_exit = jnp.where(leaving, until_exit, -jnp.inf)
    since_entry, until_exit = jnp.exp(since_entry), jnp.exp(until_exit)

    y = within(q, k, v, coarse, fine, run)
    given = product("bznjh,bznjm->bznhm", v, (k * until_exit).astype(v.dtype), steps.dtype)
    if v.shape[1] == 1 and state is None:
        return y, given[:, 0]
    state = jnp.zeros_like(given[:, 0]) if state is None else state.astype(steps.dtype)
    entry, last = between(since_entry[..., -1, None, :], given, state)
    onward = (q * since_entry).astype(v.dtype)
    return y + product("bznim,bznhm->bznih", onward, entry.astype(v.dtype), steps.dtype), last
