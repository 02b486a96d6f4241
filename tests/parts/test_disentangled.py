"""DeBERTa's parts against literal loops: distances, three-term attention, the convolution, the mask decoder."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, run, shapes
from xfm.context import Context
from xfm.kernels.conv import grouped
from xfm.parts import SLOTS
from xfm.parts.position.relative_table import row as rows
from xfm.spec import SpecError, build

TABLE = dict(kind="relative_table", span=6, width=16)
SEGMENTS = jnp.array([[1, 1, 0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 0], [1] * 13])
SPECS = {
    "own": dict(heads=2, position=TABLE),
    "query meets distance": dict(heads=4, terms=("c2p",), position=TABLE),
    "key meets distance": dict(heads=2, width=4, terms=("p2c",), position=dict(TABLE, reach=9)),
    "shared": dict(heads=2, keys="shared", position=dict(TABLE, reach=12, norm=dict(kind="layernorm"))),
    "fused": dict(heads=2, maps="fused", position=TABLE),
    "content alone": dict(heads=2, maps="fused", terms=()),
}


def stream(T=13, D=16, seed=0):
    return jax.random.normal(jax.random.key(seed), (2, T, D))


def row(distance, span, reach):
    """The authors' rule, one distance at a time: the sign put back on a logarithm rounded up."""
    half = span // 2
    if reach is not None and abs(distance) > half:
        steps = math.log(abs(distance) / half) / math.log((reach - 1) / half) * (half - 1)
        distance = int(math.copysign(half + math.ceil(round(steps, 6)), distance))
    return min(max(span + distance, 0), 2 * span - 1)


@pytest.mark.parametrize("span,reach", [(256, 512), (256, 1024), (8, 9), (6, 40), (512, None), (5, None)])
def test_rows_of_distances(span, reach):
    distances = np.arange(-1500, 1501)
    assert rows(distances, span, reach).tolist() == [row(int(d), span, reach) for d in distances]


