"""The arithmetic of one block of scores in the Hopper kernels, in registers. Scores are in base 2, since the hardware
has exp2."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from ... import mosaic_gpu as gpu
from .halves import WorkerBlock
from .plan import LOG2E


def logits(at: WorkerBlock, products):
    """Scores (x, factor), x · factor in base 2, and d score / d (scale · q·k), None if that is 1.

    Slopes and wide biases are already multiplied by log2 e. The factor is left to the exponential, where it costs
    nothing.
    """
    plan = at.plan
    factor = plan.scale * LOG2E
    if plan.bias is None and plan.cap is None:
        return products, factor, None
    x = products * factor
    if plan.bias == "slopes":
        x = x - at.slope * jnp.abs(at.index("s") - at.index("t")).astype(jnp.float32)
    elif plan.wide:
        x = x + gpu.matrix(at["wide"])
    if plan.cap is None:
        return x, 1.0, None
    # tanh by exp2, since the hardware's tanh has 11 bits only; e = inf gives 1, e = 0 gives -1.
    turned = 1.0 - 2.0 / (jnp.exp2(x * (2.0 / plan.cap)) + 1.0)
    return turned * (plan.cap * LOG2E), 1.0, 1.0 - turned * turned


def visible(at: WorkerBlock, x):
    """x with -inf for masked scores."""
    return lax.cond(at.whole, lambda x: x, functools.partial(_hide, at), x)


def _hide(at, x):
    """x with -inf where a rule masks it; one rule after the other, which takes the fewest registers.

    With marks, these mask keys beyond the end of a row. Where keys are rows of the block, one beyond the end only
    enters a gradient that is dropped.
    """
    plan, rules = at.plan, []
    if plan.marks:
        k_ids = at.broadcast("k_ids")
        rules.append(at.broadcast("q_ids") == lax.shift_right_logical(k_ids, jnp.full_like(k_ids, 1)))
    elif at.rows == "t":
        rules.append(at.index("s") < plan.lengths[1])
    if plan.prefix or plan.before is not None or plan.after is not None:
        ahead = at.index("s") - at.index("t")
        if plan.prefix:
            rules.append((ahead <= 0) | ((k_ids & 1) == 1))
        if plan.before is not None:
            rules.append(ahead >= -plan.before)
        if plan.after is not None:
            rules.append(ahead <= plan.after)
    return functools.reduce(lambda x, rule: jnp.where(rule, x, -jnp.inf), rules, x)


def dropping(at: WorkerBlock) -> Callable:
    """A function that sets the weights that dropout drops to 0, without scaling up the others.

    It computes Dropout.keep of the block (dropout.py) on signed words, for which products and exclusive or agree.
    """
    if not at.plan.dropout:
        return lambda x: x
    head = _mix(_mix(at.seed + at.b) + at.n)
    bits = _mix(_mix(head + at.index("t") * _i32(0x9E3779B9)) + at.index("s") * _i32(0x85EBCA77))
    threshold = min(int(at.plan.dropout * 2**32), 2**32 - 1)
    keep = (bits ^ _i32(0x80000000)) >= _i32(threshold ^ 0x80000000)  # as if unsigned
    return lambda x: jnp.where(keep, x, 0.0)


def _i32(number: int):
    return jnp.int32(number - 2**32 if number >= 2**31 else number)


def _mix(h):
    """Dropout's finaliser (dropout.py)."""
    h = (h ^ lax.shift_right_logical(h, jnp.full_like(h, 16))) * _i32(0x85EBCA6B)
    h = (h ^ lax.shift_right_logical(h, jnp.full_like(h, 13))) * _i32(0xC2B2AE35)
    return h ^ lax.shift_right_logical(h, jnp.full_like(h, 16))


def weights(at: WorkerBlock, products):
    """p, from a base-2 log-sum-exp (+inf for queries that attend to nothing), and p · d score / d (scale · q·k).

    Both are made here because often only one of them is needed later, where a cap makes them differ.
    """
    x, factor, slant = logits(at, products)
    p = jnp.exp2(visible(at, x) * factor - at.broadcast("lse"))
    return p, p if slant is None else p * slant


def score_gradient(at: WorkerBlock, steep, dp):
    """ds = p · (dp - delta), steep for p, with respect to scale · q·k, which is that with respect to a bias.

    In dp dropped weights are already 0; it is scaled by 1 / (1 - dropout) here.
    """
    grown = dp if at.plan.dropout == 0 else dp * (1.0 / (1.0 - at.plan.dropout))
    return steep * (grown - at.broadcast("delta"))
