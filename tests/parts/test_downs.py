"""What a part between two stages owes: its formula written in loops, its context, padding, gradients, refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from tests.parts.examples import examples
from tests.parts.sequences import linear
from tests.parts.within import ACTIVATIONS, value
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.parts.resize import resize_grid
from xfm.spec import SpecError, build

B, D, GRID = 2, 16, (4, 6)
T = GRID[0] * GRID[1]
SEGMENTS = np.array([[3] * T, [1] * 16 + [0] * 8])
downs = pytest.mark.parametrize("kind,spec", examples("down"))


def stream(seed=0):
    return jax.random.normal(jax.random.key(seed), (B, T, D))


def made(kind, spec):
    """The part, and parameters away from their start."""
    assert spec is not None, f"down '{kind}' has no example in tests/parts/examples.py"
    part = build(SLOTS["down"], spec)
    params = noise(shapes(part, stream(), Context(grid=GRID)), 0.5)
    return part, jax.tree_util.tree_map_with_path(lambda path, a: abs(a) if is_variance(path) else a, params)


def is_variance(path):
    return path[-1].key == "variance"


def normed(spec, p, a):
    """The norm of a vector, by its own formula; none where the spec is None."""
    if spec is None:
        return a
    if spec["kind"] == "batchnorm":
        return (a - p["mean"]) / np.sqrt(p["variance"] + 1e-5) * p["scale"] + p["bias"]
    centred = a - a.mean() if spec["kind"] == "layernorm" else a
    return centred / np.sqrt((centred**2).mean() + 1e-6) * p["scale"] + p.get("bias", 0.0)


def both(size):
    return (size, size) if isinstance(size, int) else size


def tile_of(spec, kind):
    """Rows and columns of a tile, of the stride, and of the margin."""
    if kind == "frames":
        return (1, GRID[1]), (1, GRID[1]), (0, 0)
    if kind == "subsampled_attention":
        return (1, 1), both(spec.get("stride", 2)), (0, 0)
    if kind == "mbconv":
        size = both(spec.get("size", 3))
        return size, both(spec.get("stride", 2)), (size[0] // 2, size[1] // 2)
    if kind != "strided_conv":
        return both(spec.get("size", 2)), both(spec.get("size", 2)), (0, 0)
    stride = both(spec.get("stride", 2))
    return both(spec.get("size") or stride), stride, both(spec.get("margin", 0))


def pooled_queries(spec, p, tile, real, around, visible):
    """What becomes of one tile: its query attends to the real tokens of the window around it."""
    gate = spec.get("residual", {}).get("gate", 1.0)
    kind = dict(kind=spec.get("norm", {}).get("kind", "layernorm"))
    tile, around = ([normed(kind, p["in_norm"], a) for a in x[own]] for x, own in ((tile, real), (around, visible)))
    if not tile:
        return np.zeros(spec["width"])
    q, k, v = (np.stack([linear(p[name], a) for a in x]) for name, x in (("q", tile), ("k", around), ("v", around)))
    scores = np.exp(np.einsum("nh,snh->ns", q.max(0), k) / np.sqrt(q.shape[-1]))
    mixed = np.einsum("ns,snh->nh", scores / scores.sum(-1, keepdims=True), v)
    x = np.stack([linear(p["skip"], a) for a in tile]).max(0) + gate * linear(p["o"], mixed, 2)
    h = ACTIVATIONS[spec["ffn"].get("activation", "gelu")](linear(p["ffn"]["up"], normed(kind, p["ffn_norm"], x)))
    return x + gate * linear(p["ffn"]["down"], h)


def subsampled(spec, p, tile, real, around, visible):
    """What becomes of one token, which attends to the real ones of the grid."""
    N, H, norm = spec["heads"], spec["keys"], spec.get("norm")

    def after(name, a, axes=1):
        own = p[name] if norm is None else {"kernel": p[name]["kernel"], "bias": 0.0}
        return normed(norm, p.get(f"{name}_norm"), linear(own, a, axes))

    act = ACTIVATIONS[spec.get("activation", "hard_swish")]
    y = np.zeros((N, spec["values"]))
    if real.any():
        q = after("q", tile[0, 0]).reshape(N, H)
        k, v = np.split(np.stack([after("kv", a).reshape(N, -1) for a in around[visible]]), [H], axis=-1)
        scores = np.exp(np.einsum("nh,snh->ns", q, k) / np.sqrt(H))
        y = np.einsum("ns,snu->nu", scores / scores.sum(-1, keepdims=True), v)
    x = after("o", act(y), 2)
    if "ffn" not in spec or not real.any():  # a residual adds nothing in padding
        return x
    gate = spec.get("residual", {}).get("gate", 1.0)
    return x + gate * linear(p["ffn"]["down"], ACTIVATIONS["gelu"](linear(p["ffn"]["up"], x)))


def activated(spec, p, name, a):
    """The activation of the norm of that name in an inverted bottleneck."""
    return ACTIVATIONS[spec.get("activation", "gelu")](normed(spec.get("norm", dict(kind="batchnorm")), p[name], a))


def one(kind, spec, p, tile, real, around):
    """What becomes of one tile [rows columns D], of whose tokens some are real.

    around: the window that it lies in, and which of the window's tokens are real.
    """
    if kind == "pooled_queries":
        return pooled_queries(spec, p, tile, real, *around)
    if kind == "subsampled_attention":
        return subsampled(spec, p, tile, real, *around)
    if kind == "pool_to":
        mean = tile[real].mean(axis=0) if real.any() else np.zeros(D)
        y = normed(spec.get("norm"), p.get("norm"), mean @ p["out"]["kernel"] + p["out"]["bias"])
        return ACTIVATIONS[spec.get("activation", "identity")](y)
    if kind in ("pool", "frames"):
        held = tile[real]
        return getattr(held, spec.get("by", "mean"))(axis=0) if len(held) else np.zeros(tile.shape[-1])
    if kind == "patch_merging":
        four = np.concatenate([tile[0, 0], tile[1, 0], tile[0, 1], tile[1, 1]])
        y = normed(spec.get("norm", dict(kind="layernorm")), p.get("norm"), four) @ p["out"]["kernel"]
        return normed(spec.get("out_norm"), p.get("out_norm"), y)
    if kind == "mbconv":
        h = activated(spec, p, "conv_norm", np.einsum("abf,abf->f", tile, p["conv"]["kernel"]))
        return normed(spec.get("norm", dict(kind="batchnorm")), p["down_norm"], h @ p["down"]["kernel"])
    y = np.einsum("abd,abde->e", tile, p["conv"]["kernel"]) + p["conv"].get("bias", 0.0)
    return normed(spec.get("out_norm"), p.get("out_norm"), y)


def starts_and_ends(spec, kind):
    """The first index of each tile and the one after its last, of rows and of columns, margins included."""
    if kind == "pool_to":
        sides = zip(GRID, both(spec["size"]), strict=True)
        return [[(i * g // n, math.ceil((i + 1) * g / n)) for i in range(n)] for g, n in sides]
    sides = zip(GRID, *tile_of(spec, kind), strict=True)
    return [[(i * s, i * s + k) for i in range((g + 2 * m - k) // s + 1)] for g, k, s, m in sides]


def aggregated(spec, p, grid, real):
    """Block aggregation of one row: the norm of a convolution at each token, then the maximum of real ones."""
    (h, w), E = GRID, spec["width"]
    around, y = np.pad(np.where(real[..., None], grid, 0.0), ((1, 1), (1, 1), (0, 0))), np.zeros((h, w, E))
    for i, j in np.ndindex(h, w):
        sums = np.einsum("abd,abde->e", around[i : i + 3, j : j + 3], p["conv"]["kernel"]) + p["conv"]["bias"]
        y[i, j] = normed(spec.get("norm", dict(kind="layernorm")), p["norm"], sums)
    first, out, own = {"end": 0, "both": -1}[spec.get("edge", "end")], np.zeros((h // 2, w // 2, E)), []
    for i, j in np.ndindex(h // 2, w // 2):
        rows, columns = (slice(max(2 * k + first, 0), 2 * k + first + 3) for k in (i, j))
        held = y[rows, columns][real[rows, columns]]
        out[i, j], own = held.max(axis=0) if len(held) else 0.0, [*own, len(held) > 0]
    own = np.array(own).reshape(h // 2, w // 2)
    if "position" in spec:
        out = out + np.asarray(resize_grid(np.float32(p["position"]["table"]).reshape(4, 4, E), own.shape))
    return out, own


def reduced(spec, p, x, segments):
    """A convolution of the normed tokens, beside the mean of tiles with zeros in further channels."""
    E, norm = spec["width"], spec.get("norm", dict(kind="layernorm"))
    conv = dict(width=E, size=3, stride=2, margin=1, in_norm=norm)
    given = dict(params={"conv": p["conv"], "in_norm": p["norm"]})
    y, _ = by_loops("strided_conv", conv, given, x, segments)
    mean, own = by_loops("pool", {}, {}, x, segments)
    if "position" in spec:
        y = y + p["position"]["table"].reshape(1, *y.shape[1:])
    return y + np.pad(mean, [(0, 0)] * 3 + [(0, E - D)]), own


def side_by_side(spec, p, x, segments):
    """The convolutions of a cross-scale part one by one; a token is real where one of the largest tile's is."""
    stride, sizes, made, real = spec.get("stride", 2), spec.get("sizes", (2, 4)), [], []
    for i, size in enumerate(sizes):
        conv = p["scales"][f"conv_{i}"]
        one = dict(width=conv["kernel"].shape[-1], size=size, stride=stride, margin=(size - stride) // 2)
        given = dict(params={"conv": conv, "in_norm": p.get("norm")})
        y, own = by_loops("strided_conv", {**one, "in_norm": spec.get("norm")}, given, x, segments)
        made, real = [*made, y], [*real, own]
    return np.concatenate(made, axis=-1), real[int(np.argmax(sizes))]


def bottleneck(spec, p, x, segments):
    """The bottleneck's branch by the formulas of its parts, and every so many tokens through the skip connection."""

    def each(place, x):
        return np.apply_along_axis(lambda a: normed(spec["norm"], p[f"{place}_norm"], a), -1, x)

    a = ACTIVATIONS[spec.get("activation", "relu")]
    h, down = a(each("in", x @ p["in"]["kernel"])), spec["down"]
    if "mixer" in spec:
        h = value("mixer", spec["mixer"], p["mixer"], h, Context(grid=GRID, segments=segments))
    h, own = by_loops(down["kind"], down, {"params": p.get("down", {})}, h, segments)
    stride = tile_of(down, down["kind"])[1]
    skip = np.where(segments[..., None] > 0, x, 0).reshape(B, *GRID, D)[:, :: stride[0], :: stride[1]]
    y = each("shortcut", skip @ p["shortcut"]["kernel"][0, 0])
    branch = each("out", a(each("mixer", h)) @ p["out"]["kernel"])
    y = y + np.where(own[..., None] > 0, branch, 0)
    return ACTIVATIONS["relu" if "residual" in spec else "identity"](y), own


def wrapped(kind, spec, p, x, segments):
    """What stands before and after another part, of all tokens."""
    y, own = x.reshape(B, *GRID, D), segments.reshape(B, *GRID)
    if "down" in spec:
        y, own = by_loops(spec["down"]["kind"], spec["down"], {"params": p.get("down", {})}, x, segments)
    if kind == "activated":
        y = ACTIVATIONS[spec.get("activation", "gelu")](y)
    if kind == "restored":
        y = linear(p["in"], np.where(own[..., None] > 0, y, 0.0))
    y = linear(p["out"], y) if "out" in spec else y
    return y + p["position"]["table"].reshape(y.shape[1:]) if "position" in spec else y, own


def by_loops(kind, spec, params, x, segments):
    """[B h w E] and the segments [B h w], tile by tile."""
    if kind == "bottleneck":
        return bottleneck(spec, params["params"], x, segments)
    if kind in ("activated", "sampled", "restored"):
        return wrapped(kind, spec, params.get("params", {}), x, segments)
    if kind == "block_aggregation":
        given = [(row.reshape(*GRID, D), (own > 0).reshape(GRID)) for row, own in zip(x, segments, strict=True)]
        made = [aggregated(spec, params["params"], *one) for one in given]
        return np.stack([y for y, _ in made]), np.stack(
            [real * own.max() for (_, real), own in zip(made, segments, strict=True)]
        )
    if kind == "cross_scale":
        return side_by_side(spec, params["params"], x, segments)
    if kind == "positioned":
        p, inner = params["params"], spec["down"]
        y, own = by_loops(inner["kind"], inner, {"params": p["down"]}, x, segments)
        return y + p["position"]["table"].reshape(1, *y.shape[1:]), own
    if kind == "residual_reduction":
        return reduced(spec, params["params"], x, segments)
    p, margin = params.get("params", {}), tile_of(spec, kind)[2]
    rows, columns = starts_and_ends(spec, kind)
    out, own = [], []
    for row, segment in zip(x, segments, strict=True):
        real, grid = (segment > 0).reshape(GRID), row.reshape(*GRID, -1)
        if spec.get("in_norm"):
            grid = np.stack([[normed(spec["in_norm"], p["in_norm"], a) for a in line] for line in grid])
        if kind == "mbconv":
            grid = np.stack([[activated(spec, p, "up_norm", a @ p["up"]["kernel"]) for a in line] for line in grid])
        grid = np.where(real[..., None], grid, 0.0)
        around = [(margin[0],) * 2, (margin[1],) * 2]
        grid, real = np.pad(grid, [*around, (0, 0)]), np.pad(real, around)
        P, Q = both(spec.get("window") or grid.shape[:2])
        parts = [
            (grid[i:k, j:m], real[i:k, j:m], [a[i // P * P :][:P, j // Q * Q :][:, :Q] for a in (grid, real)])
            for i, k in rows
            for j, m in columns
        ]
        out.append(np.stack([one(kind, spec, p, *part) for part in parts]).reshape(len(rows), len(columns), -1))
        own.append(np.array([part[1].any() * segment.max() for part in parts]).reshape(len(rows), len(columns)))
    return np.stack(out), np.stack(own)


def test_tokens_before_the_grid_are_reduced_alone():
    """They become a linear map of their norms, beside themselves; the grid's are as without them."""
    spec = dict(kind="residual_reduction", width=24)
    part, given = build(SLOTS["down"], spec), jax.random.normal(jax.random.key(1), (B, 2 + T, D))
    part = part.copy(tokens=2)
    params = noise(shapes(part, given, Context(grid=GRID)), 0.5)
    segments = jnp.concatenate([jnp.ones((B, 2), int), jnp.asarray(SEGMENTS > 0, int)], axis=1)
    y, ctx = run(part, params, given, Context(grid=GRID, segments=segments))
    grid, after = run(part.copy(tokens=0), params, given[:, 2:], Context(grid=GRID, segments=segments[:, 2:]))
    assert_close(y[:, 2:], grid)
    p, x = params["params"], np.asarray(given[:, :2], np.float64)
    first = np.apply_along_axis(lambda a: normed(dict(kind="layernorm"), p["norm"], a), -1, x)
    assert_close(y[:, :2], linear(p["first"], first) + np.pad(x, [(0, 0), (0, 0), (0, 24 - D)]))
    np.testing.assert_array_equal(ctx.segments[:, 2:], after.segments)
    assert np.asarray(ctx.segments[:, :2]).all() and ctx.positions[0].tolist() == list(range(2 + 6))


def test_learned_tokens_are_put_before_a_grid_with_positions():
    """They are real where their row has a token, and the first rows of the table are theirs."""
    down, position = dict(kind="strided_conv", width=D), dict(kind="learned_grid", size=(2, 3), first=2)
    part = build(SLOTS["down"], dict(kind="positioned", down=down, position=position, cls=2))
    params = noise(shapes(part, stream(), Context(grid=GRID)), 0.5)
    y, ctx = run(part, params, stream(), Context(grid=GRID, segments=jnp.asarray(SEGMENTS)))
    alone = build(SLOTS["down"], down)
    grid, after = run(alone, {"params": params["params"]["down"]}, stream(), Context(grid=GRID, segments=SEGMENTS))
    p = params["params"]
    assert_close(y[:, :2], np.broadcast_to(p["cls"][0] + p["position"]["table"][:2], (B, 2, D)))
    assert_close(y[:, 2:], grid + p["position"]["table"][2:])
    assert ctx.grid == (2, 3) and (ctx.segments[:, 2:] == after.segments).all()
    assert ctx.segments[:, :2].tolist() == [[3, 3], [1, 1]]


def test_merging_an_odd_grid_adds_zeros():
    """A row and a column of zeros at the end, which are padding where there are segments."""
    part = build(SLOTS["down"], dict(kind="patch_merging", uneven="padded", out_norm=dict(kind="layernorm")))
    x, segments = jax.random.normal(jax.random.key(0), (B, 3, 5, D)), np.ones((B, 3, 5), np.int32)
    segments[0, 2, 4] = 0
    larger, own = (np.pad(a, ((0, 0), (0, 1), (0, 1), *[(0, 0)] * (a.ndim - 3))) for a in (x, segments))
    params = noise(shapes(part, x.reshape(B, 15, D), Context(grid=(3, 5))), 0.5)
    run = jax.jit(lambda x, ctx: part.apply(params, x, ctx))
    y, ctx = run(x.reshape(B, 15, D), Context(grid=(3, 5), segments=segments.reshape(B, 15)))
    expected, larger_ctx = run(larger.reshape(B, 24, D), Context(grid=(4, 6), segments=own.reshape(B, 24)))
    assert ctx.grid == (2, 3)
    assert_close(y, expected)
    np.testing.assert_array_equal(ctx.segments, larger_ctx.segments)
    np.testing.assert_array_equal(ctx.segments, [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])


def test_the_first_of_equal_tokens_has_the_gradient_of_their_maximum():
    """And the maximum is theirs once. Tokens in padding have none, though they be as large."""
    x = jnp.broadcast_to(jnp.array([1.0, 2.0, 2.0, 2.0])[:, None], (1, 4, D))
    part, segments = build(SLOTS["down"], dict(kind="pool", by="max")), jnp.array([[1, 0, 1, 1]])

    def of(x):
        y, _ = part.apply({}, x, Context(grid=(2, 2), segments=segments))
        return y.sum(), y

    gradient, y = jax.grad(of, has_aux=True)(x)
    np.testing.assert_array_equal(y, jnp.full((1, 1, D), 2.0))
    np.testing.assert_array_equal(gradient[0, :, 0], [0, 0, 1, 0])


@downs
def test_step(kind, spec):
    """What the part says about the distance between its tokens is how much coarser its grid is."""
    part = build(SLOTS["down"], spec)
    if kind in ("pool_to", "frames"):  # whose grid has one size, whatever the other's
        assert not hasattr(part, "step")
        return
    _, ctx = jax.eval_shape(lambda x: part.init_with_output(jax.random.key(0), x, Context(grid=GRID))[0], stream())
    sides = zip(GRID, part.step(), ctx.grid, strict=True)
    assert all(before // step in (after, after + 1, after - 1) for before, step, after in sides)
    assert (ctx.grid[0] * ctx.grid[1] < GRID[0] * GRID[1]) == (part.step() != (1, 1))


@downs
def test_formula_and_context(kind, spec):
    part, params = made(kind, spec)
    x = np.asarray(stream(1), np.float64)
    for segments in (None, SEGMENTS):
        ctx = Context(grid=GRID, segments=segments, positions=None if segments is None else jnp.zeros((B, T), int))
        y, after = run(part, params, jnp.asarray(x, jnp.float32), ctx)
        expected, own = by_loops(kind, spec, params, x, np.ones((B, T), int) if segments is None else segments)
        assert after.grid == expected.shape[1:3] and y.shape[1] == after.grid[0] * after.grid[1]
        assert_close(y, expected.reshape(*y.shape))
        if segments is None:
            assert after.segments is None and after.positions is None
        else:
            own = own.reshape(B, -1)
            assert (np.asarray(after.segments) == own).all()
            numbers = 0 if after.grid == GRID else np.arange(own.shape[1])  # where the grid is kept, so are positions
            assert (np.asarray(after.positions) == np.where(own > 0, numbers, 0)).all()


@downs
def test_padding_stays_away_and_every_parameter_is_trained(kind, spec):
    part, params = made(kind, spec)
    known, real = Context(grid=GRID, segments=jnp.asarray(SEGMENTS)), (SEGMENTS > 0)[..., None]

    @functools.partial(jax.jit, static_argnums=1)
    def seen(filling, padding="unknown"):
        ctx = known.replace(padding=padding)

        def loss(params, x):
            y, after = part.apply(params, x, ctx)
            y = jnp.where(after.real(y)[..., None], y, 0.0)
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum(), y

        (of_params, of_x), y = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, jnp.where(real, stream(), filling))
        return of_params, jnp.where(real, of_x, 0), y

    expected = seen(0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        averages = getattr(path[-1], "key", None) in (
            "mean",
            "variance",
        )  # of batch normalisation, which are not trained
        dropped = kind == "restored" and "dropped" in jax.tree_util.keystr(path)  # of test_sampled.py
        assert averages or dropped or jnp.abs(leaf).max() > 0, path
    for filling in (jnp.nan, 1e30):
        assert_close(seen(filling), expected, rtol=0)
    finite = seen(0.0, "finite")  # a stream whose padding other parts may leave as it is: another program, rounded anew
    assert_close(finite, expected)
    assert_close(seen(3.0, "finite"), finite, rtol=0)


@pytest.mark.parametrize(
    "spec,ctx,said",
    [
        (dict(kind="patch_merging"), dict(), "'patch_merging' needs a grid of rows and columns, and the embedding"),
        (dict(kind="patch_merging"), dict(grid=(4, 5)), "20 tokens of a grid of 4 x 5 and no others.* set embed.cls=0"),
        (dict(kind="patch_merging"), dict(grid=(3, 8)), "tiles of 2 x 2, which do not fill a grid of 3 x 8; choose"),
        (dict(kind="pool", size=(2, 5)), dict(grid=GRID), "tiles of 2 x 5, which do not fill a grid of 4 x 6; choose"),
        (dict(kind="strided_conv", width=8, stride=4), dict(grid=GRID), "which do not cover a grid of 4 x 6"),
        (dict(kind="strided_conv", width=8, size=5), dict(grid=GRID), "which do not cover a grid of 4 x 6"),
        (dict(kind="cross_scale", width=8, sizes=(2, 3)), dict(grid=GRID), "not centred alike; choose sizes"),
        (dict(kind="cross_scale", width=6, sizes=(2, 4, 6)), dict(grid=GRID), "choose a multiple of 4"),
        (dict(kind="cross_scale", width=8, sizes=(4,), stride=4), dict(grid=GRID), "do not divide 4 x 6; choose"),
        (
            dict(kind="pooled_queries", width=8, heads=3, ffn=dict(kind="mlp", hidden=8)),
            dict(grid=GRID),
            "a width of 8 does not divide among 3 heads",
        ),
        (
            dict(kind="pooled_queries", width=8, heads=2, window=4, ffn=dict(kind="mlp", hidden=8)),
            dict(grid=GRID),
            "tiles of 4 x 4, which do not fill a grid of 4 x 6",
        ),
        (dict(kind="pool"), dict(grid=GRID, heard=jnp.ones((B, T), bool)), "cannot mask those that only attend"),
    ],
)
def test_what_does_not_fit_is_refused(spec, ctx, said):
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(build(SLOTS["down"], spec).init, jax.random.key(0), stream(), Context(**ctx))
