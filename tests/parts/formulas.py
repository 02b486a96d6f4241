"""The formula of every part once more, in NumPy and float64, beside EXAMPLES: slot -> kind -> function.

A function takes the part, for its settings, its parameters, and what the part itself takes. Of `ctx` it reads
positions, segments, grid and shared, all NumPy arrays. It may stand in another test, which is then named by an
`Elsewhere`. What padding gets is not compared, but for pools and heads, which answer for a row of padding too.
"""

import functools
import itertools

import numpy as np

from tests.parts import embeds, grids, maps, positions, restoring, sequences, stems
from tests.parts.positions import Given
from tests.parts.sequences import linear
from tests.parts.visible import sighted
from tests.parts.within import ACTIVATIONS, Elsewhere, clean, normed, real, value, within

# --- norm, residual, ffn


def rmsnorm(s, p, x):
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + s.eps) * p["scale"] + p.get("bias", 0.0)


def layernorm(s, p, x):
    return rmsnorm(s, p, x - x.mean(-1, keepdims=True))


def plain(s, p, x, y, ctx):
    return x + y


def scaled(s, p, x, y, ctx):
    return s.skip * x + p.get("scale", s.gate) * y


def convolved(s, p, x, y, ctx):
    kernel, embedded = p["conv"]["kernel"], clean(ctx.shared["embedded"], ctx)
    W, inside, D = kernel.shape
    conv = np.broadcast_to(p["conv"]["bias"], x.shape).copy()
    for (b, t), w in itertools.product(np.ndindex(x.shape[:2]), range(W)):
        source = t + w - W // 2
        if not 0 <= source < x.shape[1] or (ctx.segments is not None and ctx.segments[b, t] != ctx.segments[b, source]):
            continue
        for o in range(D):
            first = o // (D // s.groups) * inside
            conv[b, t, o] += embedded[b, source, first : first + inside] @ kernel[w, :, o]
    joined = normed(s, p, x + y) + ACTIVATIONS[s.activation](conv)
    return within("norm", s.norm, p, "conv_norm", joined)


def activated_sum(s, p, x, y, ctx):
    return ACTIVATIONS[s.activation](x + clean(y, ctx))


def bottleneck(s, p, x, ctx):
    a = ACTIVATIONS[s.activation]
    h = a(within("norm", s.norm, p, "in_norm", linear(p["in"], x)))
    h = a(within("norm", s.norm, p, "mixer_norm", within("mixer", s.mixer, p, "mixer", h, ctx)))
    return within("norm", s.norm, p, "out_norm", linear(p["out"], h))


def in_turn(s, p, x, ctx):
    for i, mixer in enumerate(s.mixers):
        x = within("mixer", mixer, p, f"mixer_{i}", clean(x, ctx), ctx)
    return x


def mlp(s, p, x, ctx):
    return linear(p["down"], ACTIVATIONS[s.activation](linear(p["up"], x)))


def token_boosting(s, p, x, ctx):
    return 2 * mlp(s, p, x, ctx) - x


def glu(s, p, x, ctx):
    return linear(p["down"], ACTIVATIONS[s.activation](linear(p["gate"], x)) * linear(p["up"], x))


def normed_glu(s, p, x, ctx):
    h = ACTIVATIONS[s.activation](linear(p["gate"], x)) * linear(p["up"], x)
    return linear(p["down"], normed(s, p, h))


def ista(s, p, x, ctx):
    D = p["dictionary"]
    each = np.einsum("ij,...j->...i", D.T, x) - np.einsum("ij,...j->...i", D.T @ D, x)
    return np.maximum(x + s.step * each - s.step * s.sparsity, 0)


def linear_map(s, p, x, ctx):
    return np.einsum("de,...d->...e", p["kernel"], x)


