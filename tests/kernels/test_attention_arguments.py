"""What attention's descriptions mean, number by number; linear memory; what is said of arguments that do not fit."""

import dataclasses
import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.kernels.attention_cases import (
    CASES,
    Case,
    blocks,
    drawn,
    expected,
    marks,
    of_texts,
    put,
    relative,
    values_and_gradients,
    with_lse,
)
from tests.kernels.sequence_cases import float64
from xfm.kernels.attention import (
    IMPLEMENTATIONS,
    Buckets,
    Dense,
    Dropout,
    GridDecay,
    GridTable,
    Implementation,
    Mask,
    Pattern,
    Sigmoid,
    Slopes,
    Softmax,
    attention,
)
from xfm.kernels.platform import compiling_for, cores, interpreted, interpreting, matrix_unit, platform


def ones(*shape, dtype=np.float32):
    """By NumPy, for which nothing is compiled."""
    return put(np.ones(shape, dtype))


def test_dropout_keeps_its_share_and_differs_between_heads():
    dropout = Dropout.of(0.25, jax.random.key(5))
    keep = [np.asarray(dropout.keep(b, n, jnp.arange(200), jnp.arange(200))) for b, n in ((0, 0), (0, 1), (1, 0))]
    for one in keep:  # 40,000 draws: five deviations are 0.011
        assert abs(one.mean() - 0.75) < 0.011
        assert abs(one.mean(0) - 0.75).max() < 0.16 and abs(one.mean(1) - 0.75).max() < 0.16
    for one, other in ((0, 1), (0, 2), (1, 2)):  # independent heads agree on 0.75² + 0.25² of the positions
        assert abs((keep[one] == keep[other]).mean() - 0.625) < 0.013


# --- masks


def test_masks_combine():
    both = Mask.causal() & Mask.window(4, 2) & Mask.window(9, 1)
    assert (both.order, both.before, both.after) == ("causal", 4, 1) and both.reach == (4, 0)
    row = Mask.window(1, 0).visible(jnp.arange(4), jnp.arange(4))
    assert row.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    seen = jnp.array([True, True, False, False])
    prefix = Mask.causal(seen[None]).visible(jnp.arange(4), jnp.arange(4), seen)
    assert prefix.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_patterns_and_everyone_combine():
    one = jnp.ones((1, 6), bool)
    window = Mask.window(1, 1, everyone=one)
    for both in (window & Mask.causal(), Mask.causal() & window, window & Mask.full() & window):
        assert both.everyone is one and both.before == 1 and both.reach[0] is None
    a, b = blocks(6, 6, 2, 2), blocks(6, 6, 1, 2)
    both = Mask(pattern=a) & Mask(pattern=b) & Mask.causal()
    assert (both.pattern.shown == (a.shown & b.shown)).all() and both.order == "causal"
    with pytest.raises(ValueError, match="have the same `everyone`, or neither"):
        window & Mask.window(3, 3)
    with pytest.raises(ValueError, match="give it to the mask that has one"):
        Mask(everyone=one) & Mask.window(3, 3)
    with pytest.raises(ValueError, match="patterns of blocks of 2 and of 3 tokens do not combine"):
        Mask(pattern=a) & Mask(pattern=blocks(6, 6, 1, 3))
    with pytest.raises(ValueError, match="at most one of them has an offset"):
        Mask(offset=2) & Mask(offset=3)
    assert (Mask(offset=2) & window).offset == 2


def test_a_mask_keeps_what_it_promises_of_its_everyone():
    one = jnp.ones((1, 6), bool)
    few = Mask(before=1, after=1, everyone=one, most=4, lifts="keys")
    for both in (few & Mask.causal(), Mask.causal() & few, few & few):
        assert (both.most, both.lifts) == (4, "keys") and both.everyone is one
    with pytest.raises(ValueError, match="have the same `most` and `lifts`"):
        few & Mask(everyone=one)
    pattern = of_texts(1, 6, 6)
    with pytest.raises(ValueError, match="have the same `at`, or neither"):
        Mask(pattern=pattern) & Mask(pattern=of_texts(1, 6, 6))


