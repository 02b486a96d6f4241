"""The formulas of parts that read the neighbours of a token on a grid, in NumPy loops; see formulas.py."""

import numpy as np

from tests.parts import sequences
from tests.parts.sequences import linear


def whole(ctx, length):
    """The grid, which without one is a single row."""
    return ctx.grid or (1, length)


def neighbours(x, ctx, size):
    """For each row, token and tap (a, b) with a neighbour in the token's own segment: (row, token, a, b, neighbour)."""
    (h, w), (p, q) = whole(ctx, x.shape[1]), size
    ids = np.ones(x.shape[:2], int) if ctx.segments is None else ctx.segments
    for row, i, j, a, b in np.ndindex(len(x), h, w, p, q):
        k, m = i + a - p // 2, j + b - q // 2
        if 0 <= k < h and 0 <= m < w and ids[row, i * w + j] == ids[row, k * w + m] > 0:
            yield row, i * w + j, a, b, k * w + m


def both(size):
    return (size, size) if isinstance(size, int) else tuple(size)


def depthwise(p, x, ctx, size):
    y = np.zeros_like(x) + p.get("bias", 0.0)
    for row, token, a, b, near in neighbours(x, ctx, both(size)):
        y[row, token] += p["kernel"][a, b] * x[row, near]
    return y


def conv_mlp(activations):
    def of(s, p, x, ctx):
        h = activations[s.before](linear(p["up"], x))
        return linear(p["down"], activations[s.activation](depthwise(p["conv"], h, ctx, s.size)))

    return of


def local_mlp(activations):
    def of(s, p, x, ctx):
        h = activations[s.activation](linear(p["up"], x))
        return linear(p["down"], h + depthwise(p["conv"], h, ctx, s.size))

    return of


def pooling(s, p, x, ctx):
    total, count = np.zeros_like(x), np.zeros((*x.shape[:2], 1))
    for row, token, _, _, near in neighbours(x, ctx, both(s.size)):
        total[row, token] += x[row, near]
        count[row, token] += 1
    return total / np.maximum(count, 1) - x


def token_mlp(activations):
    def of(s, p, x, ctx):
        x = np.where((ctx.segments > 0)[..., None], x, 0.0)
        return linear(p["down"], activations[s.activation](linear(p["up"], x.swapaxes(1, 2)))).swapaxes(1, 2)

    return of


def convnext(activations, norm):
    def of(s, p, x, ctx):
        y = norm(s.norm, p["norm"], depthwise(p["conv"], x, ctx, s.size))
        y = activations[s.activation](linear(p["up"], y))
        if s.response is not None:
            own = p["response_norm"]
            for row, text in sequences.texts(y, ctx.segments):
                size = np.sqrt((y[row, text] ** 2).sum(0))
                each = y[row, text] * size / (size.mean() + s.response)
                y[row, text] = own["gain"] * each + own["bias"] + y[row, text]
        return linear(p["down"], y)

    return of


def one_text(ctx):
    """The context with all real tokens of a row as one text."""
    return ctx if ctx.segments is None else ctx.replace(segments=(ctx.segments > 0).astype(int))


def conv(s, p, x, ctx):
    p, y = p["conv"], np.zeros_like(x)
    for row, token, a, b, near in neighbours(x, one_text(ctx), both(s.size)):
        y[row, token] += x[row, near] @ p["kernel"][a, b]
    return y + p.get("bias", 0.0)


def lambda_layer(within):
    """The lambda of each token as a sum over its context, and the products with it, query by query."""

    def of(s, p, x, ctx):
        (B, T, D), M, U, H = x.shape, s.keys, s.depth, x.shape[2] // s.heads
        q = np.einsum("btd,dnm->btnm", x, p["q"]["kernel"]).reshape(B, T, -1)
        q = within("norm", s.norm, p, "q_norm", q).reshape(B, T, s.heads, M)
        v = np.einsum("btd,dhu->bthu", x, p["v"]["kernel"]).reshape(B, T, -1)
        v = within("norm", s.norm, p, "v_norm", v).reshape(B, T, H, U)
        lambdas = np.zeros((B, T, M, H)) + np.reshape(p.get("bias", 0.0), (-1, 1))
        for row, text in sequences.texts(x, one_text(ctx).segments):
            k = np.exp(np.einsum("td,dmu->tmu", x[row, text], p["k"]["kernel"]))
            lambdas[row] += np.einsum("tmu,thu->mh", k / k.sum(0), v[row, text])
        for row, token, a, b, near in neighbours(x, one_text(ctx), both(s.size)):
            lambdas[row, token] += np.einsum("um,hu->mh", p["table"][a, b], v[row, near])
        return np.einsum("btnm,btmh->btnh", q, lambdas).reshape(B, T, D)

    return of


