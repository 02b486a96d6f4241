"""What each sight lets a query attend to, read off its weights, and that no other score is formed where it says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import shapes
from tests.parts.examples import examples
from tests.parts.visible import counts
from xfm.context import Context
from xfm.kernels.attention import Mask, Slopes
from xfm.parts import SLOTS
from xfm.parts.sight.base import Attend, Projected
from xfm.plan.flops import flops, inner, live
from xfm.spec import SpecError, build

ROWS = {
    "packed": [[1] * 5 + [2] * 6 + [0] * 2, [1] * 13],
    "interrupted": [[1, 1, 1, 0, 1, 1, 2, 2, 1, 1, 1, 1, 0], [0, 0, 3, 3, 3, 3, 3, 3, 0, 3, 3, 3, 3]],
}
LONG_ROWS = {  # long enough for scores to be left out
    "long": [[1] * 140 + [0] * 10, [1] * 150],
    "long, interrupted": [[1] * 60 + [0] * 3 + [1] * 87, [1] * 150],
    "long, of two texts": [[1] * 150, [1] * 90 + [2] * 60],
}


def projections(sight, T, B=2, H=None, seed=0):
    q, k = np.random.default_rng(seed).standard_normal((2, B, T, 2, H or T), np.float32)
    v = np.broadcast_to(np.eye(T, dtype=np.float32)[None, :, None], (B, T, 2, T)) if H is None else np.sin(k)
    return {name: Projected(q, k + i, v) for i, name in enumerate(("", *sight.further))}


def seen(sight, projections, segments, shared=None, **more):
    ctx = Context(segments=segments, shared=shared or {})
    return sight.apply({}, projections, Attend(segments, Mask.full(), **more), ctx)


CASES = [pytest.param(*case.values, rows, id=f"{case.id}-{rows}") for case in examples("sight") for rows in ROWS]
CASES += [
    pytest.param(kind, spec, rows, id=f"{kind}-{rows}")
    for kind, spec in (
        ("block_sparse", dict(kind="block_sparse", block=4, again=3)),
        ("global_window", dict(kind="global_window", window=4, everyone="first", most=1)),
    )
    for rows in LONG_ROWS
]


@pytest.mark.parametrize("kind,spec,rows", CASES)
def test_weights_of_equal_scores_show_what_is_attended_to(kind, spec, rows):
    segments, sight = np.array({**ROWS, **LONG_ROWS}[rows]), build(SLOTS["sight"], spec)
    flat = {name: p._replace(q=0 * p.q) for name, p in projections(sight, segments.shape[1]).items()}
    y = jax.jit(lambda segments: seen(sight, flat, segments))(jnp.asarray(segments))
    expected = counts(spec, segments)
    assert_close(y[:, :, 0], expected / np.maximum(expected.sum(-1, keepdims=True), 1))


T = 224
SEGMENTS = jnp.array([[1] * 200 + [0] * 24, [1] * T])


def answers(sight, *marks):
    """Values and gradients, for each of several arrays of global tokens."""

    def loss(given, marks):
        y = seen(sight, given, SEGMENTS, {"global": marks})
        return (jnp.sin(jnp.arange(y.size)).reshape(y.shape) * y).sum(), y

    run = jax.jit(jax.grad(loss, has_aux=True))
    return [run(projections(sight, T, H=8), some) for some in marks]


def test_more_global_tokens_than_are_gathered_change_no_number():
    marks = [np.tile(np.isin(np.arange(T), tokens), (2, 1)) for tokens in ([0, 77, 150], [0, 77, 150, 5])]
    few, all_ = (build(SLOTS["sight"], dict(kind="global_window", window=6, most=most)) for most in (3, T))
    assert_close(answers(few, *marks), answers(all_, *marks))


def test_blocks_of_one_text_and_all_scores_give_the_same(monkeypatch):
    sight = build(SLOTS["sight"], dict(kind="block_sparse", block=8, again=2))
    none = jnp.zeros((2, T), bool)
    few = answers(sight, none)
    monkeypatch.setattr("xfm.parts.sight.block_sparse.gathers", lambda *sizes: False)
    assert_close(few, answers(sight, none))


def formed(function, *arguments):
    """(operations of all products, numbers of the largest array) of a call that takes the cheapest way."""

    def walk(jaxpr):
        operations, largest = 0, 0
        for eqn in live(jaxpr):
            if eqn.primitive.name == "cond":
                found = [min(walk(branch.jaxpr) for branch in eqn.params["branches"])]
                times = [1]
            else:
                within = inner(eqn)
                found, times = [walk(sub) for sub, _ in within], [n for _, n in within]
                if eqn.primitive.name == "dot_general":
                    found, times = [(flops(eqn), 0)], [1]
            operations += sum(n * one for n, (one, _) in zip(times, found, strict=True))
            largest = max([largest, *(one for _, one in found), *(v.aval.size for v in eqn.outvars)])
        return operations, largest

    return walk(jax.make_jaxpr(function)(*arguments).jaxpr)


H = 64
PATTERNS = {  # spec, and how many keys a query attends to in a text of 4096 tokens, in the mean
    "bigbird": (dict(kind="block_sparse"), 5 * 64 + 2 * 64),
    "longformer": (dict(kind="global_window", window=512), 513 + 2 * 64),
    "longformer, first": (dict(kind="global_window", window=512, everyone="first", most=1), 513 + 2),
}


@pytest.mark.parametrize("name,backwards", [*((name, False) for name in PATTERNS), ("bigbird", True)])
def test_no_score_is_formed_outside_the_pattern(name, backwards):
    """But for what chunks of queries add: half a window. Twice the length is twice the work, and no array of T x T."""
    spec, keys = PATTERNS[name]
    sight, T = build(SLOTS["sight"], spec), 4096

    def cost(T):
        given = jax.eval_shape(lambda: projections(sight, T, B=1, H=H))
        segments = jax.ShapeDtypeStruct((1, T), jnp.int32)
        marks = {"global": jax.ShapeDtypeStruct((1, T), bool)}

        def run(given, segments, marks):
            return seen(sight, given, segments, marks).sum()

        return formed(jax.grad(run) if backwards else run, given, segments, marks)

    operations, largest = cost(T)
    passes = 4 if backwards else 1  # the gradients take twice the products, and the scores are computed again
    assert operations <= 1.7 * passes * 4 * H * 2 * T * keys, operations / (4 * H * 2 * T * passes)
    assert largest <= 2 * T * (keys + 256 + H), "no array of all scores"
    twice, larger = cost(2 * T)
    assert twice <= 2.1 * operations and larger <= 2.1 * largest


def test_what_does_not_fit_is_said():
    sight = build(SLOTS["sight"], dict(kind="block_sparse", block=2, again=1))
    with pytest.raises(SpecError, match="with again has a bias of its own"):
        seen(sight, projections(sight, 13), None, bias=Slopes(jnp.ones(2)))
    x = jnp.ones((1, 6, 8))
    for more, words in (
        (dict(window=2), "a window or a sight, not both"),
        (dict(sight=dict(kind="windows")), "slot 'sight' has no kind 'windows'"),
    ):
        spec = dict(kind="attention", heads=2, sight=dict(kind="block_local")) | more
        with pytest.raises(SpecError, match=words):
            shapes(build(SLOTS["mixer"], spec), x, Context())
    with pytest.raises(SpecError, match="keeps no state"):
        build(SLOTS["mixer"], dict(kind="attention", heads=2, sight=dict(kind="block_local"))).init_state(1, 4, 8)


def test_mixers_that_became_sights_say_what_to_write():
    with pytest.raises(SpecError, match="it is a sight of an attention now: write .*'label': 'global_window'") as error:
        build(SLOTS["mixer"], dict(kind="global_window", heads=4, window=8, everyone="first", drop=0.1))
    for words in ("'kind': 'attention', 'heads': 4, 'drop': 0.1", "{'kind': 'global_window', 'window': 8"):
        assert words in str(error.value)
