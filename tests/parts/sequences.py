"""Attention and the recurrence of Mamba-2 in NumPy, as the formulas of mixers and of what attends need them."""

import numpy as np


def linear(p, x, axes=1):
    """The last axes of x times a kernel, and the bias where there is one."""
    return np.tensordot(x, p["kernel"], axes) + p.get("bias", 0.0)


def texts(x, segments):
    """(row, indices of its tokens) of each text."""
    segments = np.ones(x.shape[:2], int) if segments is None else segments
    return [(b, np.flatnonzero(row == one)) for b, row in enumerate(segments) for one in np.unique(row[row > 0])]


def same_text(x, segments):
    """[B 1 T T]: which key belongs to the text of the query."""
    visible = np.zeros((len(x), 1, x.shape[1], x.shape[1]), bool)
    for b, own in texts(x, segments):
        visible[b, 0, own[:, None], own] = True
    return visible


def attend(q, k, v, visible, scale, bias=0.0, weights=None):
    """[B T N H] of queries over keys and values, whose heads are shared by equally many heads of queries."""
    k, v = (np.repeat(a, q.shape[2] // k.shape[2], axis=2) for a in (k, v))
    scores = np.einsum("btnh,bsnh->bnts", q, k) * scale + bias
    weights = softmax if weights is None else weights
    return np.einsum("bnts,bsnh->btnh", weights(scores, np.broadcast_to(visible, scores.shape)), v)


def softmax(scores, visible, sink=0.0):
    """Over the visible keys; `sink` is what the denominator has besides. Zeros where it is 0."""
    e = np.where(visible, np.exp(scores), 0.0)
    total = e.sum(-1, keepdims=True) + sink
    return e / np.where(total == 0, 1.0, total)


def weights(spec, p, scores, visible):
    """What a spec of softmaxes.py, with its parameters, makes of scores."""

    def per_head(name, absent):
        number = p.get(name, spec.get(name))
        return absent if number is None else np.broadcast_to(number, scores.shape[1])[:, None, None]

    z = scores / per_head("temperature", 1.0)
    z = z if spec.get("cap") is None else spec["cap"] * np.tanh(z / spec["cap"])
    if spec["kind"] == "sigmoid":
        return np.where(visible, 1 / (1 + np.exp(-z - per_head("shift", 0.0))), 0.0)
    w = softmax(z, visible, np.exp(per_head("sink", -np.inf)))
    if spec.get("clip") is not None:
        gamma, zeta = spec["clip"]
        w = np.where(visible, np.clip((zeta - gamma) * w + gamma, 0, 1), 0.0)
    return w


def mamba2(s, p, x, ctx):
    """h <- exp(dt a) h + dt u bᵀ, y = h c + d u, one token after another; a new text starts from zeros."""
    (B, T, _), N, H, M, G = x.shape, s.heads, s.head_width, s.state, s.groups
    segments = np.ones((B, T), int) if ctx.segments is None else ctx.segments
    E, W = N * H, s.conv
    z, read, dt = np.split(linear(p["in"], x), [E, 2 * E + 2 * G * M], axis=-1)
    read = np.where((segments > 0)[..., None], read, 0.0)
    y = np.zeros((B, T, E))
    for b in range(B):
        h, text = np.zeros((N, H, M)), 0
        for t in np.flatnonzero(segments[b]):
            if segments[b, t] != text:
                h, text = np.zeros((N, H, M)), segments[b, t]
            taps = [w for w in range(W) if t - W + 1 + w >= 0 and segments[b, t - W + 1 + w] == text]
            seen = p["conv"]["bias"] + sum(p["conv"]["kernel"][w] * read[b, t - W + 1 + w] for w in taps)
            u, into, out = np.split(silu(seen), [E, E + G * M])
            u, into, out = u.reshape(N, H), *(np.repeat(a.reshape(G, M), N // G, axis=0) for a in (into, out))
            step = np.log1p(np.exp(dt[b, t] + p["dt_bias"]))
            kept = np.exp(-step * np.exp(p["a_log"]))
            h = kept[:, None, None] * h + step[:, None, None] * u[:, :, None] * into[:, None, :]
            y[b, t] = ((h * out[:, None, :]).sum(-1) + p["d"][:, None] * u).reshape(E)
    gated = (y * silu(z)).reshape(B, T, s.norm_groups, -1)
    gated = gated / np.sqrt(np.square(gated).mean(-1, keepdims=True) + s.epsilon)
    return linear(p["out"], gated.reshape(B, T, E) * p["norm"]["scale"])


def silu(x):
    return x / (1 + np.exp(-x))
