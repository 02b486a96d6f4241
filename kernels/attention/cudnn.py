"""Attention by NVIDIA's cuDNN, through jax.nn, for the arguments that it honours exactly.

Limits are those of jax.nn.dot_product_attention(implementation="cudnn"): even lengths, head widths that 8
divides, a window only before the query and only in causal order, biases as whole arrays, no packing.
"""

import jax
import jax.numpy as jnp

from .bias import Dense
from .softmax import Softmax

WIDEST = 128  # on every GPU; Hopper allows 256, but the GPU may be unknown while tracing


def refuses(q, k, v, *, segments, mask, bias, softmax, dropout) -> str | None:
    """The argument that cuDNN does not honour exactly, in words, or None."""
    (B, T, N, H), S = q.shape, k.shape[1]
    before, after = mask.reach
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"{jnp.dtype(q.dtype).name} (bfloat16 and float16 it can)"
    if H % 8 or H > WIDEST:
        return f"heads of width {H} (multiples of 8 up to {WIDEST})"
    if T % 2 or S % 2:
        return f"{T} queries and {S} keys (even lengths it can, or it would have no gradient)"
    if segments is not None:
        return "segments"
    for name in ("prefix", "everyone", "pattern", "offset"):
        if getattr(mask, name) is not None:
            return f"mask.{name}"
    if after not in (None, 0):
        return f"mask.after={after} (0 or None)"
    if before is not None and after is None:
        return f"mask.before={before} without causal order"
    if after == 0 and T != S:
        return f"causal order of {T} queries over {S} keys"
    if bias is not None:
        if not isinstance(bias, Dense):
            return f"a bias of type {type(bias).__name__}"
        if bias.values.shape != (B, N, T, S) or bias.values.dtype != q.dtype:
            has = f"{bias.values.dtype.name} {tuple(bias.values.shape)}"
            return f"a dense bias of {has} ({jnp.dtype(q.dtype).name} and whole, {(B, N, T, S)}, it can)"
    if not isinstance(softmax, Softmax):
        return f"a softmax of type {type(softmax).__name__}"
    if softmax.clip is not None:
        return "softmax.clip"
    if softmax.cap is not None:
        return "softmax.cap"
    return None if dropout is None else "dropout"


def run(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """(y, lse) for the public function's arguments, all of them checked and present.

    jax.nn would give the log-sum-exp too, but rounded to q's dtype and without a gradient. Here it comes from `xla`,
    which is left out of a compiled program that does not use it.
    """
    from .xla import xla

    before, after = mask.reach
    y = jax.nn.dot_product_attention(
        q,
        k,
        v,
        bias=None if bias is None else bias.values,
        scale=scale,
        is_causal=after == 0,
        local_window_size=None if before is None else (before, 0),
        implementation="cudnn",
    )
    given = dict(segments=segments, mask=mask, bias=bias, scale=scale, softmax=softmax, dropout=dropout)
    return y, xla(q, k, v, **given)[1]