def grouped_mlp(s, p, x, ctx):
    def grouped(p, x):
        parts = zip(np.split(x, s.groups, axis=-1), p["kernel"], strict=True)
        return np.concatenate([part @ own for part, own in parts], axis=-1) + p["bias"]

    return grouped(p["down"], ACTIVATIONS[s.activation](grouped(p["up"], x)))


# --- position: all but this one, whose table may be normed, are in positions.py


def relative_table(s, p, given):
    return dict(share=normed(s, p, p["table"])[positions.relative_rows(s, given.x.shape[1])])


# --- pool and head


def normed_map(s, p, name, x, axes=1):
    """The linear map of this name and the norm after it, or a bias."""
    own = p[name] if s.norm is None else {"kernel": p[name]["kernel"], "bias": 0.0}
    y = linear(own, x, axes)
    return y if s.norm is None else within("norm", s.norm, p, f"{name}_norm", y)


def normed_mlp(s, p, x, ctx):
    return normed_map(s, p, "down", ACTIVATIONS[s.activation](normed_map(s, p, "up", clean(x, ctx))))


def focal_modulation(s, p, x, ctx):
    D, act = x.shape[-1], ACTIVATIONS[s.activation]
    q, z, gates = np.split(linear(p["in"], clean(x, ctx)), [D, 2 * D], axis=-1)
    total = 0.0
    for i in range(s.levels):
        z = act(grids.depthwise(p[f"conv_{i}"], clean(z, ctx), ctx, s.window + 2 * i))
        total = total + z * gates[..., i : i + 1]
    mean = np.zeros_like(z)
    for row, text in sequences.texts(z, ctx.segments):
        mean[row, text] = z[row, text].mean(0)
    total = (total + act(mean) * gates[..., s.levels :]) / (s.levels + 1 if s.total == "mean" else 1)
    return linear(p["out"], normed(s, p, q * linear(p["context"], total)))


def fused_attention(s, p, x, ctx):
    H, y = s.width, normed_map(s, p, "qkv", clean(x, ctx)).reshape(*x.shape[:2], s.heads, -1)
    q, k, v = np.split(y, [H, 2 * H], axis=-1)
    doors = within("position", s.position, p, "position", Given(x, q, k, v, ctx))
    y = sequences.attend(q, k, v, sequences.same_text(x, ctx.segments), H**-0.5, doors.get("bias", 0.0))
    return normed_map(s, p, "o", ACTIVATIONS[s.activation](y), 2)


def mean_and_tokens(s, p, x, ctx):
    x = clean(x, ctx)
    mean = within("pool", dict(kind="mean"), p, "pool", x, ctx)
    return normed(s, p, np.concatenate([mean[:, None], x], axis=1))


def normed_pool(s, p, x, ctx):
    if s.first == "norm":
        return within("pool", s.pool, p, "pool", normed(s, p, clean(x, ctx)), ctx)
    return normed(s, p, within("pool", s.pool, p, "pool", x, ctx))


def one_of_each(choose):
    """A pool that returns one real token of a row, zeros of a row that has none."""

    def pool(s, p, x, ctx):
        found = [choose(s, b, np.flatnonzero(own), ctx) for b, own in enumerate(real(x, ctx))]
        return np.stack([np.zeros(x.shape[-1]) if t is None else clean(x, ctx)[b, t] for b, t in enumerate(found)])

    return pool


def at_token(s, b, own, ctx):
    ids = ctx.tokens[b, own]
    wanted = max(ids, default=0) if s.token is None else s.token
    return next((t for t, one in zip(own, ids, strict=True) if one == wanted), 0 if len(own) else None)


def mean(s, p, x, ctx):
    rows = [row[own] for row, own in zip(x, real(x, ctx), strict=True)]
    return np.stack([row.mean(0) if len(row) else np.zeros(x.shape[-1]) for row in rows])