def wavemix(within, activations):
    """Bands tile by tile, from signs, and each token of a coarse grid added to the sixteen tokens around it."""
    signs = np.array([[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]) / 2

    def level(s, p, x):
        x = linear(p["down"], activations[s.activation](linear(p["up"], x)))
        B, h, w, _ = x.shape
        y = np.zeros((B, 2 * h + 2, 2 * w + 2, len(p["bias"])))
        for i, j in np.ndindex(h, w):
            y[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("bd,pqde->bpqe", x[:, i, j], p["kernel"])
        return within("norm", s.norm, p, "norm", y[:, 1:-1, 1:-1] + p["bias"])

    def of(s, p, x, ctx):
        (B, T, D), (h, w), times = x.shape, whole(ctx, x.shape[1]), 2**s.levels
        low = np.where(one_text(ctx).segments[..., None] > 0, linear(p["reduce"], x), 0.0).reshape(B, h, w, -1)
        low, bands = np.pad(low, ((0, 0), (0, -h % times), (0, -w % times), (0, 0))), []
        for _ in range(s.levels):
            cut = low.reshape(B, low.shape[1] // 2, 2, low.shape[2] // 2, 2, -1)
            four = np.einsum("kpq,bipjqc->bijck", signs, cut)
            low = four[..., 0]
            bands.append(np.concatenate([low, four[..., 1:].reshape(*low.shape[:3], -1)], axis=-1))
        y = np.zeros((*bands[-1].shape[:3], 0))
        for i in range(s.levels)[::-1]:
            y = level(s, p[f"level_{i}"], np.concatenate([bands[i], y], axis=-1))
        return y[:, :h, :w].reshape(B, T, D)

    return of


def impulse(A, B, grid):
    """[h w 2 …]: the states after an impulse at the first cell, cell by cell; a sum of two states becomes their mean.

    But those of the first row and the first column, which have been halved once, are doubled.
    """
    states = np.zeros((*grid, 2, *B.shape[1:]))
    for i, j in np.ndindex(grid):
        for way, (k, m) in enumerate(((i, j - 1), (i - 1, j))):
            if (i, j) == (0, 0):
                states[i, j, way] = B[way]
            elif min(k, m) >= 0:
                terms = [A[2 * way + a] * states[k, m, a] for a in (0, 1)]
                states[i, j, way] = sum(terms) / sum(bool(term.any()) for term in terms) if np.any(terms) else 0.0
    first = np.ones(grid)
    first[0, 1:] = first[1:, 0] = 2
    return states * first[..., None, None, None]


def state_space_2d(normed):
    """From each corner, the sum over all cells on the corner's side, one by one."""

    def of(s, p, x, ctx):
        (B, T, D), (h, w) = x.shape, whole(ctx, x.shape[1])
        lead, sigmoid = T - h * w, lambda a: 1 / (1 + np.exp(-a))
        u = np.where((one_text(ctx).segments > 0)[..., None], x, 0.0) if ctx.segments is not None else x
        u = u[:, lead:].reshape(B, h, w, D)
        states = impulse(sigmoid(p["transition"]), sigmoid(p["input"]), (h, w))
        y, corners = p["skip"] * u, ((0, 0), (1, 1)) if s.directions == 2 else ((0, 0), (1, 0), (0, 1), (1, 1))
        for r, (up, left) in enumerate(corners):
            for i, j, k, m in np.ndindex(h, w, h, w):
                a, b = (k - i if up else i - k), (m - j if left else j - m)
                if min(a, b) >= 0:
                    for d in range(D):
                        reached = np.einsum("xn,xn->", p["output"][:, r, d], states[a, b, :, d % s.systems])
                        y[:, i, j, d] += reached / np.sqrt(s.states) * u[:, k, m, d]
        return np.concatenate([x[:, :lead], normed(s, p, y.reshape(B, h * w, D))], axis=1)

    return of


def groupnorm(s, p, x):
    y = np.empty_like(x)
    for row, group in np.ndindex(len(x), s.groups):
        own = slice(group * x.shape[-1] // s.groups, (group + 1) * x.shape[-1] // s.groups)
        part = x[row, ..., own]
        y[row, ..., own] = (part - part.mean()) / np.sqrt(part.var() + s.eps)
    return y * p["scale"] + p["bias"]


def strided(s, p, images):
    """A convolution with strides, tile by tile."""
    tile, (up, across), (m, n) = both(s.size), both(s.stride), both(s.margin)
    images = np.pad(images, ((0, 0), (m, m), (n, n), (0, 0)))
    sides = zip(images.shape[1:3], tile, (up, across), strict=True)
    rows, columns = ((side - k) // step + 1 for side, k, step in sides)
    y = np.empty((len(images), rows, columns, p["kernel"].shape[-1]))
    for i, j in np.ndindex(rows, columns):
        part = images[:, i * up : i * up + tile[0], j * across : j * across + tile[1]]
        y[:, i, j] = np.einsum("bpqc,pqcd->bd", part, p["kernel"]) + p["bias"]
    return y
