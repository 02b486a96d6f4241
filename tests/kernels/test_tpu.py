"""The TPU kernels where rows are several blocks, which blocks they meet, and what the interpreter watches for.

Rows of one block stand in the shared suite (test_attention.py), where all implementations do.
"""

import dataclasses
import functools
import itertools
import unittest.mock
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh as Chips
from jax.sharding import NamedSharding, PartitionSpec

from tests.close import assert_close
from tests.kernels import rolls
from tests.kernels.attention_cases import (
    Case,
    blocks,
    drawn,
    expected,
    marks,
    packed,
    prefixes,
    put,
    relative,
    values_and_gradients,
    with_lse,
)
from xfm.kernels.attention import (
    Buckets,
    Dense,
    Dropout,
    GridTable,
    Mask,
    Relative,
    Sigmoid,
    Slopes,
    Softmax,
    attention,
)
from xfm.kernels.attention.tpu import backward, coding, entry
from xfm.kernels.attention.tpu import plan as planning
from xfm.kernels.platform import interpreting, spread_over


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks as short as registers allow, so that rows of a few hundred tokens are several."""
    monkeypatch.setattr(planning, "LONGEST", 128)


def clip(N):
    """Half of the weights of a text of a hundred tokens come to 0."""
    return Softmax(clip=(-0.005, 1.1))


CASES = {
    "plain": Case(B=1, T=300, N=2, K=2, H=64, segments="none"),
    "packed": Case(T=300, N=2, K=2, H=64),
    "keys a whole number of blocks": Case(B=1, T=140, S=256, N=2, K=2, H=64, segments="none"),
    "packed, heads of 32": Case(T=200, N=4, K=4, H=32),
    "packed, heads of 128": Case(T=150, N=2, K=1, H=128, mask=lambda B, T, S, N: Mask.causal()),
    "packed, with slopes": Case(B=1, T=260, N=2, K=2, H=64, bias=lambda B, T, S, N: Slopes(jnp.array([0.5, 0.1]))),
    "packed, sigmoid": Case(B=1, T=200, N=2, K=2, H=64, softmax=lambda N: Sigmoid(shift=jnp.array([-1.0, 0.5]))),
    "packed, cap": Case(B=1, T=200, N=2, K=2, H=64, softmax=lambda N: Softmax(cap=1.5)),
    "packed, causal": Case(B=1, T=300, N=2, K=2, mask=lambda B, T, S, N: Mask.causal()),
    "window": Case(B=1, T=300, N=2, K=2, segments="none", mask=lambda B, T, S, N: Mask.window(20, 30)),
    "prefix": Case(T=300, N=2, K=2, segments="none", mask=lambda B, T, S, N: Mask.causal(prefixes(B, S, 40, 120))),
    "everyone": Case(
        B=1, T=300, N=2, K=2, mask=lambda B, T, S, N: Mask.window(9, 9, put(marks(B, S) & (np.arange(S) > 250)))
    ),
    "pattern of each head of 128": Case(
        B=1, T=150, N=2, K=1, H=128, segments="none", mask=lambda B, T, S, N: Mask(pattern=blocks(T, S, N, 48))
    ),
    "pattern of each head of 128, one block": Case(
        B=1, T=20, N=2, K=2, H=128, segments="none", mask=lambda B, T, S, N: Mask(pattern=blocks(T, S, N, 8))
    ),
    "long planes and sigmoid": Case(
        B=1,
        T=150,
        N=2,
        K=2,
        softmax=lambda N: Sigmoid(shift=jnp.array([-1.0, 0.5])),
        bias=lambda B, T, S, N: Dense(drawn(1, N, T, S)),
    ),
    # NaN where padding meets padding or a text: what is hidden may hold anything
    "planes with nan in padding": Case(
        B=1,
        T=150,
        N=2,
        K=2,
        H=64,
        bias=lambda B, T, S, N: Dense(
            jnp.asarray(
                np.where((np.asarray(packed(1, T)) == 0)[:, None, None, :], np.float32(np.nan), drawn(1, N, T, S))
            )
        ),
    ),
    "pattern": Case(B=1, T=300, N=2, K=2, segments="none", mask=lambda B, T, S, N: Mask(pattern=blocks(T, S, N, 48))),
    "grouped": Case(B=1, T=150, N=4, K=2, H=128, softmax="off_by_one"),
    "cross": Case(B=1, T=7, S=300, N=2, K=2),
    "heads of 80": Case(B=1, T=150, N=3, K=3, H=80, segments="none"),
    "slopes": Case(B=1, T=200, N=2, K=2, bias=lambda B, T, S, N: Slopes(jnp.array([0.5, 0.1]))),
    "buckets": Case(B=1, T=260, N=2, K=2, segments="none", bias=lambda B, T, S, N: Buckets(drawn(8, N), 16, 2)),
    "dropout and cap": Case(B=1, T=200, N=2, K=2, drop=0.3, softmax=lambda N: Softmax(cap=1.5)),
    "sigmoid": Case(B=1, T=200, N=2, K=2, softmax=lambda N: Sigmoid(shift=jnp.array([-1.0, 0.5]))),
    "clip": Case(T=300, N=2, K=2, H=64, softmax=clip),
    "clip, cap and dropout": Case(
        B=1, T=200, N=2, K=2, drop=0.3, segments="none", softmax=lambda N: Softmax(cap=1.5, clip=(-0.003, 1.1))
    ),
    "relative": Case(T=300, N=2, K=2, H=64, bias=functools.partial(relative, H=64)),
    "relative of keys, cross": Case(B=1, T=140, S=300, H=32, bias=functools.partial(relative, terms=("key",))),
    "relative of queries, clip": Case(
        B=1, T=300, S=140, N=2, K=2, H=64, bias=functools.partial(relative, H=64, terms=("query",)), softmax=clip
    ),
    "relative, grouped, causal, dropout": Case(
        B=1, T=150, K=2, H=128, mask=lambda B, T, S, N: Mask.causal(), bias=relative, drop=0.3
    ),
    # its gradient adds up over the rows and over both columns of heads
    "one plane for all": Case(T=20, H=64, segments="none", bias=lambda B, T, S, N: Dense(drawn(1, 1, T, S))),
    "long planes": Case(T=300, H=64, bias=lambda B, T, S, N: Dense(drawn(1, N, T, S))),
    "one long plane": Case(T=150, S=300, H=64, segments="none", bias=lambda B, T, S, N: Dense(drawn(1, 1, T, S))),
    "long planes of every row": Case(
        T=300, N=2, K=2, mask=lambda B, T, S, N: Mask.window(20, 30), bias=lambda B, T, S, N: Dense(drawn(B, 1, T, S))
    ),
    "large grid": Case(T=168, N=2, K=2, bias=lambda B, T, S, N: GridTable(drawn(23, 27, N), (12, 14))),
    "large grid and a class": Case(
        T=169, N=2, K=2, bias=lambda B, T, S, N: GridTable(drawn(23, 27, N), (12, 14), 1, drawn(3, N))
    ),
    "windows": Case(B=4, T=35, N=3, K=3, H=32, bias=lambda B, T, S, N: GridTable(drawn(9, 13, N), (5, 7))),
    "short rows, cross, clip, dropout": Case(B=2, T=20, S=30, N=4, K=4, H=32, drop=0.3, softmax=clip),
    "short rows, heads over two columns": Case(B=2, T=20, N=3, K=3, H=80, segments="none"),
}


EVERYDAY = (
    *("packed", "window", "grouped", "slopes", "cross", "clip", "large grid", "relative"),
    *("packed, heads of 128 on v6e", "packed, sigmoid", "packed, cap on v6e", "windows on v6e"),
    *("pattern of each head of 128, one block", "long planes and sigmoid", "planes with nan in padding"),
)
# by chip: from v6e on the matrix unit takes more of the scores' arithmetic
MET = [(name, "") for name in CASES] + [(name, "v6e") for name, case in CASES.items() if case.H in (32, 64, 80, 128)]


@pytest.mark.parametrize(
    "name,chip",
    [
        pytest.param(name, chip, id=id, marks=() if id in EVERYDAY else pytest.mark.slow)
        for name, chip in MET
        for id in [f"{name} on {chip}" if chip else name]
    ],
)
def test_several_blocks(name, chip):
    with interpreting("tpu", chip=chip):
        actual = values_and_gradients(CASES[name], "tpu")
    assert_close(actual, expected(CASES[name]), rtol=1e-5)


def test_a_relative_bias_lies_as_its_own_blocks_are_cut(monkeypatch):
    """They are shorter than those of others, of which the row is one."""
    monkeypatch.setattr(planning, "LONGEST", 256)
    monkeypatch.setattr(planning, "LONGEST_RELATIVE", 128)
    case = Case(B=1, T=200, N=1, K=1, segments="none", bias=relative)
    with interpreting("tpu"):
        actual = values_and_gradients(case, "tpu")
    assert_close(actual, expected(case), rtol=1e-5)


def windows(B, T, S, N):
    return GridTable(drawn(3, 5, N), (2, 3))


# by what the two cores of a chip share; each step computes one row
SHARED = {
    "rows that do not halve, three columns of a head": Case(B=5, T=6, N=3, K=3, H=128, bias=windows),
    "two rows": Case(B=2, T=6, bias=windows),
    "one row": Case(B=1, T=6, bias=windows),
    "rows that do not halve, dropout": Case(B=3, T=6, bias=windows, drop=0.3),
    "rows, one plane for all": Case(B=3, T=6, bias=lambda B, T, S, N: Dense(drawn(1, 1, T, S))),
    "columns": Case(B=3, T=6, H=128, bias=windows),
    "nothing, one plane for two columns": Case(B=3, T=6, H=128, bias=lambda B, T, S, N: Dense(drawn(1, 1, T, S))),
    "rows with planes of their own": Case(B=3, T=6, segments="none", bias=lambda B, T, S, N: Dense(drawn(B, 1, T, S))),
}
OFTEN = ("rows that do not halve, three columns of a head", "rows with planes of their own")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in SHARED]
)
def test_two_cores_sum_gradients_of_planes(monkeypatch, name):
    monkeypatch.setattr(planning, "WORK_TINY", 1)
    monkeypatch.setattr(planning, "WORK", 1)
    with interpreting("tpu", chip="v5p"):
        actual = values_and_gradients(SHARED[name], "tpu")
    assert_close(actual, expected(SHARED[name]), rtol=1e-5)


@pytest.mark.parametrize(
    "B,N,H,rows,heads,parts",
    [
        (4096, 4, 32, 1, 4, 2),  # one column
        (4096, 12, 32, 1, 12, 2),  # three columns, of which one core would compute two
        (4096, 8, 32, 1, 8, 1),  # two columns
        (4096, 4, 32, 4096, 4, 1),  # planes of each row
        (4096, 4, 32, 1, 1, 2),  # one plane
        (4096, 8, 32, 1, 1, 1),  # the same over two columns
        (1, 4, 32, 1, 4, 1),  # one row
    ],
)
def test_rows_are_in_parts_where_cores_share_nothing_else(B, N, H, rows, heads, parts):
    cut = planning.plan((B, 49, N, H), (B, 49, N, H), Mask.full(), "plane")
    assert backward._parts(cut, 2, rows, heads) == parts
    assert backward._parts(cut, 1, rows, heads) == 1


FOLDED = {
    "heads of 64": Case(B=1, T=150, N=2, K=2, H=64),
    "heads of 32, scores in the hundreds": Case(
        B=1, T=150, N=4, K=4, H=32, softmax=lambda N: Softmax(temperature=0.02)
    ),
    "heads of 128": Case(B=1, T=150, N=2, K=2, H=128),
    "slopes": Case(B=1, T=200, N=2, K=2, H=64, segments="none", bias=lambda B, T, S, N: Slopes(jnp.array([0.5, 0.1]))),
}


@pytest.mark.parametrize("chip", ["v5e", "v6e"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "heads of 64" else pytest.mark.slow) for name in FOLDED]
)
def test_bfloat16_in_several_blocks(name, chip):
    """The scale, cut in two parts of bfloat16, and the reference in three lose nothing: no worse than the definition
    with rounded weights, whose tolerance test_attention.py derives."""
    case = FOLDED[name]
    with interpreting("tpu", chip=chip):
        actual = values_and_gradients(case, "tpu", jnp.bfloat16)
    assert_close(actual, expected(case, jnp.bfloat16), rtol=4 * 2**-9)
    assert_close(actual[0][1], expected(case, jnp.bfloat16)[0][1], rtol=1e-5)  # the log-sum-exp never was bfloat16


@functools.cache
def of_segments(H):
    """A jitted function of segments of any dtype: values and log-sum-exp."""
    arrays = Case(B=1, T=140, H=H).arrays()
    return jax.jit(lambda segments: with_lse(*arrays, segments=segments, implementation="tpu"))


@pytest.mark.parametrize("H", [16, 64])
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32])
def test_negative_segments_are_padding(H, dtype):
    """As for the definition, with and without codes."""
    segments = np.asarray(packed(1, 140))
    marked = np.where(segments == 0, -1, segments).astype(dtype)
    with interpreting("tpu"):
        y, lse = of_segments(H)(marked)
        assert_close(y, of_segments(H)(segments)[0], rtol=0)
    assert (np.isneginf(lse) == (segments == 0)[..., None]).all()


@pytest.mark.parametrize("H,N,lanes", [(8, 16, False), (16, 8, True), (64, 2, True), (64, 3, False), (128, 1, True)])
def test_heads_leave_lanes_in_whole_registers(H, N, lanes):
    """The rows of the reference must not reach into those of narrow heads."""
    cut = planning.plan((1, 400, N, H), (1, 400, N, H), Mask.full())
    assert coding.fold_fits(cut, 1.0, 256) == lanes and not coding.fold_fits(cut, 1.0, 128)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_codes_distinguish_segments(dtype):
    """Equal ones add an exact zero, any others what no score makes up for."""
    ids = jnp.array([1, 2, 3, 2**16, 2**16 + 1, 2**30, 2**31 - 1, 0], jnp.int32)[None]
    keys, queries = (np.asarray(coding.codes(ids, side, dtype)[0, :, :64], np.float64) for side in ("keys", "queries"))
    products = queries @ keys.T
    real = np.asarray(ids[0]) > 0
    assert (np.diag(products)[real] == 0).all()
    apart = ~np.eye(len(real), dtype=bool) & real[:, None]
    assert (products[apart] <= coding.FAR).all()
    assert np.isfinite(np.float32(products)).all() and np.float32(-1e30) >= coding.FAR * coding.SCALES[0]


@pytest.mark.parametrize("chip", ["v5e", pytest.param("v6e", marks=pytest.mark.slow)])
def test_padding_of_long_rows_may_hold_nan(chip):
    case = Case(T=150, N=2, K=2, H=64)
    segments = case.arguments()["segments"]
    real = (np.asarray(segments) > 0)[:, :, None, None]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(arrays):
        y = attention(*arrays, segments=segments, implementation="tpu")
        return jnp.where(real, y, 0).sum(), y

    with interpreting("tpu", chip=chip):
        clean, dirty = (run([np.where(real, a, np.float32(f)) for a in case.arrays()]) for f in (0, np.nan))
    assert_close(dirty, clean, rtol=0)
    assert not np.where(real, 0, dirty[0][1]).any(), "padding gives zeros"


@functools.cache
def of_arrays(implementation, chip=""):
    """A jitted function of q, k and v, for the chip that it is traced for."""
    return jax.jit(functools.partial(attention, implementation=implementation))


@pytest.mark.parametrize("chip,H,dtype", [("", 16, jnp.float32), ("v6e", 64, jnp.bfloat16)])
@pytest.mark.parametrize("size", [1e-3, 40.0, 3e3])
def test_scores_of_any_size(size, chip, H, dtype):
    """Far above and below what the reference of a block was: the second pass over it must come to the same.

    Scores are rounded where they are largest, which is in proportion to size and to the root of the width, and on v6e
    together with the reference, which is as large. At 3e3 the greatest weight of a query is 1 and all others are 0,
    within a block and between blocks.
    """
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(1, 300, 2, H)).astype(np.float32) for _ in range(3))
    q *= np.float32(size)
    k[:, 128:] += 0.5
    k[:, :128] -= 0.5 * np.sign(q[:, :128])  # early scores low, later ones high
    q, k, v = (a.astype(dtype) for a in (q, k, v))
    with interpreting("tpu", chip=chip):
        y = of_arrays("tpu", chip)(q, k, v)
    rtol = 1e-5 * max(1.0, size / 40 * (H / 16) ** 0.5) * (2 if chip else 1)
    rtol += 0 if dtype == jnp.float32 else 4 * 2**-9  # of weights and values, as above
    assert y.dtype == dtype
    q, k, v, y = (a.astype(np.float32) for a in (q, k, v, np.asarray(y)))
    assert_close(y, of_arrays("naive")(q, k, v), rtol=rtol)


@pytest.mark.slow
def test_long_rows_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr(entry, "QUERIES", 40)  # 160 of two heads of 16
    monkeypatch.setattr(entry, "run", unittest.mock.Mock(side_effect=entry.run))
    grids = ("large grid", "large grid and a class")
    for name in ("packed, causal", "pattern", "long planes of every row", *grids, "relative"):
        test_several_blocks(name, "")
    assert entry.run.call_count == 6 + 4 * 2 + 3 + 8, "two parts, three of the pattern's blocks, eight of wide heads"


WATCHED = ["packed", "one plane for all"]
WATCHED += [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("window", "clip", "long planes", "one long plane", "relative", *list(SHARED)[:2])
]


@pytest.mark.parametrize("name", WATCHED)
def test_no_races_and_no_reads_of_what_was_not_written(monkeypatch, name):
    """Two cores, memory filled with NaN, reads out of bounds refused."""
    interpret = pytest.importorskip("jax._src.pallas.mosaic.interpret.interpret_pallas_call")
    from jax.experimental.pallas import tpu as pltpu

    watched = pltpu.InterpretParams(
        detect_races=True, out_of_bounds_reads="raise", uninitialized_memory="nan", num_cores_or_threads=2
    )
    if name in SHARED:
        monkeypatch.setattr(planning, "WORK_TINY", 1)
    case = (CASES | SHARED)[name]
    with interpreting("tpu", watched, chip="v5p" if name in SHARED else ""):
        actual = jax.block_until_ready(values_and_gradients(case, "tpu"))
    assert interpret.races is not None and not interpret.races.races_found
    assert_close(actual, expected(case), rtol=1e-5)


SEEN = {
    "full": lambda B, S: Mask.full(),
    "causal": lambda B, S: Mask.causal(),
    "window": lambda B, S: Mask.window(20, 130),
    "after": lambda B, S: Mask(after=0),
    "prefix": lambda B, S: Mask.causal(prefixes(B, S, 40, 120)),
    "offset": lambda B, S: Mask.causal() & Mask.window(150, 0) & Mask(offset=jnp.int32(37)),
    "everyone": lambda B, S: Mask.window(9, 9, put(np.arange(S)[None] == 290 + np.arange(B)[:, None])),
    "pattern": lambda B, S: Mask(pattern=blocks(S, S, 2, 48)),
}


@pytest.mark.parametrize("name,packed", list(itertools.product(SEEN, (False, True))))
def test_blocks_meet_where_something_is_seen(name, packed):
    """Against every pair of tokens: none that is seen is passed over, and where all is said to be seen, all is."""
    B, T = 2, 300
    mask = SEEN[name](B, T)
    segments = None
    if packed:
        rows = np.repeat([[3, 3, 1, 1, 1, 0]], B, axis=0).repeat(T // 6, axis=1)
        rows[1, 100:] = 7
        segments = (put(rows, np.int32),) * 2
    cut = planning.plan((B, T, 2, 64), (B, T, 2, 64), mask)
    visible = _pairs(mask, segments, B, T)
    for by in ("queries", "keys"):
        met, codes = _visits(cut, mask, segments, by)
        if met is None:
            assert visible.all()
            continue
        codes = np.asarray(codes).reshape(-1, met.outer, met.steps)
        for b in range(B):
            states = np.zeros((met.outer, -(-T // cut.k_block)), int)
            for outer, step in np.ndindex(met.outer, met.steps):
                code = codes[0 if met.shared else b, outer, step]
                states[outer, code >> 2] = max(states[outer, code >> 2], code & 3)
            states = states if by == "queries" else states.T
            for i, j in np.ndindex(states.shape):
                block = visible[b, i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128]
                assert states[i, j] > 0 or not block.any(), (by, b, i, j)
                assert states[i, j] < planning.ALL or (block.all() and block.shape[1] == cut.k_block), (by, b, i, j)


def _visits(cut, mask, segments, by):
    """Whose codes are computed by one program."""
    found = []

    @jax.jit
    def codes(mask, segments):
        found.append(planning.visits(cut, mask, segments, by))
        return None if found[0] is None else found[0].codes

    if segments is None and not jax.tree.leaves(mask):  # known while tracing, by NumPy
        met = planning.visits(cut, mask, segments, by)
        return met, None if met is None else met.codes
    met = codes(mask, segments)
    return found[0], met


def _pairs(mask, segments, B, T):
    """[B T T]: who sees whom, by any head, from the mask's own rule."""
    position = np.arange(T)

    @jax.jit
    def seen(mask):
        rows = []
        for b in range(B):
            everyone = None if mask.everyone is None else (mask.everyone[b], mask.everyone[b])
            shown = None
            if mask.pattern is not None:
                shown = [mask.pattern.block(jnp.int32(n), position, position, position) for n in range(2)]
                shown = functools.reduce(jnp.logical_or, shown)
            prefix = None if mask.prefix is None else mask.prefix[b]
            row = mask.visible(position + mask.start, position, prefix, everyone, shown)
            rows.append(jnp.ones((T, T), bool) if row is None else row)
        return jnp.stack(rows)

    if segments is None:
        return np.asarray(seen(mask))
    own = np.asarray(segments[0])
    return np.asarray(seen(mask)) & (own[:, :, None] == own[:, None, :]) & (own[:, :, None] > 0)


