"""The formulas of embeddings in NumPy, for tests/parts/formulas.py."""

import itertools
import math

import numpy as np

from tests.parts import stems
from tests.parts.positions import Given
from tests.parts.sequences import linear
from tests.parts.within import clean, normed, within
from xfm.parts.resize import resize_matrix


def marked(s, p, x, ctx, name="position"):
    """x with its positions added, as the part's own position does it."""
    return within("position", getattr(s, name), p, name, Given(x, None, None, None, ctx)).get("add", x)


def tokens(s, p, batch, ctx):
    x = marked(s, p, p["word"]["embedding"][batch["tokens"]], ctx)
    x = x + p["type"]["embedding"][batch["types"]] if s.types else x
    x = normed(s, p, clean(x, ctx))
    return x if s.factor is None else linear(p["up"], x)


def projected(s, p, batch, ctx):
    inside = dict(kind="tokens", vocab=s.vocab, width=s.factor, types=s.types, position=s.position)
    x = linear(p["up"], within("embed", inside, p, "tokens", batch, ctx))
    return normed(s, p, clean(marked(s, p, x, ctx, "places"), ctx))


def questions(s, p, batch, ctx):
    x = clean(p["word"]["embedding"][batch["tokens"]], ctx)
    asked = np.broadcast_to(p["question"], (*batch["asked"].shape, s.width))
    return np.concatenate([x, asked], axis=1)


def hashed(s, p, batch, ctx):
    primes = [31, 43, 59, 61, 73, 97, 103, 113, 137, 149, 157, 173, 181, 193, 211, 223]
    rows = [
        p[f"hash_{i}"]["embedding"][(batch["tokens"] + 1) * primes[i] % s.buckets] for i in range(s.hashes)
    ]  # fmt: skip
    x = marked(s, p, np.concatenate(rows, axis=-1), ctx)
    x = x + p["type"]["embedding"][batch["types"]] if s.types else x
    return normed(s, p, clean(x, ctx))


def of_bytes(s, p, batch, ctx):
    tokens = batch["tokens"]
    segments = np.ones_like(tokens) if ctx.segments is None else ctx.segments
    x = p["byte"]["embedding"][tokens]

    def bucket(b, t, n):
        """Of the token and the n - 1 before it in its segment, as digits of a number modulo 2^32, mixed once."""
        total = 0
        for source in range(t, t - n, -1):
            same = source >= 0 and segments[b, source] == segments[b, t]
            total = (total * 1_000_000_007 + (int(tokens[b, source]) + 1 if same else 0)) % 2**32
        return (total ^ (total >> 15)) % s.buckets

    for n in s.ngrams:
        rows = np.array([[bucket(b, t, n) for t in range(tokens.shape[1])] for b in range(len(tokens))])
        x = x + p[f"ngram_{n}"]["embedding"][rows]
    x = marked(s, p, x / (1 + len(s.ngrams)), ctx)
    return normed(s, p, clean(x, ctx))


