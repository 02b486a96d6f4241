"""Which keys each query attends to by a sight, and how often, by loops over the tokens of each text."""

import numpy as np

from tests.parts.sequences import attend, linear, same_text, texts


def counts(spec, segments):
    """How often each query counts each key: [B T T]."""
    B, T = segments.shape
    found = np.zeros((B, T, T))
    for b, own in texts(segments[..., None], segments):
        for one, t in enumerate(own):
            for other, s in enumerate(own):
                found[b, t, s] = RULES[spec["kind"]](spec, one, other, t, s, own)
    return found


def block_local(spec, one, other, t, s, own):
    """Blocks begin anew where a text is interrupted."""
    if abs(t - s) != abs(one - other):
        return 0
    first = next(p for p in range(one + 1) if t - own[p] == one - p)
    return (one - first) // spec["block"] == (other - first) // spec["block"]


def block_sparse(spec, one, other, t, s, own):
    i, j, last = one // spec["block"], other // spec["block"], (len(own) - 1) // spec["block"]
    if len(own) <= spec.get("dense", 0) or i in (0, last):
        return 1
    return 1 + spec.get("again", 0) if j == 0 else abs(i - j) <= 1 or j == last


def global_window(spec, one, other, t, s, own):
    """With the first token of each text global."""
    return abs(t - s) <= spec["window"] // 2 or 0 in (one, other)


RULES = {"block_local": block_local, "block_sparse": block_sparse, "global_window": global_window}


def sighted(spec, p, x, segments):
    """What an attention without position or softmax of its own gathers by a sight: [B T N H]."""
    seen = counts(spec, segments)[:, None]
    q, k, v = (linear(p[name], x) for name in "qkv")
    y = attend(q, k, v, seen > 0, q.shape[-1] ** -0.5, np.log(np.maximum(seen, 1)))
    if spec["kind"] != "global_window":
        return y
    q, k, v = (linear(p[f"{name}_global"], x) for name in "qkv")
    for b, own in texts(x, segments):
        one = slice(own[0], own[0] + 1)
        whole = same_text(x[b : b + 1], segments[b : b + 1])[:, :, one]
        y[b, one] = attend(q[b : b + 1, one], k[b : b + 1], v[b : b + 1], whole, q.shape[-1] ** -0.5)[0]
    return y