def test_a_window_visits_few_blocks():
    """At 8,192 tokens and 64 on either side: the work grows with the window, not with the row."""
    shape = (1, 8192, 2, 64)
    mask = Mask.window(64, 64)
    met = planning.visits(planning.plan(shape, shape, mask), mask, None, "queries")
    assert met.steps <= 3 and (np.asarray(met.codes) & 3).astype(bool).sum() <= 3 * met.outer


def test_two_keys_of_dropout_differ():
    q, k, v = Case(T=20).arrays()
    run = jax.jit(lambda dropout: attention(q, k, v, dropout=dropout, implementation="tpu"))
    with interpreting("tpu"):
        ys = [np.asarray(run(Dropout.of(0.5, jax.random.key(i)))) for i in (0, 1, 0)]
    assert (ys[0] != ys[1]).any()
    assert_close(ys[0], ys[2], rtol=0)


@pytest.mark.parametrize("length", [8192, 16_384])
def test_a_relative_bias_is_refused_where_its_tables_do_not_fit(length):
    """Half of what is too much compiles (test_tpu_compile.py)."""
    q, table = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((1, length, 2, 64), (9, 2, 64)))
    rows = jax.ShapeDtypeStruct((2 * length - 1,), jnp.int32)

    def attend(q, table, rows):
        return attention(q, q, q, bias=Relative(q, q, table, table, rows), implementation="tpu")

    refused = pytest.raises(NotImplementedError, match="take 48 MiB, above 24") if length > 8192 else nullcontext()
    with interpreting("tpu"), refused:
        jax.eval_shape(attend, q, table, rows)


