"""The formulas of positions: what each of their methods returns, where it is not the identity."""

import dataclasses

import numpy as np

from tests.parts.cases import SLOPES
from tests.parts.within import within
from xfm.parts.resize import resize_grid


@dataclasses.dataclass(frozen=True)
class Given:
    """What the methods of a position take: x [B T D], q, k and v [B T N H]."""

    x: np.ndarray
    q: np.ndarray | None
    k: np.ndarray | None
    v: np.ndarray | None
    ctx: object


def of_tokens(x, ctx):
    return np.broadcast_to(np.arange(x.shape[1]) if ctx.positions is None else ctx.positions, x.shape[:2])


def learned(s, p, given):
    rows = p["table"][s.first + of_tokens(given.x, given.ctx)]
    return dict(add=given.x + rows)


def sinusoids(position, width, base):
    """[... width]: sines of geometric frequencies, then their cosines."""
    angles = np.stack([position / base ** (2 * i / width) for i in range(width // 2)], axis=-1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def sinusoidal(s, p, given):
    x = given.x
    rows = sinusoids(of_tokens(x, given.ctx), x.shape[-1], s.base)
    if s.channels == "interleaved":
        rows = rows[..., [i // 2 + (i % 2) * x.shape[-1] // 2 for i in range(x.shape[-1])]]
    return dict(add=x + rows)


def learned_video(s, p, given):
    """Of the table's own size; for others see test_video.py."""
    return dict(add=given.x + p["table"])


def space_time(s, p, given):
    """Of the tables' own sizes; for others see test_video.py."""
    (t, h, w), x = given.ctx.grid, given.x.copy()
    x[:, : s.first] += p["space"][: s.first]
    for i in range(t * h * w):
        x[:, s.first + i] += p["space"][s.first + i % (h * w)] + p["time"][i // (h * w)]
    return dict(add=x)


def cells(length, grid):
    """(index, row, column) of each patch; the tokens before them, of a class and the like, are no patches."""
    h, w = grid
    return [(length - h * w + row * w + column, row, column) for row in range(h) for column in range(w)]


def sinusoidal_2d(s, p, given):
    x = given.x.copy()
    for t, row, column in cells(x.shape[1], given.ctx.grid):
        x[:, t] += np.concatenate([sinusoids(np.array(at), x.shape[-1] // 2, s.base) for at in (column, row)])
    return dict(add=x)


def turned(a, angles, pairs):
    """a [B T N H] with pair i of its channels, a complex number, turned by angles[..., i]."""
    y, half = a.copy(), angles.shape[-1]
    for i in range(half):
        one, other = (2 * i, 2 * i + 1) if pairs == "neighbours" else (i, i + half)
        z = (a[..., one] + 1j * a[..., other]) * np.exp(1j * angles[..., None, i])
        y[..., one], y[..., other] = z.real, z.imag
    return y


def rope(s, p, given):
    width = int(given.q.shape[-1] * s.share) // 2 * 2
    at = of_tokens(given.q, given.ctx)
    angles = np.stack([at / s.theta ** (2 * i / width) for i in range(width // 2)], axis=-1)
    q, k, v = (turned(a, angles, s.pairs) for a in (given.q, given.k, given.v))
    return dict(rotate=(q, k)) | (dict(value=v) if s.turns == "qkv" else {})


def rope_2d(s, p, given):
    B, T, _, H = given.q.shape
    angles, quarter = np.zeros((B, T, H // 2)), H // 4
    for t, *cell in cells(T, given.ctx.grid):
        at = np.array(cell) * (1 if s.size is None else np.array(s.size) / given.ctx.grid)
        for i in range(quarter):
            angles[:, t, [i, quarter + i]] = (at if s.first == "row" else at[::-1]) / s.theta ** (2 * i / (H // 2))
    return dict(rotate=tuple(turned(a, angles, s.pairs) for a in (given.q, given.k)))


def rope_centres(s, p, given):
    B, T, _, H = given.q.shape
    angles, quarter = np.zeros((B, T, H // 2)), H // 4
    for t, *cell in cells(T, given.ctx.grid):
        centre = [2 * (at + 0.5) / length - 1 for at, length in zip(cell, given.ctx.grid, strict=True)]
        for i in range(quarter):
            angles[:, t, [i, quarter + i]] = 2 * np.pi * np.array(centre) * s.theta ** (-4 * i / H)
    return dict(rotate=tuple(turned(a, angles, "halves") for a in (given.q, given.k)))


def relative_patches(s, p, given):
    """Where the table is of another grid, its resizing is that of learned_grid, which torch's is compared with."""
    (h, w), T, N = given.ctx.grid, given.x.shape[1], given.q.shape[2]
    H, W = (s.size, s.size) if isinstance(s.size, int) else s.size
    rows, first = p["table"][: (2 * H - 1) * (2 * W - 1)], T - h * w
    rows = np.asarray(resize_grid(np.float32(rows).reshape(2 * H - 1, 2 * W - 1, N), (2 * h - 1, 2 * w - 1), s.resize))
    bias = np.zeros((N, T, T))
    bias[:, :first], bias[:, :, :first], bias[:, :first, :first] = (p["table"][i][:, None, None] for i in (-3, -2, -1))
    for t, y, x in cells(T, (h, w)):
        for other, v, u in cells(T, (h, w)):
            bias[:, t, other] = rows[y - v + h - 1, x - u + w - 1]
    return dict(bias=np.broadcast_to(bias, (len(given.x), N, T, T)))


def continuous_grid(s, p, given):
    """Offset by offset; tokens beyond the grid stand in its last cell."""
    (h, w), T, N = given.ctx.grid, given.x.shape[1], given.q.shape[2]
    far = (h, w) if s.reach is None else (s.reach, s.reach) if isinstance(s.reach, int) else s.reach
    bias = np.zeros((N, T, T))
    for t, u in np.ndindex(T, T):
        one, other = (divmod(min(i, h * w - 1), w) for i in (t, u))
        a = np.array([8 * (i - j) / (side - 1) for i, j, side in zip(one, other, far, strict=True)])
        a = np.sign(a) * np.log2(np.abs(a) + 1) / 3
        y = np.maximum(a @ p["up"]["kernel"] + p["up"]["bias"], 0) @ p["down"]["kernel"]
        bias[:, t, u] = s.bound / (1 + np.exp(-y))
    return dict(bias=np.broadcast_to(bias, (len(given.x), N, T, T)))


def dynamic_grid(normed):
    def position(s, p, given):
        """Offset by offset; tokens beyond the grid stand in its last cell."""
        (h, w), T, N = given.ctx.grid, given.x.shape[1], given.q.shape[2]
        bias = np.zeros((N, T, T))
        for t, u in np.ndindex(T, T):
            one, other = (np.array(divmod(min(i, h * w - 1), w)) for i in (t, u))
            y = (one - other) @ p["up"]["kernel"] + p["up"]["bias"]
            for i, name in enumerate(("map_0", "map_1", "down")):
                y = np.maximum(normed(s, {"norm": p[f"norm_{i}"]}, y), 0) @ p[name]["kernel"] + p[name]["bias"]
            bias[:, t, u] = y
        return dict(bias=np.broadcast_to(bias, (len(given.x), N, T, T)))

    return position


def distances(T):
    """t - s."""
    return np.arange(T)[:, None] - np.arange(T)[None, :]


def slopes(heads):
    """The paper's rule for a power of two, and between two of them every second slope of the larger one."""
    below = 2 ** int(np.log2(heads))
    own = [2.0 ** (-8 * (i + 1) / below) for i in range(below)]
    return own if below == heads else own + slopes(2 * below)[::2][: heads - below]


def alibi(s, p, given):
    return dict(bias=sloped(slopes(given.q.shape[2]), given))


def sloped(slopes, given):
    penalty = np.stack([-slope * np.abs(distances(given.x.shape[1])) for slope in slopes])
    return np.broadcast_to(penalty, (len(given.x), *penalty.shape))


def relative_buckets(s, p, given):
    def bucket(distance):
        """Of s - t; half of a side's buckets are exact, the rest share the distances up to `reach` geometrically."""
        side = s.buckets // s.sides
        later = side if s.sides == 2 and distance > 0 else 0
        away, exact = abs(distance) if s.sides == 2 else max(-distance, 0), side // 2
        if away >= exact:
            steps = np.log(away / exact) / np.log(s.reach / exact) * (side - exact)
            away = min(exact + int(steps + 1e-9), side - 1)
        return later + away

    T = given.x.shape[1]
    rows = np.array([[bucket(int(d)) for d in row] for row in -distances(T)])
    bias = np.moveaxis(p["table"][rows], -1, 0)
    return dict(bias=np.broadcast_to(bias, (len(given.x), *bias.shape)))


def relative_rows(s, T):
    """The row of a relative table for each distance from 1 - T to T - 1."""

    def row(distance):
        half = s.span // 2
        if s.reach is not None and abs(distance) > half:
            steps = np.log(abs(distance) / half) / np.log((s.reach - 1) / half) * (half - 1)
            distance = np.sign(distance) * (half + int(np.ceil(np.round(steps, 6))))
        return min(max(s.span + distance, 0), 2 * s.span - 1)

    return [row(d) for d in range(1 - T, T)]


def grid_decay(s, p, given):
    """(|dy| + |dx|) · log(1 - 2^-(first + spread · n / N)) between the patches of a grid."""
    T, w = given.x.shape[1], given.ctx.grid[1]
    y, x = np.divmod(np.arange(T), w)
    steps = np.abs(y[:, None] - y) + np.abs(x[:, None] - x)
    N = given.q.shape[2]
    gamma = 1 - 2.0 ** -(s.first + s.spread * np.arange(N) / N)
    return dict(bias=np.broadcast_to(np.log(gamma)[:, None, None] * steps, (len(given.x), N, T, T)))


def grid_distances(s, p, given):
    """table[|dy|, |dx|] between the patches of a grid."""
    T, w = given.x.shape[1], given.ctx.grid[1]
    y, x = np.divmod(np.arange(T), w)
    found = p["table"][np.abs(y[:, None] - y), np.abs(x[:, None] - x)].transpose(2, 0, 1)
    return dict(bias=np.broadcast_to(found, (len(given.x), *found.shape)))


def relative_sines(s, p, given):
    T, D = given.x.shape[1:]
    away = np.arange(1 - T, T) if s.reach is None else np.clip(np.arange(1 - T, T), -s.reach, s.reach)
    return dict(share=sinusoids(away, D, 10_000.0))


def joined(s, p, given):
    """One position after the other; there is one bias at most."""
    found = dict(add=given.x, rotate=(given.q, given.k), value=given.v)
    for i, spec in enumerate(s.positions):
        q, k = found["rotate"]
        now = dataclasses.replace(given, x=found["add"], q=q, k=k, v=found["value"])
        found |= within("position", spec, p, f"parts_{i}", now)
    return found


def shared(s, p, given):
    return dict(bias=sloped(SLOPES, given))