@pytest.mark.parametrize("implementation", ["naive", "xla"])
def test_a_row_with_more_tokens_than_promised_is_nan(implementation):
    everyone = put(np.arange(12)[None] < np.array([[2], [3]]))
    mask = Mask(before=1, after=1, everyone=everyone, most=2)
    run = jax.jit(functools.partial(with_lse, mask=mask, implementation=implementation))
    y, lse = map(np.asarray, run(*Case(T=12).arrays()))
    assert np.isfinite(y[0]).all() and np.isnan(y[1]).all() and np.isnan(lse[1]).all()


def test_what_a_query_sees_is_what_the_mask_says():
    """The rule read off the weights: with values that are one-hot, a query's output shows which keys it gathers."""
    T, size = 9, 4
    shown = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 1]]], bool)
    everyone, pattern = marks(1, T), Pattern(size, put(shown))
    mask = Mask("causal", 6, None, put(np.arange(T)[None] < 2), None, everyone, pattern)
    q = np.zeros((1, T, 1, T), np.float32)
    run = jax.jit(functools.partial(attention, mask=mask))
    seen = np.asarray(run(q, q, np.eye(T, dtype=np.float32)[None, :, None]))[0, :, 0] > 0
    everyone = np.asarray(everyone)
    for t in range(T):
        for s in range(T):
            near = s >= t - 6 and bool(shown[0, t // size, s // size])
            lifted = bool(everyone[0, t] | everyone[0, s])
            assert seen[t, s] == ((s <= t or s < 2) and (near or lifted)), (t, s)


# --- biases


def test_biases_equal_their_formulas():
    h, w, N = 3, 4, 2
    T = h * w
    table = drawn(2 * h - 1, 2 * w - 1, N, seed=0)
    buckets = Buckets(drawn(12, N), reach=9)
    terms = relative(1, T, T, N)
    n = 1
    biases = dict(table=GridTable(table, (h, w)), decay=GridDecay(jnp.array([1.0, 0.3]), (h, w)))
    own = drawn(3, N, seed=3)
    biases |= dict(buckets=buckets, terms=terms, own=GridTable(drawn(3, 3, N, seed=1), (2, 2), T - 4, own))

    @jax.jit
    def blocks_and_buckets(biases):
        index = jnp.arange(T)
        blocks = {name: bias.block(0, n, index, index) for name, bias in biases.items()}
        return blocks, biases["buckets"].bucket(jnp.arange(1 - T, T))

    of, bucket = jax.tree.map(np.asarray, blocks_and_buckets(biases))
    table, of_buckets, terms, own, small = jax.tree.map(
        np.asarray, (table, buckets.table, terms, own, biases["own"].table)
    )
    for t in range(T):
        for s in range(T):
            dy, dx = t // w - s // w, t % w - s % w
            assert of["table"][t, s] == table[dy + h - 1, dx + w - 1, n]
            i, j = t - (T - 4), s - (T - 4)  # among the patches, below 0 for one of the 8 tokens before them
            met = (
                own[0 if j >= 0 else 2, n]
                if i < 0
                else own[1, n]
                if j < 0
                else small[i // 2 - j // 2 + 1, i % 2 - j % 2 + 1, n]
            )
            assert of["own"][t, s] == met
            assert math.isclose(of["decay"][t, s], -0.3 * (abs(dy) + abs(dx)), rel_tol=1e-6)
            assert of["buckets"][t, s] == of_buckets[bucket[s - t + T - 1], n]
            row = terms.rows[t - s + T - 1]
            met = terms.q[0, t, n] @ terms.of_key[row, n] + terms.k[0, s, n] @ terms.of_query[row, n]
            assert math.isclose(of["terms"][t, s], met, rel_tol=1e-5, abs_tol=1e-6)


def test_all_planes_of_a_table_are_its_blocks():
    """Values to the bit, and gradients."""
    own = drawn(3, 2, seed=3)
    biases = [GridTable(drawn(5, 7, 2, seed=0), (3, 4)), GridTable(drawn(3, 5, 2, seed=1), (2, 3), 2, own)]

    def by_blocks(bias):
        tokens = jnp.arange(bias.tokens)
        return jax.vmap(lambda n: bias.block(0, n, tokens, tokens))(jnp.arange(2))

    @jax.jit
    def both(biases):
        found = []
        for bias in biases:
            (of_blocks, back), (planes, back_too) = jax.vjp(by_blocks, bias), jax.vjp(GridTable.planes, bias)
            found.append(((of_blocks, planes), (back(of_blocks), back_too(of_blocks))))
        return found

    for values, gradients in both(biases):
        assert (values[0] == values[1]).all()
        assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("T", [200, 300])
def test_segments_may_be_numpy_arrays(T):
    """Also above the length from which a CPU computes rows in a loop."""
    q, segments = np.ones((2, T, 2, 4), np.float32), np.ones((2, T), np.int32)
    mask = Mask.causal(segments > 0)
    jax.eval_shape(lambda q: attention(q, q, q, segments=segments, mask=mask), q)


def test_a_bias_of_numpy_arrays_is_read_outside_jit():
    q, k, v = Case(T=6).arrays()
    table = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)

    def of_rows(a):
        return GridTable(np.broadcast_to(a[:3, None], (3, 5, 2)), (2, 3))

    for described in (Buckets, lambda a: Slopes(a[0]), lambda a: GridDecay(a[0], (2, 3)), of_rows):
        y = [attention(q, k, v, bias=described(a), implementation="xla") for a in (table, jnp.asarray(table))]
        assert_close(*y, rtol=0)


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("bias: ")])
def test_times_multiplies_each_head(name):
    case = CASES[name]
    bias, factors = case.extra()[0], np.array([0.5, -1.0], np.float32)

    @jax.jit
    def run(bias, factor, n):
        index = jnp.arange(case.T)
        return bias.times(factor).block(1, n, index, index), bias.block(1, n, index, index)

    for n, factor in enumerate(factors):
        multiplied, alone = run(bias, factors, n)
        assert_close(multiplied, factor * np.asarray(alone), rtol=1e-6)