def patches(s, p, batch, ctx):
    images = batch["images"]
    if s.stem is not None:
        x = within("stem", dict(s.stem, width=s.width), p, "stem", images, ctx)
        x = marked(s, p, x.reshape(len(x), -1, s.width), ctx.replace(grid=x.shape[1:3]))
        return normed(s, p, x)
    h, w = (s.patch, s.patch) if isinstance(s.patch, int) else s.patch
    B, height, width, _ = images.shape
    corners = [(i, j) for i in range(0, height, h) for j in range(0, width, w)]
    flat = np.stack([images[:, i : i + h, j : j + w].reshape(B, -1) for i, j in corners], axis=1)

    def learned(name, count):
        return np.broadcast_to(p[name], (B, count, s.width)) if count else np.zeros((B, 0, s.width))

    x = linear(p["patch"], flat)
    if s.mask == "token":
        x = np.where(batch["hidden"][..., None], p["mask"], x)
    x = np.concatenate([learned("cls", s.cls), x], axis=1)
    x = marked(s, p, x, ctx.replace(grid=(height // h, width // w)))
    x = np.concatenate([x[:, : s.cls], learned("registers", s.registers), x[:, s.cls :]], axis=1)
    return normed(s, p, x)


def words(s, p, batch, ctx):
    images, P = batch["images"], s.patch
    B, height, width, _ = images.shape
    corners = [(i, j) for i in range(0, height, P) for j in range(0, width, P)]
    cut = [
        linear(p["word"], stems.tiles(images[:, i : i + P, j : j + P], s.size, s.stride, s.margin)) for i, j in corners
    ]
    table = p.get("position", {}).get("table", 0.0)  # of a grid that is never resized here
    flat = [x.reshape(B, -1, s.width) + table for x in cut]
    return np.concatenate(flat, axis=1)


def latents(s, p, batch, ctx):
    patch = (s.patch, s.patch) if isinstance(s.patch, int) else s.patch
    seen = batch["images" if len(patch) == 2 else "video"]
    grid = tuple(side // one for side, one in zip(seen.shape[1:-1], patch, strict=True))
    x = batch["latents"] if s.norm is None else within("norm", s.norm, p, "norm", batch["latents"])
    x, numbers = linear(p["in"], x), np.concatenate([batch["encoded"], batch["predicted"]], axis=1)
    lead = x.shape[1] - batch["encoded"].shape[1]
    places = marked(s, p, np.zeros((1, lead + math.prod(grid), s.width)), ctx.replace(grid=grid))[0]
    own = [[*places[:lead], *(places[lead + n] for n in row)] for row in numbers]
    mask = np.broadcast_to(p["mask"], (*batch["predicted"].shape, s.width))
    return np.concatenate([x, mask], axis=1) + np.array(own)


def naflex(s, p, batch, ctx):
    """The table resized for one image after the other; what is after an image has the position of its first patch."""
    x, table = linear(p["patch"], batch["patches"]), p["table"].reshape(s.size, s.size, -1)
    for row, (h, w) in zip(x, batch["sides"], strict=True):
        down, across = (resize_matrix(s.size, int(side), "bilinear_antialiased") for side in (h, w))
        places = np.einsum("Hh,Ww,hwd->HWd", down, across, table).reshape(h * w, -1)
        row += np.concatenate([places, np.broadcast_to(places[0], (len(row) - h * w, len(places[0])))])
    return x


def tubelets(s, p, batch, ctx):
    video, (a, b, c) = batch["video"], s.tubelet
    B, *sides, _ = video.shape
    t, h, w = (side // one for side, one in zip(sides, s.tubelet, strict=True))
    corners = itertools.product(range(0, sides[0], a), range(0, sides[1], b), range(0, sides[2], c))
    flat = np.stack([video[:, i : i + a, j : j + b, k : k + c].reshape(B, -1) for i, j, k in corners], axis=1)
    cls = np.broadcast_to(p["cls"], (B, s.cls, s.width)) if s.cls else np.zeros((B, 0, s.width))
    return marked(s, p, np.concatenate([cls, linear(p["patch"], flat)], axis=1), ctx.replace(grid=(t, h, w)))


def clicked(s, p, batch, ctx):
    maps = np.zeros((*batch["images"].shape[:3], 3))
    maps[..., 2] = batch["mask"]
    for b, clicks in enumerate(batch["clicks"]):
        for row, column, sign in clicks:
            for i, j in itertools.product(*map(range, maps.shape[1:3])):
                if sign and np.hypot(i - row, j - column) <= s.radius:
                    maps[b, i, j, 0 if sign > 0 else 1] = 1
    x = within("embed", s.embed, p, "embed", batch, ctx)
    side = s.embed["patch"]
    corners = [(i, j) for i in range(0, maps.shape[1], side) for j in range(0, maps.shape[2], side)]
    flat = np.stack([maps[:, i : i + side, j : j + side].reshape(len(x), -1) for i, j in corners], axis=1)
    x[:, -len(corners) :] += flat @ p["clicks"]["kernel"] + p["clicks"]["bias"]
    return x