SPREAD = {
    "packed, dropout": Case(B=4, T=40, N=4, K=4, drop=0.3),
    # a column of both heads, cut in two: neither has lanes beside it
    "a head for each": Case(B=4, T=140, N=2, K=2, H=64),
    "a table": Case(B=4, T=35, N=4, K=4, bias=lambda B, T, S, N: GridTable(drawn(9, 13, N), (5, 7))),
    "a table and a class": Case(
        B=4, T=36, N=4, K=4, bias=lambda B, T, S, N: GridTable(drawn(9, 13, N), (5, 7), 1, drawn(3, N))
    ),
    "slopes": Case(B=4, T=20, N=4, K=4, bias=lambda B, T, S, N: Slopes(jnp.arange(1.0, 5) / 9)),
    "relative": Case(B=4, T=150, N=4, K=4, bias=relative),
    "a long table": Case(B=4, T=168, N=4, K=4, bias=lambda B, T, S, N: GridTable(drawn(23, 27, N), (12, 14))),
    "one plane for all": Case(B=4, T=20, N=4, K=4, bias=lambda B, T, S, N: Dense(drawn(1, 1, T, S))),
    "a plane for each row": Case(B=4, T=20, N=4, K=4, bias=lambda B, T, S, N: Dense(drawn(B, 1, T, S))),
    "sigmoid": Case(B=4, T=20, N=4, K=4, softmax=lambda N: Sigmoid(shift=jnp.arange(4.0))),
    "clip": Case(B=4, T=20, N=4, K=4, softmax=lambda N: Softmax(clip=(-0.03, 1.1))),
    "grouped": Case(B=4, T=20, N=4, K=2, H=128, mask=lambda B, T, S, N: Mask.causal(prefixes(B, S, 40, 120))),
    "grouped more than there are chips": Case(B=4, T=20, N=4, K=1, H=128),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if i < 2 else pytest.mark.slow) for i, n in enumerate(SPREAD)]
)
def test_on_several_chips(name):
    """Rows over four chips and heads over two: the same values and gradients, and each chip computes its part only."""
    case = SPREAD[name]
    mesh = Chips(np.array(jax.devices()[:8]).reshape(4, 2), ("data", "model"))
    place = functools.partial(jax.device_put, device=NamedSharding(mesh, PartitionSpec("data", None, "model")))
    spread = dataclasses.replace(case)
    object.__setattr__(spread, "arrays", lambda *given: tuple(map(place, case.arrays(*given))))
    if case.K == 1:
        object.__setattr__(spread, "arrays", lambda *given: _queries_only(place, case.arrays(*given)))
    with interpreting("tpu", devices=8), spread_over(mesh):
        actual = values_and_gradients(spread, "tpu")
    assert actual[0][0].sharding.spec[0] == "data"
    assert_close(actual, expected(case), rtol=1e-5)


