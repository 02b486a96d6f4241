"""The formulas of parts that restore and enlarge images, in NumPy loops, for formulas.py."""

import itertools

import numpy as np

from tests.parts.grids import both, whole
from tests.parts.sequences import linear
from tests.parts.within import ACTIVATIONS, clean, real


def conv(p, x):
    """Each position's neighbours, zeros outside the map, times the kernel."""
    kernel, (B, h, w) = p["kernel"], x.shape[:3]
    (rows, columns), y = kernel.shape[:2], np.zeros((B, h, w, kernel.shape[-1])) + p.get("bias", 0.0)
    wide = np.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    for i, j in itertools.product(range(rows), range(columns)):
        y += wide[:, i : i + h, j : j + w] @ kernel[i, j]
    return y


def channel_attention(s, p, x, ctx):
    grid, there = whole(ctx, x.shape[1]), real(x, ctx)[..., None]
    h = ACTIVATIONS[s.activation](conv(p["conv_in"], clean(x, ctx).reshape(len(x), *grid, -1)))
    h = clean(h.reshape(*x.shape[:2], -1), ctx).reshape(h.shape)
    h = conv(p["conv_out"], h).reshape(x.shape)
    mean = (h * there).sum(1) / np.maximum(there.sum(1), 1)
    gate = ACTIVATIONS["sigmoid"](linear(p["excite"], np.maximum(linear(p["squeeze"], mean), 0)))
    return s.scale * gate[:, None] * h


def fused_mbconv(within):
    def formula(s, p, x, ctx):
        grid, there, a = whole(ctx, x.shape[1]), real(x, ctx)[..., None], ACTIVATIONS[s.activation]
        h = conv(p["conv"], clean(x, ctx).reshape(len(x), *grid, -1)).reshape(*x.shape[:2], -1)
        h = a(within("norm", s.norm, p, "conv_norm", h))
        mean = (h * there).sum(1) / np.maximum(there.sum(1), 1)
        gate = ACTIVATIONS["sigmoid"](linear(p["excite"], a(linear(p["squeeze"], mean))))
        return within("norm", s.norm, p, "out_norm", linear(p["out"], gate[:, None] * h))

    return formula


def overlapping(s, p, x, ctx):
    """Query by query: keys of the larger window one by one; those outside the grid are zeros of the last segment."""
    (h, w), reach, x = whole(ctx, x.shape[1]), both(s.reach), clean(x, ctx)
    size = tuple(min(a, b) for a, b in zip(both(s.window), (h, w), strict=True))
    middle = [a + b - 1 for a, b in zip(both(s.window), reach, strict=True)]
    q, k, v = (np.einsum("btd,dnh->btnh", x, p[a]["kernel"]) + p[a].get("bias", 0.0) for a in "qkv")
    ids, y = np.ones(x.shape[:2], int) if ctx.segments is None else ctx.segments, np.zeros(q.shape)
    for row, i, j in np.ndindex(len(x), h, w):
        scores, values, own = [], [], i * w + j
        first = [at // a * a - r for at, a, r in zip((i, j), size, reach, strict=True)]
        for a, b in np.ndindex(*(n + 2 * r for n, r in zip(size, reach, strict=True))):
            at = first[0] + a, first[1] + b
            inside = 0 <= at[0] < h and 0 <= at[1] < w
            segment = ids[row, at[0] * w + at[1]] if inside else ids[row].max()
            if segment != ids[row, own] or segment == 0:
                continue
            key, value = (c[row, at[0] * w + at[1]] if inside else np.zeros(q.shape[2:]) for c in (k, v))
            score = (q[row, own] * key).sum(-1) / np.sqrt(q.shape[-1])
            scores.append(score + p["table"][i - at[0] + middle[0], j - at[1] + middle[1]])
            values.append(value)
        if scores:
            weights = np.exp(np.array(scores) - np.max(scores, 0))
            y[row, own] = np.einsum("kn,knh->nh", weights / weights.sum(0), values)
    return np.einsum("btnh,nhd->btd", y, p["o"]["kernel"]) + p["o"]["bias"]


def upsampled(s, p, x, ctx):
    h, w = ctx.grid
    y = conv(p["conv_in"], clean(x, ctx)[:, x.shape[1] - h * w :].reshape(len(x), h, w, -1))
    y = np.where(y > 0, y, 0.01 * y)
    for i, step in enumerate([3] if s.factor == 3 else [2] * int(np.log2(s.factor))):
        z = conv(p[f"conv_{i}"], y)
        y = np.empty((len(z), z.shape[1] * step, z.shape[2] * step, s.width))
        for a, b in np.ndindex(step, step):
            y[:, a::step, b::step] = z[..., a * step + b :: step * step]
    return conv(p["conv_out"], y)


def timed(s, p, x, times):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + s.eps)
    gain, shift = (linear(p[name], times[:, None])[:, None] for name in ("gain", "shift"))
    return gain * x + shift


def patch_recovery(s, p, x, ctx):
    (h, w), r, C = ctx.grid, s.stride, s.channels
    vectors = (clean(x, ctx)[:, x.shape[1] - h * w :] @ p["out"]["kernel"]).reshape(len(x), h, w, C, r, r)
    y = np.empty((len(x), h * r, w * r, C))
    for a, b in np.ndindex(r, r):
        y[:, a::r, b::r] = vectors[..., a, b] + p["bias"]
    return conv(p["conv"], y)
