"""The formulas of heads that read the feature maps of several stages, in NumPy, for formulas.py."""

import dataclasses
import itertools

import numpy as np

from tests.parts.sequences import linear
from tests.parts.within import ACTIVATIONS, normed, within


def enlarged(x, size):
    """[B H W D]: each new pixel's centre between its four old neighbours, those outside being the nearest inside."""
    for axis, after in ((1, size[0]), (2, size[1])):
        before = x.shape[axis]
        at = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *[1] * (3 - axis))
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, before - 1), axis) * share
    return x


def all_mlp(s, p, x, ctx):
    maps = [linear(p[f"level_{i}"], one) for i, one in enumerate(ctx.features.values())]
    y = np.concatenate([enlarged(one, maps[0].shape[1:3]) for one in maps[::-1]], -1) @ p["join"]["kernel"]
    return linear(p["out"], ACTIVATIONS[s.activation](normed(s, p, y)))


def linear_maps(s, p, x, ctx):
    maps = list(ctx.features.values())
    y = np.concatenate([enlarged(one, maps[0].shape[1:3]) for one in maps[::-1]], -1)
    return y @ p["join"]["kernel"] + p["bias"]


def fused(s, p, x, ctx):
    *finer, y = ctx.features.values()
    for i, one in enumerate(finer):
        own, (r, c) = p[f"level_{i}"], (one.shape[1] // y.shape[1], one.shape[2] // y.shape[2])
        places = itertools.product(range(r), range(c))
        y = y + own["bias"] + sum(one[:, a::r, b::c] @ own["kernel"][a, b] for a, b in places)
    return normed(s, p, y.reshape(len(y), -1, y.shape[-1]))


def conv_norm(s, p, x, activation="identity"):
    """Each position's neighbours, zeros outside the map, times the kernel; then the norm and the activation."""
    kernel, (B, h, w) = p["conv"]["kernel"], x.shape[:3]
    y = np.zeros((B, h, w, kernel.shape[-1])) + p["conv"].get("bias", 0.0)
    reach = len(kernel) // 2
    wide = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    for row, column in itertools.product(range(len(kernel)), repeat=2):
        y += wide[:, row : row + h, column : column + w] @ kernel[row, column]
    return ACTIVATIONS[activation](normed(s, p, y))


def summed_down(maps, enlarge):
    """Each map plus the sum at the next coarser one."""
    found = [maps[-1]]
    for one in maps[-2::-1]:
        found.insert(0, one + enlarge(found[0], one.shape[1:3]))
    return found


def nearest(x, size):
    rows, columns = (np.arange(after) * before // after for before, after in zip(x.shape[1:3], size, strict=True))
    return x[:, rows][:, :, columns]


def handed_on(s, p, x, ctx, maps):
    return within("head", s.head, p, "head", x, ctx.replace(features=dict(enumerate(maps))))


def fpn(s, p, x, ctx):
    maps = [conv_norm(s, p[f"lateral_{i}"], one) for i, one in enumerate(ctx.features.values())]
    maps = summed_down(maps, dict(nearest=nearest, bilinear=enlarged)[s.method])
    return handed_on(s, p, x, ctx, [conv_norm(s, p[f"level_{i}"], one) for i, one in enumerate(maps)])


def twice(own, x):
    """Each position as a tile of 2 x 2."""
    y = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], own["kernel"].shape[-1]))
    for row, column in itertools.product(range(2), repeat=2):
        y[:, row::2, column::2] = x @ own["kernel"][:, row, column] + own["bias"]
    return y