def test_several_chips_without_a_mesh_are_refused():
    q, k, v = Case(T=20).arrays()
    with interpreting("tpu", devices=8):
        with pytest.raises(NotImplementedError, match="several chips, outside of xfm.kernels.platform.spread_over"):
            attention(q, k, v, implementation="tpu")
        assert_close(of_arrays(None)(q, k, v), of_arrays("xla")(q, k, v), rtol=0)


def _queries_only(place, arrays):
    q, k, v = arrays
    return place(q), k, v


def test_a_roll_by_a_stride_is_rolls_of_rows():
    """What the interpreter computes in these tests in place of a program for each row."""
    x = np.arange(24.0 * 16, dtype=np.float32).reshape(24, 16)
    for shift, stride in ((0, 1), (3, 5)):
        by_row = [np.roll(row, shift + stride * i) for i, row in enumerate(x)]
        by_column = [np.roll(column, shift + stride * i) for i, column in enumerate(x.T)]
        for axis, other, rows in ((1, 0, np.stack(by_row)), (0, 1, np.stack(by_column, axis=1))):
            assert (rolls.rolled(x, shift, axis=axis, stride=stride, stride_axis=other) == rows).all()
    assert (rolls.rolled(x, 4, axis=0, stride=None, stride_axis=None) == np.roll(x, 4, 0)).all()