# --- softmax


def test_softmax_kinds_equal_their_formulas():
    """One query over four keys, in numpy."""
    q, k, v = map(np.asarray, Case(B=1, T=4, N=1, K=1, segments="none").arrays())
    q = q[:, :1]
    score = np.asarray(q[0, 0, 0] @ k[0, :, 0].T, np.float64) / 4
    z = 2 * np.tanh(score / 0.7 / 2)
    e, plain = np.exp(score), np.exp(score) / np.exp(score).sum()
    formulas = (
        ("softmax", plain),
        ("off_by_one", e / (1 + e.sum())),
        (Softmax(0.7, 2.0, 0.5), np.exp(z) / (np.exp(0.5) + np.exp(z).sum())),
        (Softmax(clip=(-0.2, 1.1)), np.clip(1.3 * plain - 0.2, 0, 1)),
        ("sigmoid", 1 / (1 + np.exp(-score))),
        (Sigmoid(0.7, 2.0, -1.0), 1 / (1 + np.exp(1 - z))),
    )

    @jax.jit
    def run(q, k, v):
        return [attention(q, k, v, softmax=softmax) for softmax, _ in formulas], with_lse(
            q, k, v, softmax=Softmax(0.7, 2.0, 0.5)
        )[1]

    ys, lse = run(q, k, v)
    for y, (_, formula) in zip(ys, formulas, strict=True):
        weights = np.linalg.lstsq(np.asarray(v[0, :, 0], np.float64).T, np.asarray(y[0, 0, 0]), rcond=None)[0]
        assert_close(weights, formula, rtol=1e-5)
    assert (np.clip(1.3 * plain - 0.2, 0, 1) == 0).any(), "the clip is met"
    assert math.isclose(lse[0, 0, 0], math.log(math.exp(0.5) + np.exp(z).sum()), rel_tol=1e-6)


