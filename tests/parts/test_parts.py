"""What the parts of every other slot owe, over the whole tables, and each part's formula written once more in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from tests.close import assert_close
from tests.drawn import run, spread
from tests.parts.examples import examples
from xfm.context import Context
from xfm.errors import XfmError
from xfm.kernels.attention import Slopes
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, T, D = 2, 13, 16


def made(slot, kind, spec):
    assert spec is not None, f"{slot} '{kind}' has no example in tests/parts/examples.py"
    return build(SLOTS[slot], spec)


def stream(seed=0):
    return jax.random.normal(jax.random.key(seed), (B, T, D))


def padded():
    return jnp.array([[1] * 9 + [0] * 4, [1] * 13])


def batch_for(kind):
    key = jax.random.key(3)
    if kind == "patches":
        return {"images": jax.random.normal(key, (B, 6, 8, 3))}
    tokens = jax.random.randint(key, (B, T), 0, 11)
    return {"tokens": tokens, "types": tokens % 2}


def assert_all_trained(params, loss):
    gradients = jax.jit(jax.grad(loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0, jax.tree_util.keystr(path)


# --- embed


@pytest.mark.parametrize("kind,spec", examples("embed"))
def test_embeddings(kind, spec):
    embed, batch = made("embed", kind, spec), batch_for(kind)
    if kind == "questions":
        batch["asked"] = jnp.array([[4, 0, 12]] * B)
    params = spread(embed.init(jax.random.key(1), batch, Context()))
    x, ctx = run(embed, params, batch, Context())
    length = T + (3 if kind == "questions" else 0)
    if kind == "patches":
        h, w = ctx.grid
        length = h * w + spec.get("cls", 1) + spec.get("registers", 0)
    assert x.shape == (B, length, D)
    assert_all_trained(params, lambda p: jnp.square(run(embed, p, batch, Context())[0]).sum())


@pytest.mark.parametrize("kind,spec", [e for e in examples("embed") if e.values[0] != "patches"])
def test_embeddings_of_packed_rows_equal_those_of_separate_ones(kind, spec):
    embed, batch = made("embed", kind, spec), batch_for(kind)
    params = spread(embed.init(jax.random.key(1), batch, Context()))
    segments = jnp.array([[1] * 5 + [2] * 8] * B)
    packed, _ = run(embed, params, batch, Context.of({**batch, "segments": segments}))
    alone, _ = run(embed, params, {k: v[:, 5:] for k, v in batch.items()}, Context())
    assert_close(packed[:, 5:], alone)


def test_patches_are_cut_in_reading_order():
    image = np.arange(4 * 6).reshape(1, 4, 6, 1).astype(np.float32)
    from xfm.parts.embed.patches import patchify

    patches = np.asarray(patchify(jnp.asarray(image), (2, 3)))
    assert patches[0].tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]
    with pytest.raises(XfmError, match="4 x 6 does not divide into patches of 3 x 3"):
        patchify(jnp.asarray(image), (3, 3))


def test_ngram_hash_is_of_the_bytes_before():
    from xfm.parts.embed.bytes import ngram_hash

    tokens = jnp.array([[1, 2, 3, 9, 2, 3, 1, 2, 3]])
    hashed = np.asarray(ngram_hash(tokens, None, 2, 10_000))[0]
    assert hashed[2] == hashed[5] == hashed[8] and hashed[1] == hashed[7] != hashed[4]


def test_a_row_longer_than_the_learned_positions_is_refused():
    embed = build(SLOTS["embed"], dict(kind="tokens", vocab=11, width=16, position=dict(kind="learned", length=12)))
    with pytest.raises(XfmError, match="13 tokens, the learned positions 12; raise position.length"):
        embed.init(jax.random.key(0), batch_for("tokens"), Context())


# --- position


@pytest.mark.parametrize("kind,spec", examples("position"))
def test_positions_open_one_door_at_most(kind, spec):
    position = made("position", kind, spec)
    x = stream()
    q = x.reshape(B, T, 2, 8)
    made_above = {"bias": Slopes(jnp.array([1.0, 2.0]))}
    ctx = Context(grid=(3, 4), shared=made_above)  # a class token and 12 patches
    doors = {
        "add": lambda m: m.add(x, ctx) - x,
        "rotate": lambda m: m.rotate(q, q, ctx)[0] - q,
        "bias": lambda m: 0.0 if m.bias(2, ctx) is None else m.bias(2, ctx).block(0, 1, jnp.arange(T), jnp.arange(T)),
    }
    opened = set()
    for door, change in doors.items():
        y, _ = position.init_with_output(jax.random.key(1), method=change)
        assert np.isfinite(y).all()
        opened |= {door} if np.abs(y).max() > 0 else set()
    assert opened <= {
        {
            "rope": "rotate",
            "rope_2d": "rotate",
            "alibi": "bias",
            "relative_buckets": "bias",
            "shared": "bias",
            "relative_grid": "bias",
        }.get(kind, "add")
    }
    closed = kind in ("none", "relative_table", "relative_sines")  # what is shared opens no door
    assert closed == (not opened)


@pytest.mark.parametrize("kind,spec", [e for e in examples("position") if e.values[0].startswith("rope")])
def test_rotation_keeps_lengths_and_depends_on_distance_alone(kind, spec):
    position = made("position", kind, spec)
    q = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (8,)), (1, 13, 1, 8))
    k = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (8,)), (1, 13, 1, 8))
    turned_q, turned_k = position.apply({}, q, k, Context(grid=(3, 4)), method="rotate")
    assert_close(jnp.linalg.norm(turned_q, axis=-1), jnp.linalg.norm(q, axis=-1))
    scores = np.asarray(jnp.einsum("btnh,bsnh->ts", turned_q, turned_k))
    if kind == "rope":
        for distance in range(-12, 13):
            assert np.ptp(np.diagonal(scores, distance)) < 1e-5
    else:  # patches (row, column) from token 1 on; the class token does not turn
        table = scores[1:, 1:].reshape(3, 4, 3, 4)
        assert abs(table[0, 0, 1, 2] - table[1, 1, 2, 3]) < 1e-5 and abs(table[0, 0, 1, 2] - table[0, 0, 2, 1]) > 1e-4
        assert_close(turned_q[:, 0], q[:, 0], rtol=0)


def test_alibi_slopes():
    from xfm.parts.position.alibi import slopes

    assert_close(slopes(8), 2.0 ** -np.arange(1, 9))
    assert_close(slopes(3), np.array([2.0**-4, 2.0**-8, 2.0**-2]))


# --- norm, activation, ffn


@pytest.mark.parametrize("kind,spec", examples("norm"))
def test_norms(kind, spec):
    norm, x = made("norm", kind, spec), 3 * stream() + 1
    params = spread(norm.init(jax.random.key(1), x))
    y = run(norm, params, x)
    a, p, eps = np.asarray(x, np.float64), params["params"], spec.get("eps", 1e-6)
    centred = a - a.mean(-1, keepdims=True) if kind == "layernorm" else a
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * p["scale"] + p.get("bias", 0.0)
    assert_close(y, expected)
    assert run(norm, params, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert_all_trained(params, lambda p: jnp.square(run(norm, p, x)).sum())


FORMULAS = {
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "identity": lambda x: x,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu_squared": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def test_activations():
    from xfm.parts.activation import ACTIVATIONS, activation

    x = np.linspace(-5, 5, 101)
    assert set(FORMULAS) == set(ACTIVATIONS)
    for name, formula in FORMULAS.items():
        assert_close(activation(name)(jnp.asarray(x, jnp.float32)), formula(x), of=name)
        slope = jax.vmap(jax.grad(activation(name)))(jnp.asarray(x + 0.01, jnp.float32))
        assert_close(slope, (formula(x + 0.01 + 1e-5) - formula(x + 0.01 - 1e-5)) / 2e-5, of=f"slope of {name}")
    with pytest.raises(SpecError, match="no activation 'gelo' .did you mean 'gelu'"):
        activation("gelo")


@pytest.mark.parametrize("kind,spec", examples("ffn"))
def test_ffns(kind, spec):
    ffn, x = made("ffn", kind, spec), stream()
    params = spread(ffn.init(jax.random.key(1), x, Context()))
    y, state = run(ffn, params, x, Context())
    p, a = jax.tree.map(np.asarray, params["params"]), np.asarray(x)

    def linear(name, h):
        kernel, bias = p[name]["kernel"], p[name].get("bias", 0.0)
        if kernel.ndim == 2:
            return h @ kernel + bias
        groups = zip(np.split(h, len(kernel), axis=-1), kernel, strict=True)
        return np.concatenate([part @ own for part, own in groups], axis=-1) + bias

    act = FORMULAS[spec.get("activation", "gelu")]
    hidden = act(linear("gate", a)) * linear("up", a) if kind == "glu" else act(linear("up", a))
    assert state is None
    assert_close(y, linear("down", hidden))
    assert_all_trained(params, lambda p: jnp.square(run(ffn, p, x, Context())[0]).sum())
    moved, _ = run(ffn, params, x.at[:, 6].add(1.0), Context())
    assert_close(moved[:, 7:], y[:, 7:], rtol=0)


# --- residual


@pytest.mark.parametrize("kind,spec", examples("residual"))
def test_residuals(kind, spec):
    if kind == "convolved":
        pytest.skip("joins by another formula, which test_disentangled.py checks")
    residual, x, y = made("residual", kind, spec), stream(0), stream(1)
    params = jax.jit(residual.init)(jax.random.key(1), x, y, Context())
    out = residual.apply(params, x, y, Context())
    assert_close(out, spec.get("skip", 1.0) * x + spec.get("gate", 1.0) * y)
    if "drop" in spec:
        ctx = Context(train=True, depth=1.0)
        rows, units = [], []
        for i in range(200):
            added = residual.apply(params, 0 * x, jnp.ones_like(y), ctx, rngs={"dropout": jax.random.key(i)})
            rows.append(np.asarray(jnp.abs(added).max((1, 2)) > 0))
            units.append(np.asarray(added))
        assert abs(np.mean(rows) - 0.5) < 0.13  # 400 draws, five deviations
        assert abs(np.mean(units) - 1.0) < 0.2  # what is kept grows, so the mean stays


# --- pool and head


@pytest.mark.parametrize("kind,spec", examples("pool"))
def test_pools_ignore_padding(kind, spec):
    pool, x = made("pool", kind, spec), stream()
    before = jax.random.normal(jax.random.key(2), (B, D))
    tokens = jnp.array([[5, 3, 9, 9, 1, 2, 9, 1, 4, 11, 11, 11, 11], [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 9, 3, 4]])
    ctx = Context(segments=padded(), shared={"heads": {"pooled": before}, "tokens": tokens})
    params = spread(pool.init(jax.random.key(1), x, ctx))
    y = run(pool, params, x, ctx)
    assert y.shape == (B, D)
    assert_close(run(pool, params, x.at[0, 9:].set(jnp.nan), ctx), y, rtol=0)
    alone = {"heads": {"pooled": before[:1]}, "tokens": tokens[:1, :9]}
    assert_close(run(pool, params, x[:1, :9], Context(shared=alone)), y[:1])
    if params:
        assert_all_trained(params, lambda p: jnp.square(run(pool, p, x, ctx)).sum())
    chosen = {
        "cls": x[:, 0],
        "last": jnp.stack([x[0, 8], x[1, 12]]),
        "mean": jnp.stack([x[0, :9].mean(0), x[1].mean(0)]),
        "of_head": before,
        "at_token": jnp.stack([x[0, 2], x[1, 10]]),
    }
    if kind in chosen:
        assert_close(y, chosen[kind])


@pytest.mark.parametrize("kind,spec", examples("head"))
def test_heads(kind, spec):
    if kind == "span_beam":
        pytest.skip("answers with a mapping, which test_relative.py checks")
    head, x = made("head", kind, spec), stream()
    ctx = Context(segments=padded(), shared={"embedding": jax.random.normal(jax.random.key(4), (11, D))})
    params = spread(head.init(jax.random.key(1), x, ctx))
    y = run(head, params, x, ctx)
    per_token = {"mlm": spec.get("vocab"), "tagging": spec.get("classes"), "span": 2, "detection": 1}
    per_token["enhanced_mlm"] = 11
    if kind == "detection":
        y = y[..., None]
    assert y.shape == ((B, T, per_token[kind]) if kind in per_token else (B, spec.get("classes", D)))
    real = (padded() > 0).reshape(B, T, *[1] * (run(head, params, x, ctx).ndim - 2))
    if kind in per_token:
        assert_all_trained(params, lambda p: jnp.square(jnp.where(real, run(head, p, x, ctx), 0)).sum())
    if kind in ("mlm", "tagging", "enhanced_mlm"):
        at = jnp.array([[3, 0], [12, 5]])
        expected = jnp.take_along_axis(y, at[..., None], axis=1)
        assert_close(run(head, params, x, ctx.replace(at=at)), expected)
    if kind == "span":
        assert (np.asarray(y[0, 9:]) == -np.inf).all() and np.isfinite(y[0, :9]).all()


def test_a_tied_head_says_what_does_not_fit():
    head, x = build(SLOTS["head"], dict(kind="mlm", vocab=12)), stream()
    with pytest.raises(SpecError, match="set table='own'"):
        head.init(jax.random.key(0), x, Context())
    with pytest.raises(SpecError, match="vocab=12, the table it is tied to 11 rows"):
        head.init(jax.random.key(0), x, Context(shared={"embedding": jnp.ones((11, D))}))
    with pytest.raises(SpecError, match="needs an activation"):
        head.init(jax.random.key(0), x, Context(shared={"embedding": jnp.ones((12, 8))}))


def test_attention_says_what_does_not_fit():
    with pytest.raises(SpecError, match="width of 16 does not divide among 3 heads"):
        build(SLOTS["mixer"], dict(kind="attention", heads=3)).init(jax.random.key(0), stream(), Context())
    with pytest.raises(SpecError, match="4 heads do not divide among 3 kv_heads"):
        build(SLOTS["mixer"], dict(kind="attention", heads=4, kv_heads=3)).init(jax.random.key(0), stream(), Context())