def simple_pyramid(s, p, x, ctx):
    (h, w), maps = ctx.grid, []
    for level, times in enumerate(s.doublings):
        y = x[:, -h * w :].reshape(len(x), h, w, -1)
        for i in range(times):
            if i:
                y = ACTIVATIONS[s.activation](within("norm", s.norm, p, f"norm_{level}_{i}", y))
            y = twice(p[f"double_{level}_{i}"], y)
        if times < 0:
            y = np.stack([y[:, a : h // 2 * 2 : 2, b : w // 2 * 2 : 2] for a in (0, 1) for b in (0, 1)]).max(0)
        maps.append(conv_norm(s, p[f"level_{level}"], conv_norm(s, p[f"lateral_{level}"], y)))
    return handed_on(s, p, x, ctx, maps)


def widening_pyramid(s, p, x, ctx):
    h, w = ctx.grid
    one, act = x[:, -h * w :].reshape(len(x), h, w, -1), ACTIVATIONS[s.activation]

    def normed(name, y):
        return within("norm", s.norm, p, name, y)

    quarter = normed("norm_0_1", twice(p["double_0_1"], act(normed("norm_0_0", twice(p["double_0_0"], one)))))
    kernel, tiles = p["halve_3_0"]["kernel"], one[:, : h // 2 * 2, : w // 2 * 2]
    half = sum(tiles[:, a::2, b::2] @ kernel[a, b] for a in (0, 1) for b in (0, 1)) + p["halve_3_0"]["bias"]
    found = (quarter, normed("norm_1_0", twice(p["double_1_0"], one)), one, normed("norm_3_0", half))
    maps = [act(normed(f"norm_{i}", linear(p[f"level_{i}"], y))) for i, y in enumerate(found)]
    return handed_on(s, p, x, ctx, maps)


def mlp_maps(s, p, x, ctx):
    act = ACTIVATIONS[s.activation]
    maps = [act(linear(p[f"level_{i}"], one)) for i, one in enumerate(ctx.features.values())]
    y = np.concatenate([enlarged(one, maps[0].shape[1:3]) for one in maps[::-1]], -1)
    return linear(p["out"], act(y @ p["join"]["kernel"] + p["bias"]))


def upernet(s, p, x, ctx):
    *finer, top = ctx.features.values()
    h, w = top.shape[1:3]
    parts = [top]
    for i, n in enumerate(s.scales):
        part = np.stack([
            np.stack([
                top[:, r * h // n : -(-(r + 1) * h // n), c * w // n : -(-(c + 1) * w // n)].mean((1, 2))
                for c in range(n)
            ], 1) for r in range(n)
        ], 1)  # fmt: skip
        parts.append(enlarged(conv_norm(s, p[f"pool_{i}"], part, s.activation), (h, w)))
    top = conv_norm(s, p["top"], np.concatenate(parts, -1), s.activation)
    finer = [conv_norm(s, p[f"lateral_{i}"], one, s.activation) for i, one in enumerate(finer)]
    *finer, top = summed_down([*finer, top], enlarged)
    maps = [*(conv_norm(s, p[f"level_{i}"], one, s.activation) for i, one in enumerate(finer)), top]
    y = np.concatenate([enlarged(one, maps[0].shape[1:3]) for one in maps], -1)
    return linear(p["out"], conv_norm(s, p["join"], y, s.activation))


def doubled(p, x):
    """Each position adds its vector, times the kernel, to 4 x 4 positions of a map of twice the sides."""
    B, h, w, _ = x.shape
    y = np.zeros((B, 2 * h + 2, 2 * w + 2, p["kernel"].shape[-1]))
    for i, j, a, b in np.ndindex(h, w, 4, 4):
        y[:, 2 * i + a, 2 * j + b] += x[:, i, j] @ p["kernel"][a, b]
    return y[:, 1:-1, 1:-1] + p["bias"]


def unet_pixels(s, p, x, ctx):
    (h, w), maps = ctx.grid, list(ctx.features.values())[::-1]
    visible, filled = ctx.segments[:, x.shape[1] - h * w :].reshape(-1, h, w) > 0, []
    for i, one in enumerate(maps):
        own, seen = p[f"map_{i}"], visible.repeat(2**i, 1).repeat(2**i, 2)[..., None]
        one = np.where(seen, within("norm", s.map_norm, own, "norm", one), own["mask"])
        filled.append(conv_norm(dataclasses.replace(s, norm=None), own, one) if "conv" in own else one)
    y = filled[0]
    for i in range(s.doublings):
        y = conv_norm(s, p[f"in_{i}"], doubled(p[f"up_{i}"], y), s.activation)
        y = conv_norm(s, p[f"out_{i}"], y) + (filled[i + 1] if i + 1 < len(filled) else 0)
    return linear(p["out"], y)