def attention_pool(s, p, x, ctx):
    B, D = len(x), x.shape[-1]
    q = linear(p["q"], np.broadcast_to(p["query"], (B, 1, D)))
    visible = real(x, ctx)[:, None, None, :]
    y = sequences.attend(q, linear(p["k"], x), linear(p["v"], x), visible, q.shape[-1] ** -0.5)
    y = linear(p["o"], y, 2)
    if s.ffn is not None:
        y = y + within("ffn", s.ffn, p, "ffn", normed(s, p, y), ctx)
    return y[:, 0]


def class_attention(s, p, x, ctx):
    c = np.broadcast_to(p["cls"], (len(x), 1, x.shape[-1]))
    u = within("norm", s.norm, p, "in_norm", np.concatenate([c, clean(x, ctx)], axis=1))
    q, k, v = linear(p["q"], u[:, :1]), linear(p["k"], u), linear(p["v"], u)
    visible = np.concatenate([np.ones((len(x), 1), bool), real(x, ctx)], axis=1)[:, None, None]
    c = c + p["attention_scale"] * linear(p["o"], sequences.attend(q, k, v, visible, q.shape[-1] ** -0.5), 2)
    c = c + p["ffn_scale"] * within("ffn", s.ffn, p, "ffn", within("norm", s.norm, p, "ffn_norm", c), ctx)
    return within("norm", s.norm, p, "out_norm", c)[:, 0]


def dense_pool(s, p, x, ctx):
    y = within("pool", s.pool, p, "pool", x, ctx)
    return normed(s, p, ACTIVATIONS[s.activation](linear(p["dense"], y)))


def activated(s, p, x, ctx):
    return ACTIVATIONS[s.activation](within("pool", s.pool, p, "pool", x, ctx))


def mlm(s, p, x, ctx):
    table = p["table"] if s.table == "own" else ctx.embedding
    x = clean(x, ctx)
    x = x if s.activation is None else ACTIVATIONS[s.activation](linear(p["dense"], x))
    return normed(s, p, x) @ table.T + p.get("bias", 0.0)


def classification(s, p, x, ctx):
    return linear(p["out"], within("pool", s.pool, p, "pool", x, ctx))


def instances(s, p, x, ctx):
    return within("pool", s.pool, p, "pool", x, ctx) @ p["table"].T


def prototypes(s, p, x, ctx):
    y = clean(x, ctx) if s.pool is None else clean(x, ctx)[:, 0]
    for i in range(s.layers - 1):
        y = ACTIVATIONS[s.activation](linear(p[f"hidden_{i}"], y))
    y = linear(p["bottleneck"], y)
    y = y / np.maximum(np.linalg.norm(y, axis=-1, keepdims=True), 1e-6)
    return y @ (p["directions"] / np.linalg.norm(p["directions"], axis=0))


def tagging(s, p, x, ctx):
    return linear(p["out"], clean(x, ctx))


def tiles(s, p, x, ctx):
    """By recursion: each quarter of a token's tile is a tile of half as many doublings."""

    def tile(y, i):
        if i == s.doublings:
            return linear(p["out"], y)[:, :, None, None]
        if i:
            y = ACTIVATIONS[s.activation](within("norm", s.norm, p, f"norm_{i}", y))
        own = p[f"double_{i}"]
        rows = [
            np.concatenate([tile(y @ own["kernel"][:, a, b] + own["bias"], i + 1) for b in (0, 1)], 3) for a in (0, 1)
        ]
        return np.concatenate(rows, 2)

    return tile(clean(x, ctx), 0).reshape(*x.shape[:2], -1)


def pixels(s, p, x, ctx):
    (h, w), r = ctx.grid, s.stride
    y = linear(p["out"], clean(x, ctx)[:, -h * w :])
    image = np.zeros((len(x), h * r, w * r, s.channels))
    for row, column, c, i, j in np.ndindex(h, w, s.channels, r, r):
        image[:, row * r + i, column * r + j, c] = y[:, row * w + column, (c * r + i) * r + j]
    return image


def patches_alone(x, ctx):
    return x[:, -int(np.prod(ctx.grid)) :]


