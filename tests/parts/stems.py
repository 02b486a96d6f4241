"""The formulas of stems in NumPy, tile by tile, for tests/parts/formulas.py."""

import numpy as np
from scipy.special import erf

from tests.parts.sequences import linear, softmax


def tiles(x, size, stride, margin):
    """[B H W (row, column, channel)] of a grid with zeros around it."""
    x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows, columns = (range(0, side - size + 1, stride) for side in x.shape[1:3])
    cut = [[x[:, i : i + size, j : j + size].reshape(len(x), -1) for j in columns] for i in rows]
    return np.stack([np.stack(row, 1) for row in cut], 1)


def normed_patches(normed):
    def stem(s, p, images, ctx):
        P, Q = s.patch if isinstance(s.patch, tuple) else (s.patch, s.patch)
        x = np.pad(images, ((0, 0), (0, -images.shape[1] % P), (0, -images.shape[2] % Q), (0, 0)))
        rows, columns = range(0, x.shape[1], P), range(0, x.shape[2], Q)
        x = [np.stack([x[:, i : i + P, j : j + Q].reshape(len(x), -1) for j in columns], 1) for i in rows]
        x = normed(s, p, np.stack(x, 1), "in_norm")
        return normed(s, p, linear(p["patch"], x), "out_norm")

    return stem


def normed(normed, within, activations):
    def stem(s, p, images, ctx):
        x = within("stem", {**s.stem, "width": s.width}, p, "stem", normed(s, p, images, "in_norm"), ctx)
        return normed(s, p, activations[s.activation](x), "out_norm")

    return stem


def cross_scale(normed):
    def stem(s, p, images, ctx):
        made = []
        for i, size in enumerate(s.sizes):
            conv = p["scales"][f"conv_{i}"]
            kernel = conv["kernel"].reshape(-1, conv["kernel"].shape[-1])
            made.append(linear({**conv, "kernel": kernel}, tiles(images, size, s.stride, (size - s.stride) // 2)))
        assert [a.shape[-1] * 2 ** min(i + 1, len(made) - 1) for i, a in enumerate(made)] == [s.width] * len(made)
        return normed(s, p, np.concatenate(made, axis=-1))

    return stem


def features(x, w):
    return np.exp(np.einsum("...h,mh->...m", x, w) - np.square(x).sum(-1, keepdims=True) / 2) / np.sqrt(len(w))


def tokens_to_token(within):
    def layer(s, p, x):
        h = within("norm", s.norm, p, "in_norm", x)
        q, k, v = (linear(p[name], h)[:, :, 0] for name in "qkv")
        if s.encoder == "performer":
            scores = features(q, p["features"]) @ features(k, p["features"]).swapaxes(1, 2)
            weights = scores / (scores.sum(-1, keepdims=True) + 1e-8)
        else:
            scores = q @ k.swapaxes(1, 2) / np.sqrt(x.shape[-1])
            weights = softmax(scores, np.ones(scores.shape, bool))
        h = v + linear(p["o"], (weights @ v)[:, :, None], 2)
        y = linear(p["up"], within("norm", s.norm, p, "out_norm", h))
        return h + linear(p["down"], y * (1 + erf(y / np.sqrt(2))) / 2)

    def stem(s, p, images, ctx):
        x = images
        for i, split in enumerate(s.splits):
            x = tiles(x, *split)
            if i < len(s.splits) - 1:
                flat = x.reshape(len(x), -1, x.shape[-1])
                x = layer(s, p[f"layer_{i}"], flat).reshape(*x.shape[:3], s.inner)
        return linear(p["out"], x)

    return stem


def residual_convs(within, activations):
    def stem(s, p, images, ctx):
        def conv(name, x, size, stride, margin):
            kernel = p[name]["kernel"]
            flat = {**p[name], "kernel": kernel.reshape(-1, kernel.shape[-1])}
            return linear({"bias": 0.0, **flat}, tiles(x, size, stride, margin))

        def g(i, x):
            x = within("norm", s.norm, p, f"norm_{i}", conv(f"conv_{i}", x, 3, 1 if i else 2, 1))
            return activations[s.activation](x)

        z = g(0, images)
        return conv("patch", z + g(2, g(1, z)), s.patch // 2, s.patch // 2, 0)

    return stem


def hmlp(within, activations):
    def stem(s, p, images, ctx):
        x = images
        for i, side in enumerate(s.sides):
            x = within("norm", s.norm, p, f"norm_{i}", linear(p[f"map_{i}"], tiles(x, side, side, 0)))
            x = x if i == len(s.sides) - 1 else activations[s.activation](x)
        return x

    return stem


def linear_convs(within, activations):
    def stem(s, p, images, ctx):
        x, last = images, len(s.widths)
        for i in range(last + 1):
            conv, cut = p[f"conv_{i}"], (s.size, 1, s.size // 2) if i < last else (s.patch, s.patch, 0)
            kernel = conv["kernel"].reshape(-1, conv["kernel"].shape[3])
            x = linear({**conv, "kernel": kernel}, tiles(x, *cut))
        return within("norm", s.norm, p, "norm", activations[s.activation](x))

    return stem


def max_pooled(within, activations):
    def stem(s, p, images, ctx):
        x = activations[s.activation](within("stem", {**s.stem, "width": s.width}, p, "stem", images, ctx))
        margin = [(0, 0), (s.margin, s.margin), (s.margin, s.margin), (0, 0)]
        x = np.pad(x, margin, constant_values=-np.inf)
        return tiles(x, s.size, s.stride, 0).reshape(*tiles(x, s.size, s.stride, 0).shape[:3], -1, s.width).max(3)

    return stem


def convs(within, activations):
    def stem(s, p, images, ctx):
        x = images
        for i, stride in enumerate(s.strides):
            conv = p[f"conv_{i}"]
            size, _, C, E = conv["kernel"].shape
            kernel = conv["kernel"].reshape(size * size * C, E)
            x = linear({**conv, "kernel": kernel}, tiles(x, size, stride, size // 2))
            x = x if s.norm is None else within("norm", s.norm, p, f"norm_{i}", x)
            x = x if i == len(s.widths) else activations[s.activation](x)
        return x

    return stem
