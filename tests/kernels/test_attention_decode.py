"""Few queries over many keys: pieces merged in any order are the whole, and one step is a row of the whole."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, run
from tests.kernels.attention_cases import BIASES, MASKS, SOFTMAXES, Case, expected, put, values_and_gradients, with_lse
from xfm.context import Context, Mask
from xfm.kernels.attention import IMPLEMENTATIONS, Implementation, Slopes, attention
from xfm.kernels.attention.decode import merge
from xfm.kernels.platform import compiling_for
from xfm.parts import SLOTS
from xfm.spec import build

decode = importlib.import_module("xfm.kernels.attention.decode")


@pytest.fixture
def splits(monkeypatch):
    """Rows of a few keys count as long; the list of calls that were split."""
    calls, split = [], decode.split
    monkeypatch.setattr(decode, "FEW", 16)
    monkeypatch.setattr(decode, "LONG", 16)
    monkeypatch.setattr(decode, "PIECE", 8)
    monkeypatch.setattr(decode, "split", lambda *given, **named: calls.append(1) or split(*given, **named))
    return calls


CUTS = (0, 3, 5, 9, 9, 14, 20)


@jax.jit
def parts(q, k, v, hidden):
    """Values and log-sum-exps of six sets of keys, one of them empty and one hidden from some queries, and of all."""
    found, one = [], np.ones((2, 3), np.int32)
    for start, end in zip(CUTS, CUTS[1:], strict=False):
        if start == end:
            found.append((jnp.zeros(q.shape), jnp.full(q.shape[:3], -jnp.inf)))
            continue
        segments = (one, hidden[:, start:end])
        found.append(with_lse(q, k[:, start:end], v[:, start:end], segments=segments))
    return found, with_lse(q, k, v, segments=(one, hidden))


@jax.jit
def joined(*sets):
    return merge(*(jnp.stack(a) for a in zip(*sets, strict=True)))


def test_merging_is_associative_and_its_order_does_not_matter():
    hidden = np.ones((2, 20), np.int32)
    hidden[1, 5:9] = 0
    found, whole = parts(*Case(B=2, T=3, S=20).arrays(), hidden)
    assert np.isneginf(found[2][1][1]).all(), "a set that shows a row of queries nothing"
    a, b, c, d, e, f = found
    assert_close(joined(*found), whole)
    assert_close(joined(f, c, a, e, d, b), whole)
    assert_close(joined(joined(a, b), joined(c, joined(d, e)), f), whole)
    assert_close(joined(a, joined(b, joined(c, joined(d, joined(e, f))))), whole)
    assert_close(joined(joined(joined(joined(joined(a, b), c), d), e), f), whole)


def test_merging_nothing_gives_nothing():
    empty = np.zeros((3, 2, 4), np.float32), np.full((3, 2), -np.inf, np.float32)

    @jax.jit
    def run(ys, lses):
        (y, lse), back = jax.vjp(merge, ys, lses)
        return y, lse, *back((jnp.ones_like(y), jnp.zeros_like(lse)))

    y, lse, *gradients = map(np.asarray, run(*empty))
    assert not y.any() and np.isneginf(lse).all()
    assert not any(g.any() for g in gradients)


FEW = {
    "plain": Case(T=3, S=37),
    "one query": Case(T=1, S=40, segments="none"),
    "equal pieces": Case(T=2, S=32),
    "grouped": Case(T=2, S=37, N=4, K=2, softmax=SOFTMAXES["temperature, cap and sink"]),
    "causal": Case(T=3, S=37, mask=lambda B, T, S, N: Mask.causal() & Mask(offset=jnp.int32(21))),
    "causal, at the end": Case(T=3, S=37, mask=lambda B, T, S, N: Mask.causal() & Mask(offset=34)),
    "prefix": Case(
        T=3,
        S=37,
        mask=lambda B, T, S, N: Mask.causal(put(np.arange(S)[None] > np.full((B, 1), 30))) & Mask(offset=9),
    ),
    "wide window": Case(T=3, S=37, mask=lambda B, T, S, N: Mask.window(20, 1) & Mask(offset=12)),
    "everyone": Case(T=3, S=37, mask=MASKS["everyone"]),
    "pattern": Case(T=9, S=37, mask=MASKS["pattern by head"]),
    "slopes": Case(T=3, S=37, bias=BIASES["slopes"]),
    "relative": Case(T=3, S=37, bias=BIASES["relative"]),
    "dropout": Case(T=3, S=37, drop=0.3),
}


@pytest.mark.parametrize(
    "target,name", [("cpu", n) for n in FEW] + [("gpu", n) for n in ("plain", "causal", "pattern")]
)
def test_split_equals_the_definition(splits, name, target):
    """Piece after piece on a CPU, and side by side as accelerators take them: values and all gradients."""
    case = FEW[name]
    with compiling_for(target):
        actual = values_and_gradients(case, "xla")
    assert splits, "met the split"
    assert_close(actual, expected(case))


@pytest.mark.parametrize(
    "case",
    [
        Case(T=3, S=37, softmax=SOFTMAXES["clip"]),
        Case(T=3, S=37, softmax="sigmoid"),
        Case(T=3, S=37, mask=MASKS["window"]),
    ],
    ids=["clip", "sigmoid", "window"],
)
def test_what_does_not_merge_or_needs_few_keys_is_not_split(splits, case):
    assert_close(values_and_gradients(case, "xla"), expected(case))
    assert not splits


def test_one_step_is_a_row_of_the_whole(splits):
    """Through the mixer of a causal config and its cache, token by token."""
    mixer = build(SLOTS["mixer"], dict(kind="attention", heads=4, kv_heads=2, position=dict(kind="alibi")))
    B, T, D = 2, 24, 16
    x = np.random.default_rng(0).standard_normal((B, T, D), np.float32)
    ctx = Context(mask=Mask.causal())
    params = drawn(mixer, x, ctx)
    whole, _ = run(mixer, params, x, ctx)
    splits.clear()
    step = jax.jit(lambda x, state: mixer.apply(params, x, ctx, state))
    state, rows = mixer.init_state(B, T, D), []
    for t in range(T):
        y, state = step(x[:, t : t + 1], state)
        rows.append(np.asarray(y))
    assert splits, "met the split"
    assert_close(np.concatenate(rows, axis=1), whole)


@pytest.mark.parametrize("T,S,chosen", [(1, 128, "xla"), (8, 4096, "xla"), (9, 4096, "tpu"), (1, 127, "tpu")])
def test_a_tpu_leaves_few_queries_over_many_keys_to_xla(splits, monkeypatch, T, S, chosen):
    """Whole, for XLA reads them once as they lie; the kernel is there for who names it."""
    calls = []

    def run(q, k, v, **given):
        calls.append(q.shape)
        return q, jnp.zeros(q.shape[:3])

    monkeypatch.setattr(decode, "FEW", 8)
    monkeypatch.setitem(IMPLEMENTATIONS, "tpu", Implementation(run, lambda *arrays, **given: None, ("tpu",)))
    q, k, v = Case(B=1, T=T, S=S, N=2, K=1, H=8, segments="none").arrays()
    mask = Mask.causal() & Mask(offset=S - T)
    with compiling_for("tpu"):
        y = jax.jit(functools.partial(attention, mask=mask))(q, k, v)
        assert len(calls) == (chosen == "tpu") and not splits
        jax.eval_shape(functools.partial(attention, implementation="tpu"), q, k, v)
    assert len(calls) == 1 + (chosen == "tpu")
    if chosen == "xla":
        assert_close(y, jax.jit(functools.partial(attention, mask=mask, implementation="naive"))(q, k, v))


def test_long_caches_are_split_as_they_come():
    """The thresholds as they stand: one query, and a window that shows it few of the keys."""
    q, k, v = Case(B=1, T=1, S=5003, N=1, K=1, H=8).arrays()
    for mask in (Mask.causal() & Mask(offset=4000), Mask.causal() & Mask.window(9, 0) & Mask(offset=4000)):
        given = dict(mask=mask, bias=Slopes(np.full(1, 1 / 99, np.float32)))
        assert_close(
            *(jax.jit(functools.partial(attention, **given, implementation=i))(q, k, v) for i in (None, "naive"))
        )