def of_patches(s, p, x, ctx):
    return within(
        "head", s.head, p, "head", normed(s, p, patches_alone(clean(x, ctx), ctx)), ctx.replace(segments=None)
    )


def span(s, p, x, ctx):
    return np.where(real(x, ctx)[..., None], tagging(s, p, x, ctx), -np.inf)


def detection(s, p, x, ctx):
    return linear(p["out"], ACTIVATIONS[s.activation](linear(p["dense"], clean(x, ctx))))[..., 0]


def vector(s, p, x, ctx):
    return within("pool", s.pool, p, "pool", x, ctx)


def dense_head(s, p, x, ctx):
    x = normed(s, p, ACTIVATIONS[s.activation](linear(p["dense"], clean(x, ctx))))
    return within("head", s.head, p, "head", x, ctx)


def ffn_head(s, p, x, ctx):
    x = clean(x, ctx)
    return within("head", s.head, p, "head", normed(s, p, x + within("ffn", s.ffn, p, "ffn", x, ctx)), ctx)


# --- mixer


def attention(s, p, x, ctx):
    if s.sight is not None:
        return linear(p["o"], sighted(s.sight, p, x, ctx.segments), 2)
    q, k, v = (linear(p[name], x) for name in "qkv")
    if s.qk_norm is not None:
        q, k = (within("norm", s.qk_norm, p, name, a) for name, a in (("q_norm", q), ("k_norm", k)))
    doors = within("position", s.position, p, "position", Given(x, q, k, v, ctx))
    (q, k), v = doors.get("rotate", (q, k)), doors.get("value", v)
    visible = sequences.same_text(x, ctx.segments)
    if s.window is not None:
        visible = visible & (np.abs(positions.distances(x.shape[1])) <= s.window // 2)
    scale = q.shape[-1] ** -0.5 if s.scale is None else s.scale
    if s.scale == "learned":
        q, scale = q * np.minimum(np.exp(p["logit_scale"]), 100.0)[:, None], 1.0
    weights = functools.partial(sequences.weights, s.softmax, p.get("softmax", {}))
    return linear(p["o"], sequences.attend(q, k, v, visible, scale, doors.get("bias", 0.0), weights), 2)


def collapsed_attention(s, p, x, ctx):
    D, visible = x.shape[-1], sequences.same_text(x, ctx.segments)
    if s.similarity == "free":
        A = p["q"]["kernel"]
    else:
        A = np.zeros((D, s.heads, D))
        for n, half in enumerate(p["similarity"]):
            A[:, n] = np.array([[half[max(i, j) - min(i, j) + sum(D - r for r in range(min(i, j)))] for j in range(D)]
                                for i in range(D)])  # fmt: skip
    y = sequences.attend(np.einsum("btd,dne->btne", x, A), x[:, :, None], x[:, :, None], visible, D**-0.5)
    return y.mean(2) if s.values == "none" else linear(p["o"], y, 2)


def subspace_attention(s, p, x, ctx):
    u = linear(p["q"], x)
    return linear(p["o"], sequences.attend(u, u, u, sequences.same_text(x, ctx.segments), u.shape[-1] ** -0.5), 2)


def positioned(s, p, x, ctx):
    read = x + within("norm", s.norm, p, "norm", embeds.marked(s, p, np.zeros_like(x), ctx))
    return within("mixer", s.mixer, p, "mixer", read, ctx)


def pooled_relative(s, p, x, ctx):
    """((q + b)·k + (q + c)·r + (q + e)·s) / sqrt(H): r is of the distance, s one of two vectors for the type."""
    q, k, v = (linear(p[name], x) for name in "qkv")
    at, types = positions.of_tokens(x, ctx), ctx.types
    of_distance = positions.sinusoids(at[:, :, None] - at[:, None, :], x.shape[-1], 10_000.0)
    same = (types[:, :, None] == types[:, None, :]) | (types == 2)[:, :, None] | (types == 2)[:, None, :]
    scores = np.einsum("btnh,btsd,dnh->bnts", q + p["distance_bias"], of_distance, p["r"]["kernel"])
    scores += np.einsum("btnh,btsnh->bnts", q + p["type_bias"], p["types"][same.astype(int)])
    counts = (at != 0) | (s.cls == "counted")
    scores = np.where((counts[:, :, None] & counts[:, None, :])[:, None], scores, 0.0)
    scale = q.shape[-1] ** -0.5
    visible = sequences.same_text(x, ctx.segments)
    return linear(p["o"], sequences.attend(q + p["key_bias"], k, v, visible, scale, scale * scores), 2)


def bidirectional(s, p, x, ctx):
    ahead, behind = (p["mixer"], p["mixer"]) if s.share == "all" else (p["forward"], p["backward"])
    rows = {name: getattr(ctx, name)[:, ::-1] for name in ("positions", "segments")}
    turned = ctx.replace(**rows)
    onward, backward = (
        value("mixer", s.mixer, p, x, ctx) for p, x, ctx in ((ahead, x, ctx), (behind, x[:, ::-1], turned))
    )
    return (onward + backward[:, ::-1]) / dict(sum=1, mean=2)[s.merge]


def fourier(s, p, x, ctx):
    y = np.zeros_like(x)
    for b, own in sequences.texts(x, ctx.segments):
        y[b, own] = np.fft.fft2(x[b, own]).real
    return y


LONG = "tests/parts/test_long_mixers.py::"

FORMULAS = {
    "norm": {
        "layernorm": layernorm,
        "rmsnorm": rmsnorm,
        "unit": lambda s, p, x: x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), s.eps),
        "batchnorm": lambda s, p, x: (x - p["mean"]) / np.sqrt(p["variance"] + s.eps) * p["scale"] + p["bias"],
        "progressive": Elsewhere("tests/parts/test_slab.py::test_progressive_norm_at_both_ends"),
        "affine": lambda s, p, x: x * p["scale"] + p.get("bias", 0.0),
        "groupnorm": grids.groupnorm,
        "timed": restoring.timed,
        "fixed_batchnorm": lambda s, p, x: (x - p["mean"]) / np.sqrt(p["variance"] + s.eps) * p["scale"] + p["bias"],
    },
    "residual": {
        "plain": plain,
        "scaled": scaled,
        "convolved": convolved,
        "activated": activated_sum,
        "long": lambda s, p, x, y, ctx: ctx.shared[s.start] + y,
    },
    "ffn": {
        "mlp": mlp,
        "glu": glu,
        "normed_glu": normed_glu,
        "ista": ista,
        "linear_map": linear_map,
        "grouped_mlp": grouped_mlp,
        "normed_mlp": normed_mlp,
        "token_boosting": token_boosting,
        "identity": lambda s, p, x, ctx: x,
    },
    "position": {
        "none": lambda s, p, given: {},
        "learned": positions.learned,
        "learned_grid": Elsewhere("tests/parts/test_learned_grid.py::test_a_table_is_resized_as_by_torch"),
        "learned_video": positions.learned_video,
        "space_time": positions.space_time,
        "sinusoidal": positions.sinusoidal,
        "sinusoidal_2d": positions.sinusoidal_2d,
        "rope": positions.rope,
        "rope_2d": positions.rope_2d,
        "rope_centres": positions.rope_centres,
        "alibi": positions.alibi,
        "grid_decay": positions.grid_decay,
        "grid_distances": positions.grid_distances,
        "relative_buckets": positions.relative_buckets,
        "relative_table": relative_table,
        "relative_sines": positions.relative_sines,
        "relative_grid": Elsewhere("tests/parts/test_windowed.py::test_a_table_of_offsets_serves_smaller_grids"),
        "continuous_grid": positions.continuous_grid,
        "dynamic_grid": positions.dynamic_grid(normed),
        "joined": positions.joined,
        "relative_patches": positions.relative_patches,
        "shared": positions.shared,
    },
    "embed": {
        "tokens": embeds.tokens,
        "projected": embeds.projected,
        "questions": embeds.questions,
        "hashed": embeds.hashed,
        "bytes": embeds.of_bytes,
        "patches": embeds.patches,
        "clicked": embeds.clicked,
        "tubelets": embeds.tubelets,
        "naflex": embeds.naflex,
        "spectrogram": lambda s, p, batch, ctx: value(
            "embed", {**s.image, "width": s.width}, p, {"images": batch["frames"].swapaxes(1, 2)[..., None]}, ctx
        ),
        "words": embeds.words,
        "latents": embeds.latents,
        "stream": lambda s, p, batch, ctx: batch["latents"],
    },
    "stem": {
        "conv": lambda s, p, images, ctx: normed(s, p, grids.strided(s, p["conv"], images)),
        "convs": stems.convs(within, ACTIVATIONS),
        "cross_scale": stems.cross_scale(normed),
        "residual_convs": stems.residual_convs(within, ACTIVATIONS),
        "hmlp": stems.hmlp(within, ACTIVATIONS),
        "linear_convs": stems.linear_convs(within, ACTIVATIONS),
        "max_pooled": stems.max_pooled(within, ACTIVATIONS),
        "normed": stems.normed(normed, within, ACTIVATIONS),
        "normed_patches": stems.normed_patches(normed),
        "tokens_to_token": stems.tokens_to_token(within),
    },
    "down": dict.fromkeys(
        (
            "block_aggregation",
            "patch_merging",
            "strided_conv",
            "mbconv",
            "residual_reduction",
            "cross_scale",
            "pool",
            "pool_to",
            "pooled_queries",
            "frames",
            "subsampled_attention",
            "bottleneck",
            "positioned",
            "activated",
            "sampled",
            "restored",
        ),
        Elsewhere("tests/parts/test_downs.py::test_formula_and_context"),
    ),
    "pool": {
        "cls": lambda s, p, x, ctx: clean(x, ctx)[:, s.index],
        "mean": mean,
        "patch_mean": lambda s, p, x, ctx: mean(
            s, p, patches_alone(x, ctx), ctx.replace(segments=patches_alone(ctx.segments, ctx))
        ),
        "joined": lambda s, p, x, ctx: np.concatenate(
            [within("pool", pool, p, f"pool_{i}", x, ctx) for i, pool in enumerate(s.pools)], axis=-1
        ),
        "leading": lambda s, p, x, ctx: clean(x, ctx)[:, : s.count].mean(1),
        "first": one_of_each(lambda s, b, own, ctx: own[0] if len(own) else None),
        "last": one_of_each(lambda s, b, own, ctx: own[-1] if len(own) else None),
        "at_token": one_of_each(at_token),
        "attention": attention_pool,
        "class_attention": class_attention,
        "dense": dense_pool,
        "activated": activated,
        "normed": normed_pool,
        "projected": lambda s, p, x, ctx: within(
            "pool", s.pool, p, "pool", ACTIVATIONS[s.activation](normed(s, p, linear(p["dense"], clean(x, ctx)))), ctx
        ),
        "of_head": lambda s, p, x, ctx: ctx.heads[s.head],
    },
    "head": {
        "mlm": mlm,
        "enhanced_mlm": Elsewhere(
            "tests/parts/test_disentangled.py::test_enhanced_mask_decoder_equals_its_description"
        ),
        "classification": classification,
        "pixels": pixels,
        "upsampled": restoring.upsampled,
        "patch_recovery": restoring.patch_recovery,
        "unet_pixels": maps.unet_pixels,
        "of_patches": of_patches,
        "tagging": tagging,
        "latent_queries": Elsewhere("tests/parts/test_latent_queries.py::test_latent_queries_equal_their_formula"),
        "span": span,
        "all_mlp": maps.all_mlp,
        "linear_maps": maps.linear_maps,
        "fused": maps.fused,
        "fpn": maps.fpn,
        "simple_pyramid": maps.simple_pyramid,
        "widening_pyramid": maps.widening_pyramid,
        "mlp_maps": maps.mlp_maps,
        "upernet": maps.upernet,
        "span_beam": Elsewhere("tests/parts/test_relative.py::test_beam_search_over_answers"),
        "detection": detection,
        "values": tagging,
        "tiles": tiles,
        "mean_and_tokens": mean_and_tokens,
        "prototypes": prototypes,
        "instances": instances,
        "vector": vector,
        "dense": dense_head,
        "ffn": ffn_head,
    },
    "sight": dict.fromkeys(
        ("block_local", "block_sparse", "global_window"),
        Elsewhere("tests/parts/test_sights.py::test_weights_of_equal_scores_show_what_is_attended_to"),
    ),
    "mixer": {
        "attention": attention,
        "positioned": positioned,
        "normed": lambda s, p, x, ctx: within("mixer", s.mixer, p, "mixer", normed(s, p, x), ctx),
        "relu_attention": Elsewhere(
            "tests/parts/test_slab.py::test_relu_attention_is_a_product_of_scores_and_a_convolution_of_each_head"
        ),
        "conv_gate": Elsewhere("tests/parity/test_backbones.py::test_patch_convnet_equals_its_description"),
        "extended": Elsewhere("tests/parts/test_small_changes.py::test_memory_is_keys_and_values_without_queries"),
        "collapsed_attention": collapsed_attention,
        "fused_attention": fused_attention,
        "focal_modulation": focal_modulation,
        "subspace_attention": subspace_attention,
        "mamba2": sequences.mamba2,
        "bidirectional": bidirectional,
        "fourier": fourier,
        "disentangled": Elsewhere("tests/parts/test_disentangled.py::test_disentangled_equals_loops"),
        "mixed_attention": Elsewhere(LONG + "test_mixed_attention"),
        "along": Elsewhere("tests/parts/test_video.py::test_along_equals_a_loop_over_frames_or_places"),
        "nystrom": Elsewhere(LONG + "test_nystrom"),
        "relative": Elsewhere("tests/parts/test_relative.py::test_distances_and_types"),
        "pooled_relative": pooled_relative,
        "windowed": Elsewhere("tests/parts/test_windowed.py::test_a_token_sees_its_window_and_no_more"),
        "manhattan": Elsewhere("tests/parts/test_manhattan.py::test_a_token_meets_its_row_and_then_its_column"),
        "strided": Elsewhere("tests/parts/test_strided.py::test_a_token_sees_its_group_and_no_more"),
        "reduced": Elsewhere("tests/parts/test_reduced.py::test_tokens_attend_to_tiles"),
        "overlapping": restoring.overlapping,
        "channel_attention": restoring.channel_attention,
        "fused_mbconv": restoring.fused_mbconv(within),
        "pooling": grids.pooling,
        "conv_mlp": grids.conv_mlp(ACTIVATIONS),
        "local_mlp": grids.local_mlp(ACTIVATIONS),
        "aggregated_mlp": Elsewhere("tests/parts/test_dhvt.py::test_the_mean_over_patches_scales_the_first_token"),
        "head_tokens": Elsewhere("tests/parts/test_dhvt.py::test_head_tokens_are_further_keys_and_queries"),
        "depthwise": lambda s, p, x, ctx: grids.depthwise(p["conv"], x, ctx, s.size),
        "token_mlp": grids.token_mlp(ACTIVATIONS),
        "conv": grids.conv,
        "bottleneck": bottleneck,
        "lambda_layer": grids.lambda_layer(within),
        "wavemix": grids.wavemix(within, ACTIVATIONS),
        "state_space_2d": grids.state_space_2d(normed),
        "in_turn": in_turn,
        "convnext": grids.convnext(ACTIVATIONS, lambda spec, p, x: value("norm", spec, p, x)),
    },
}