def layernorm(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def loops(spec, params, x, segments, memory=None, queries=None):
    """He et al. 2021, equations 2 to 4, a head, a query and a key at a time.  queries: those wanted, all if None."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    x = np.asarray(x, np.float64)
    memory = x if memory is None else np.asarray(memory, np.float64)
    (B, T), N, terms = x.shape[:2], spec["heads"], spec.get("terms", ("c2p", "p2c"))

    def linear(name, a):
        module = p
        for step in name.split("/"):
            module = module[step]
        return np.einsum("...d,dnh->...nh", a, module["kernel"]) + module.get("bias", 0.0)

    if spec.get("maps") == "fused":
        H = p["qkv"]["kernel"].shape[-1] // 3
        q = linear("qkv", x)[..., :H] + p["q_bias"]
        k, v = linear("qkv", memory)[..., H : 2 * H], linear("qkv", memory)[..., 2 * H :] + p["v_bias"]
    else:
        q, k, v = linear("q", x), linear("k", memory), linear("v", memory)
    H, out = q.shape[-1], np.zeros((B, T, N, q.shape[-1]))
    if terms:
        table = p["position"]["table"]
        span = len(table) // 2
        table = layernorm(table, p["position"]["norm"]) if "norm" in p["position"] else table
        shared = spec.get("keys") == "shared"
        k_names, q_names = ("k", "q") if shared else ("distance/k", "distance/q")
        of_key = linear(k_names, table) if "c2p" in terms else None
        of_query = linear(q_names, table) if "p2c" in terms else None
    for b in range(B):
        for n in range(N):
            for t in range(T) if queries is None else queries:
                seen = [s for s in range(T) if segments[b, s] == segments[b, t] > 0]
                scores = []
                for s in seen:
                    score = q[b, t, n] @ k[b, s, n]
                    at = row(t - s, span, spec["position"].get("reach")) if terms else None
                    score += q[b, t, n] @ of_key[at, n] if "c2p" in terms else 0
                    score += k[b, s, n] @ of_query[at, n] if "p2c" in terms else 0
                    scores.append(score / math.sqrt(H * (1 + len(terms))))
                if seen:
                    weights = np.exp(np.array(scores) - max(scores))
                    out[b, t, n] = (weights / weights.sum()) @ v[b, seen, n]
    return np.einsum("btnh,nhd->btd", out, p["o"]["kernel"]) + p["o"]["bias"]


@pytest.mark.parametrize("name", SPECS)
def test_disentangled_equals_loops(name):
    spec = SPECS[name]
    mixer, x = build(SLOTS["mixer"], dict(spec, kind="disentangled")), stream()
    params = drawn(mixer, x, Context(), by=0.3)
    y, _ = run(mixer, params, x, Context.of({"segments": SEGMENTS}))
    real = np.asarray(SEGMENTS > 0)
    assert_close(y[real], loops(spec, params, x, np.asarray(SEGMENTS))[real])


def test_long_rows_are_walked_in_chunks():
    """Two chunks of queries of unequal length, a head at a time, as the attention walks long rows on a CPU."""
    spec, T = dict(heads=1, position=dict(kind="relative_table", span=16, width=4, reach=600)), 523
    mixer, x = build(SLOTS["mixer"], dict(spec, kind="disentangled")), stream(T, 4)[:1]
    params = drawn(mixer, x, Context(), by=0.3)
    y, _ = run(mixer, params, x, Context())
    some = [0, 1, 200, *range(255, 270), 400, T - 1]  # chunks meet in the middle
    assert_close(y[:, some], loops(spec, params, x, np.ones((1, T)), queries=some)[:, some], rtol=1e-4)


def test_memory_gives_the_keys_and_values():
    spec = dict(SPECS["fused"], memory="text")
    mixer, x, memory = build(SLOTS["mixer"], dict(spec, kind="disentangled")), stream(), stream(seed=5)
    ctx = Context.of({"segments": SEGMENTS}).remember("text", memory)
    params = drawn(mixer, x, ctx, by=0.3)
    y, _ = run(mixer, params, x, ctx)
    real = np.asarray(SEGMENTS > 0)
    assert_close(y[real], loops(spec, params, x, np.asarray(SEGMENTS), memory)[real])


def test_disentangled_says_what_does_not_fit():
    def start(**spec):
        part = build(SLOTS["mixer"], dict(dict(kind="disentangled", heads=2, position=TABLE), **spec))
        shapes(part, stream(), Context())

    with pytest.raises(SpecError, match="terms are of c2p, p2c, each once, and not .'p2p',."):
        start(terms=("p2p",))
    with pytest.raises(SpecError, match="a width of 16 does not divide among 3 heads"):
        start(heads=3)
    with pytest.raises(SpecError, match="reads the maps of q and k, which maps='fused' does not have"):
        start(maps="fused", keys="shared")
    with pytest.raises(SpecError, match="the table of distances has width 8, and the stream 16"):
        start(position=dict(TABLE, width=8))
    with pytest.raises(SpecError, match="a span of 6 does not fit a reach of 4 in buckets"):
        start(position=dict(TABLE, reach=4))
    with pytest.raises(SpecError, match="needs a position that shares its table"):
        start(position=dict(kind="shared"))


# --- the convolution


@pytest.mark.parametrize("width,groups", [(3, 1), (5, 4)])
def test_convolution_equals_loops(width, groups):
    x, D, inside = stream(), 16, 16 // groups
    kernel = jax.random.normal(jax.random.key(3), (width, inside, D))
    bias = jax.random.normal(jax.random.key(4), (D,))
    expected = np.broadcast_to(np.asarray(bias), x.shape).astype(np.float64)
    for b, t, o in np.ndindex(*x.shape):
        first = o // (D // groups) * inside
        for w in range(width):
            s = t + w - width // 2
            if 0 <= s < 13 and SEGMENTS[b, s] == SEGMENTS[b, t] > 0:
                expected[b, t, o] += np.asarray(x)[b, s, first : first + inside] @ np.asarray(kernel)[w, :, o]
    filled = jnp.where((SEGMENTS > 0)[..., None], x, jnp.nan)
    assert_close(grouped(filled, kernel, bias=bias, segments=SEGMENTS), expected)


@pytest.mark.parametrize("groups,activation,formula", [(1, "tanh", np.tanh), (2, "relu", lambda a: np.maximum(a, 0))])
def test_convolved_residual_is_two_norms(groups, activation, formula):
    spec = dict(kind="convolved", width=3, groups=groups, activation=activation)
    residual, x, y, e = build(SLOTS["residual"], spec), stream(), stream(seed=1), stream(seed=2)
    ctx = Context(shared={"embedded": e})
    params = drawn(residual, x, y, ctx)
    p = jax.tree.map(np.asarray, params["params"])
    conv = formula(np.asarray(grouped(e, p["conv"]["kernel"], bias=p["conv"]["bias"])))
    expected = layernorm(layernorm(np.asarray(x + y), p["norm"]) + conv, p["conv_norm"])
    assert_close(run(residual, params, x, y, ctx), expected)
    with pytest.raises(SpecError, match="reads the embedding of a stack, and stands in none"):
        shapes(residual, x, y, Context())
    with pytest.raises(SpecError, match="an odd width and groups that divide 16, not 4 and 1"):
        shapes(build(SLOTS["residual"], dict(kind="convolved", width=4)), x, y, ctx)


# --- the enhanced mask decoder


@pytest.mark.parametrize("steps", [2, 1])
def test_enhanced_mask_decoder_equals_its_description(steps):
    """Queries of content and positions pass one layer twice, whose keys and values are of the content both times."""
    mixer = dict(SPECS["own"], kind="disentangled", memory="memory")
    spec = dict(
        kind="enhanced_mlm", mixer=mixer, ffn=dict(kind="mlp", hidden=24, activation="relu"), length=20, steps=steps,
        head=dict(kind="mlm", vocab=11, bias=True),
    )  # fmt: skip
    head, x = build(SLOTS["head"], spec), stream()
    words = jax.random.normal(jax.random.key(4), (11, 16))
    ctx = Context.of({"segments": SEGMENTS}).replace(embedding=words)
    params = drawn(head, x, ctx)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    query = np.asarray(x) + p["position"]["table"][np.asarray(ctx.positions)]
    for _ in range(steps):
        y = loops(mixer, {"params": params["params"]["mixer"]}, query, np.asarray(SEGMENTS), x)
        query = layernorm(query + y, p["mixer_norm"])
        hidden = np.maximum(query @ p["ffn"]["up"]["kernel"] + p["ffn"]["up"]["bias"], 0)
        query = layernorm(query + hidden @ p["ffn"]["down"]["kernel"] + p["ffn"]["down"]["bias"], p["ffn_norm"])
    expected = query @ np.asarray(words).T + p["words"]["bias"]
    real = np.asarray(SEGMENTS > 0)
    assert_close(run(head, params, x, ctx)[real], expected[real])
