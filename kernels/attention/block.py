"""One block of attention in plain JAX: some queries of one head of one row over some of its keys."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..counting import included
from ..platform import product
from .softmax import Softmax, capped


@dataclasses.dataclass(frozen=True)
class ScoreBlock:
    """Which scores a block holds: those of head n of row b, for some queries and keys.

    place: index of each query among those given.  key: row index of each key.  exists: which of the keys exist, all if
    None.  gathered: which of the keys are in the block because `mask.everyone` marks them, none if None.
    """

    b: Int[Array, ""]
    n: Int[Array, ""]
    place: Int[Array, " t"]
    key: Int[Array, " s"]
    exists: Bool[Array, " s"] | None = None
    gathered: Bool[Array, " s"] | None = None


def tokens(segments, mask) -> dict:
    """What the mask and the segments hold for each token [B T or B S], by name; None where they hold nothing."""
    q_segments, k_segments = (None, None) if segments is None else segments
    at = None if mask.pattern is None else mask.pattern.at
    return dict(q_segments=q_segments, k_segments=k_segments, prefix=mask.prefix, everyone=mask.everyone, at=at)


def attend(
    q: Float[Array, "t H"],
    k: Float[Array, "s H"],
    v: Float[Array, "s H"],
    own: dict,
    block: ScoreBlock,
    *,
    mask,
    bias,
    scale,
    softmax,
    dropout,
) -> tuple[Float[Array, "t H"], Float[Array, " t"]]:
    """Values and log-sum-exp over these keys, both in float32 or wider; the latter is 0 for a sigmoid.

    own: `tokens` of the block's row: q_segments [t], k_segments and prefix [s] of the block, everyone and at [S]
    of the whole row.
    """
    b, n, key = block.b, block.n, block.key
    wide, query = jnp.promote_types(q.dtype, jnp.float32), block.place + mask.start
    if own["k_segments"] is not None:
        real = (own["k_segments"] > 0)[:, None]
        k, v = jnp.where(real, k, 0), jnp.where(real, v, 0)  # NaN times a zero weight is NaN
        q = jnp.where((own["q_segments"] > 0)[:, None], q, 0)
    with included():
        scores = product("th,sh->ts", q, k, wide) * scale
    if bias is not None:
        scores += bias.block(b, n, query, key)
    everyone = own["everyone"]
    if everyone is not None:
        everyone = tuple(everyone.at[index].get(mode="fill", fill_value=False) for index in (query, key))
    shown = None if mask.pattern is None else mask.pattern.block(n, block.place, query, key, own["at"])
    rules = [mask.visible(query, key, own["prefix"], everyone, shown, block.gathered)]
    if own["k_segments"] is not None:
        rules.append((own["q_segments"][:, None] == own["k_segments"][None, :]) & real.T)
    if block.exists is not None:
        rules.append(block.exists[None, :])
    rules = [rule for rule in rules if rule is not None]
    visible = functools.reduce(jnp.logical_and, rules) if rules else None
    keep = None if dropout is None else dropout.keep(b, n, query, key)

    def gathered(weights):
        if dropout is not None:
            weights = jnp.where(keep, weights / (1 - dropout.rate), 0.0)
        with included():
            return product("ts,sh->th", weights.astype(v.dtype), v, wide)

    return weighed(capped(scores, softmax.cap), visible, softmax, gathered, n)


def weighed(scores, visible, softmax, gathered, n):
    """Values, as `gathered(weights)` makes them, and log-sum-exp, of scores [t s] and which of them are visible."""
    if not isinstance(softmax, Softmax):
        shift = jnp.asarray(softmax.shift, scores.dtype)
        weights = jax.nn.sigmoid(scores + (shift if shift.ndim == 0 else shift[n]))
        weights = weights if visible is None else jnp.where(visible, weights, 0.0)
        return gathered(weights), jnp.zeros(scores.shape[:1], scores.dtype)
    if visible is not None:
        scores = jnp.where(visible, scores, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    top = jnp.maximum(top, jnp.finfo(top.dtype).min)  # where all are -inf, so that no infinities are subtracted
    weights = jnp.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True)
    some = jnp.where(total == 0, 1.0, total)
    lse = jnp.where(total == 0, -jnp.inf, jnp.log(some) + top)[:, 0]
    if softmax.clip is not None:
        gamma, zeta = softmax.clip
        clipped = jnp.clip((zeta - gamma) * weights / some + gamma, 0.0, 1.0)
        return gathered(clipped if visible is None else jnp.where(visible, clipped, 0.0)), lse
    return gathered(weights) / some, lse