def test_float64_is_computed_as_such_on_a_cpu():
    with float64():
        case = Case(T=21, H=8, softmax=lambda N: Softmax(cap=2.0, sink=drawn(N)), bias=relative)
        actual, wide = (values_and_gradients(case, name, jnp.float64) for name in ("xla", "naive"))
        assert actual[0][0].dtype == jnp.float64
        assert_close(actual, wide, rtol=1e-13)


# --- memory


def spaced(T):
    return put(np.arange(T)[None] % 999 == 0)


LINEAR = {
    "plain": lambda T: dict(),
    "causal": lambda T: dict(mask=Mask.causal()),
    "slopes": lambda T: dict(bias=Slopes(ones(2))),
    "window": lambda T: dict(mask=Mask.window(64, 64)),
    "everyone": lambda T: dict(mask=Mask.window(64, 64, everyone=spaced(T))),
    "everyone, few": lambda T: dict(mask=Mask(before=64, after=64, everyone=spaced(T), most=16)),
    "pattern": lambda T: dict(mask=Mask(pattern=Pattern(T // 16, put(np.eye(16, dtype=bool)[None])))),
    "buckets": lambda T: dict(bias=Buckets(ones(32, 2))),
    "grid table": lambda T: dict(bias=GridTable(ones(127, T // 32 - 1, 2), (64, T // 64))),
    "grid decay": lambda T: dict(bias=GridDecay(ones(2), (64, T // 64))),
    "sink and cap": lambda T: dict(softmax=Softmax(cap=3.0, sink=ones(2))),
    "clip": lambda T: dict(softmax=Softmax(clip=(-0.1, 1.1))),
    "sigmoid": lambda T: dict(softmax=Sigmoid(shift=ones(2))),
}


@pytest.mark.parametrize("name", LINEAR)
def test_memory_grows_linearly_with_length(name):
    """Temporary memory of forward and backward at four times the length: four times as much, not sixteen."""

    def temporary(T):
        shape = jax.ShapeDtypeStruct((1, T, 2, 32), jnp.float32)
        segments = jax.ShapeDtypeStruct((1, T), jnp.int32)
        given = dict(mask=Mask.full()) | LINEAR[name](T)

        def loss(q, k, v, bias, softmax, mask, segments):
            y = attention(q, k, v, segments=segments, bias=bias, softmax=softmax, mask=mask)
            return jnp.square(y).sum()

        numbers = given.get("bias"), given.get("softmax", Softmax()), given["mask"]
        run = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))
        return run.lower(shape, shape, shape, *numbers, segments).compile().memory_analysis().temp_size_in_bytes

    assert temporary(16_384) < 4.2 * temporary(4_096)


# --- what does not fit


RELATIVE = relative(2, 37, 37, 4)


class JustBlock:
    def block(self, b, n, query, key):
        return jnp.zeros((len(query), len(key)))


def told(said, wrong=None, error=ValueError, **arguments):
    return pytest.param(wrong or {}, arguments, error, said, id=said[:40])


@pytest.mark.parametrize(
    "wrong,arguments,error,said",
    [
        told("multiple of the key heads, not 4 and 3", dict(K=3)),
        told(r"queries have shape \(2, 9\); \(2, 37\) is needed", segments=ones(2, 9, dtype=np.int32)),
        told(r"keys have shape \(2, 9\)", segments=(ones(2, 37, dtype=np.int32), ones(2, 9, dtype=np.int32))),
        told("integers, 0 being padding, not float32", segments=ones(2, 37)),
        told("bias is of 3 heads, the queries of 4", bias=Slopes(ones(3))),
        told("bias is of 3 heads, the queries of 4", bias=Buckets(ones(8, 3))),
        told("a reach beyond the exact half", bias=Buckets(ones(8, 4), reach=2)),
        told("does not fit scores", bias=Dense(ones(1, 1, 5, 5))),
        told("fits 36 queries and keys, not 37 and 37", bias=GridTable(ones(11, 11, 4), (6, 6))),
        told("fits 38 queries and keys, not 37", bias=GridTable(ones(11, 11, 4), (6, 6), 2, ones(3, 4))),
        told(
            "1 first tokens of a grid have numbers of their own, .3, 4., not None",
            bias=GridTable(ones(11, 11, 4), (6, 6), 1),
        ),
        told(r"grid of 1 x 37 has shape \(1, 73, 4\), not \(1, 9, 4\)", bias=GridTable(ones(1, 9, 4), (1, 37))),
        told("grid of 6 x 6 fits 36 queries and keys, not 37", bias=GridDecay(ones(4), (6, 6))),
        told("bias is of 2 heads", bias=GridDecay(ones(2), (6, 6))),
        told("q of a relative bias has shape", bias=relative(2, 5, 5, 4)),
        told(
            "of 9 distances; 37 queries and 37 keys have 73",
            bias=dataclasses.replace(RELATIVE, rows=put(np.arange(9))),
        ),
        told("rows of .4, 8. are needed", bias=dataclasses.replace(RELATIVE, of_key=ones(11, 4, 5))),
        told("read by index among the queries given", bias=Dense(ones(1, 1, 37, 37)), mask=Mask(offset=0)),
        told("a bias with a `block`", bias=ones(37, 37)),
        told("reaches 0 or more tokens", mask=Mask.window(-1, 0)),
        told("'full' or 'causal', not 'past'", mask=Mask("past")),
        told("index of a key, 0 or more, not -3", mask=Mask(offset=-3)),
        told(r"mask.prefix has shape \(2, 9\); keys need", mask=Mask.causal(ones(2, 9, dtype=bool))),
        told("mask.most=3 promises how many tokens mask.everyone marks; give it", mask=Mask(before=1, most=3)),
        told("in mask.everyone, 1 or more, not 0", mask=Mask(before=1, everyone=ones(2, 37, dtype=bool), most=0)),
        told("temperature needs a bias with `times`", bias=JustBlock(), softmax=Softmax(temperature=2.0)),
        told("'both', 'keys' or 'queries', not 'all'", mask=Mask(lifts="all")),
        told(r"mask.pattern.at has shape \(2, 9\)", mask=Mask(pattern=of_texts(2, 9, 9))),
        told(r"mask.everyone has shape \(37,\); keys need", mask=Mask.window(1, 1, everyone=ones(37, dtype=bool))),
        told(
            r"has shape \(1, 4, 4\); \(1 or 4, 5, 5\) is needed",
            mask=Mask(pattern=Pattern(8, ones(1, 4, 4, dtype=bool))),
        ),
        told("1 token or more, not 0", mask=Mask(pattern=Pattern(0, ones(1, 4, 4, dtype=bool)))),
        told("no implementation 'triton'; it has naive, xla", implementation="triton"),
        told("no softmax 'sparsemax'; it has softmax, off_by_one, sigmoid", softmax="sparsemax"),
        told("a Softmax or a Sigmoid, not 3.0", softmax=3.0),
        told(r"sink is one number or one per head \[4\], not \(3,\)", softmax=Softmax(sink=ones(3))),
        told(r"shift is one number or one per head \[4\], not \(3,\)", softmax=Sigmoid(shift=ones(3))),
        told("temperature is above 0, not 0", softmax=Softmax(temperature=0.0)),
        told("cap is above 0, or None, not -1", softmax=Softmax(cap=-1.0)),
        told("gamma <= 0 and zeta >= 1", softmax=Softmax(clip=(0.1, 1.0))),
        told("which a sink ends: give one of the two", softmax=Softmax(clip=(-0.1, 1.0), sink=0.0)),
        told(r"rate is in \[0, 1\), not 1.0", dropout=Dropout(1.0, jnp.uint32(3))),
    ],
)
def test_bad_arguments(wrong, arguments, error, said):
    with pytest.raises(error, match=said):
        attention(*Case(**dict(N=4, K=4) | wrong).arrays(), **arguments)


def test_bad_arrays():
    q, k, v = Case(T=5).arrays()
    for arrays, said in (
        ((q[0], k, v), r"q of shape \[batch, length, heads, width\], not \(5, 2, 16\)"),
        ((q, k, v[:, :3]), "k and v of one shape"),
        ((q, k[..., :8], v[..., :8]), "one batch and width"),
        ((q, k[:, :0], v[:, :0]), "not empty"),
        ((q, k, v.astype(jnp.bfloat16)), "one floating dtype, not float32, float32, bfloat16"),
        ((q.astype(int), k.astype(int), v.astype(int)), "one floating dtype, not int32, int32, int32"),
    ):
        with pytest.raises(ValueError, match=said):
            attention(*arrays)
    assert with_lse(q, k, v, softmax="sigmoid")[1] is None
    with pytest.raises(TypeError, match="sink"):
        Sigmoid(sink=0.0)


def test_float64_is_refused_on_an_accelerator():
    with float64():
        q = ones(1, 4, 1, 8, dtype=np.float64)
        for target in ("tpu", "gpu"):
            with (
                compiling_for(target),
                pytest.raises(ValueError, match="float32 or less on an accelerator; q, k and v are"),
            ):
                attention(q, q, q)


def test_a_named_implementation_is_taken_or_refused_by_name(monkeypatch):
    """Never another in its place; without a name the first of the platform's that refuses nothing."""
    calls = []

    def run(q, k, v, **given):
        calls.append(given)
        return q, jnp.zeros(q.shape[:3])

    def refuses(q, k, v, *, segments, mask, bias, softmax, dropout):
        return "a dense bias" if isinstance(bias, Dense) else None

    monkeypatch.setitem(IMPLEMENTATIONS, "tpu", Implementation(run, refuses, ("tpu",)))
    q, k, v = Case(T=5).arrays()
    dense = Dense(ones(1, 1, 5, 5))
    with pytest.raises(NotImplementedError, match="'tpu' runs on tpu, not on cpu; 'xla' runs everywhere"):
        attention(q, k, v, implementation="tpu")
    with compiling_for("tpu"):
        with pytest.raises(NotImplementedError, match="'tpu' cannot honour a dense bias; 'xla' honours every argument"):
            attention(q, k, v, implementation="tpu", bias=dense)
        assert not calls
        jax.eval_shape(functools.partial(attention, bias=dense), q, k, v)
        assert not calls, "xla took it"
        attention(q, k, v, softmax=Softmax(temperature=2.0, sink=0.0), bias=Slopes(ones(2)))
    (given,) = calls
    assert given["softmax"] == Softmax() and given["scale"] == 0.125 and given["segments"] is None
    assert_close(given["bias"].slopes, np.full(2, 0.5), rtol=0)


def test_a_platform_is_of_the_context():
    assert platform() == "cpu" and not interpreted()
    with interpreting("tpu"):
        assert platform() == "tpu" and interpreted()
    with compiling_for("gpu"):
        assert platform() == "gpu" and not interpreted()
    assert platform() == "cpu" and not interpreted()


@pytest.mark.parametrize(
    "kind,name,size,number",
    [
        ("TPU v5 lite", "v5e", 128, 1),
        ("TPU v5", "v5p", 128, 2),
        ("TPU v6 lite", "v6e", 256, 1),
        ("TPU7x", "tpu7x", 256, 1),
        ("cpu", "", 128, 1),
    ],
)
def test_the_matrix_unit_and_the_cores_are_of_the_chip(monkeypatch, kind, name, size, number):
    """Of the one that is there, or the one that is compiled for; the smaller where it is not known."""
    for chip in (name, kind if name else ""):
        with compiling_for("tpu", chip=chip):
            assert (matrix_unit(), cores()) == (size, number)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu" if kind == "cpu" else "tpu")
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(device_kind=kind, num_cores=number)])
    assert (matrix_unit(), cores()) == (size, number)


def test_the_definition_counts_what_it_hides():
    """A query that sees nothing gives zeros and -inf; with a sink, the sink."""
    (y, lse, nothing), _ = expected(CASES["mask: full"])
    padding = np.asarray(CASES["mask: full"].arguments()["segments"]) == 0
    assert (np.asarray(nothing).astype(bool) == padding[..., None]).all() and not np.asarray(y)[padding].any()
    lse = expected(CASES["softmax: off by one"])[0][1]
    assert not np.asarray(lse)[:, 17:].any(), "the sink of 0 alone"
