"""XLNet's parts: relative attention and its two streams against literal loops, and the beam search over answers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn as drawn_by
from tests.drawn import run, shapes
from xfm.context import Context, Mask
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, T, K, D, N, H = 2, 12, 3, 16, 2, 8
SEGMENTS = np.array([[0, 1, 1, 0, 1, 1, 1, 1, 2, 2, 2, 0], [1] * 12])
TYPES = np.array([[0, 0, 0, 0, 1, 1, 0, 2, 1, 1, 0, 0], [0] * 6 + [1] * 5 + [2]])
ORDER = np.array([[0, 0, 2, 0, 1, 0, 0, 3, 0, 5, 4, 0], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])
ASKED = np.array([[2, 7, 10], [11, 4, 0]])


def stream(length, seed=0):
    return np.random.default_rng(seed).standard_normal((B, length, D))


def drawn(part, *inputs):
    """Parameters away from their initial values, and the same in float64."""
    params = drawn_by(part, *inputs, by=0.2)
    return params, jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])


def sines(distance):
    angles = distance / 10_000 ** (np.arange(0, D, 2) / D)
    return np.concatenate([np.sin(angles), np.cos(angles)])


def loops(p, x, seen, *, reach=None, types=None, backward=(False, False), asked=None):
    """Each token of x, and each question behind them, one pair at a time; seen(b, t, s, question) is the rule."""
    y = np.zeros_like(x)
    for b, i in itertools.product(range(B), range(x.shape[1])):
        question = i >= T
        t = asked[b, i - T] if question else i
        keys = [s for s in range(T) if SEGMENTS[b, s] == SEGMENTS[b, t] > 0 and seen(b, t, s, question)]
        if not keys:
            continue
        q, scores = np.einsum("d,dnh->nh", x[b, i], p["q"]["kernel"]), []
        for s in keys:
            distance = s - t if backward[b] else t - s
            distance = distance if reach is None else np.clip(distance, -reach, reach)
            r = np.einsum("d,dnh->nh", sines(distance), p["r"]["kernel"])
            k = np.einsum("d,dnh->nh", x[b, s], p["k"]["kernel"])
            score = ((q + p["key_bias"]) * k + (q + p["distance_bias"]) * r).sum(-1)
            if types is not None:
                score += ((q + p["type_bias"]) * p["types"][int(types[b, t] != types[b, s])]).sum(-1)
            scores.append(score * H**-0.5)
        weights = np.exp(np.array(scores) - np.max(scores, axis=0))
        weights /= weights.sum(axis=0)
        v = np.einsum("sd,dnh->snh", x[b, keys], p["v"]["kernel"])
        y[b, i] = np.einsum("sn,snh,nhd->d", weights, v, p["o"]["kernel"])
    return y


def both(spec, x, mask=None, types=None, **shared):
    """The mixer's answer with NaN at padding, and its parameters."""
    mixer, length = build(SLOTS["mixer"], dict(kind="relative", heads=N, **spec)), x.shape[1]
    shared = {name: jnp.asarray(value) for name, value in shared.items()}
    segments = SEGMENTS
    if length > T:
        segments = np.concatenate([segments, np.take_along_axis(segments, ASKED, axis=1)], axis=1)
    types = types if types is None else jnp.asarray(types)
    ctx = Context(segments=jnp.asarray(segments), types=types, shared=shared, mask=mask or Mask.full())
    filled = jnp.asarray(np.where((segments > 0)[..., None], x, np.nan), jnp.float32)
    params, p = drawn(mixer, filled, ctx)
    y, _ = run(mixer, params, filled, ctx)
    return np.where((segments > 0)[..., None], y, 0), p


@pytest.mark.parametrize("backward", [(False, False), (False, True)])
@pytest.mark.parametrize("reach", [None, 3])
def test_distances_and_types(reach, backward):
    x = stream(T)
    spec = dict(position=dict(kind="relative_sines", reach=reach))
    y, p = both(spec, x, types=TYPES, backward=np.array(backward))
    assert_close(y, loops(p, x, lambda *_: True, reach=reach, types=TYPES, backward=backward))


def test_one_type_says_what_none_says():
    x = stream(T)
    y, p = both({}, x)
    assert_close(both({}, x, types=np.full((B, T), 3))[0], y)
    assert_close(y, loops(p, x, lambda *_: True))


@pytest.mark.parametrize("backward", [(False, False), (True, False)])
def test_a_token_sees_its_rank_and_a_question_lower_ones(backward):
    x = stream(T + K)
    y, p = both({}, x, types=TYPES, order=ORDER, asked=ASKED, backward=np.array(backward))

    def seen(b, t, s, question):
        return ORDER[b, s] < ORDER[b, t] + (0 if question else 1)

    assert_close(y, loops(p, x, seen, types=TYPES, backward=backward, asked=ASKED))


@pytest.mark.parametrize("mask", [Mask.full(), Mask.causal(), Mask.window(2, 1)], ids=["full", "causal", "window"])
def test_a_token_sees_itself_whatever_is_unseen(mask):
    x = stream(T + K)
    unseen = np.random.default_rng(0).random((B, T, T)) < 0.5
    y, p = both(dict(types="none"), x, mask, unseen=unseen, asked=ASKED)
    shown = np.asarray(mask.visible(jnp.arange(T), jnp.arange(T))) if not mask.shows_all else np.ones((T, T), bool)

    def seen(b, t, s, question):
        return shown[t, s] and (not unseen[b, t, s] or (t == s and not question))

    assert_close(y, loops(p, x, seen, asked=ASKED))


def test_a_question_that_attends_to_nothing_returns_zeros_and_finite_gradients():
    mixer, x = build(SLOTS["mixer"], dict(kind="relative", heads=N)), jnp.asarray(stream(T + K), jnp.float32)
    ctx = Context(shared=dict(order=jnp.zeros((B, T), int), asked=jnp.asarray(ASKED)))
    params, _ = drawn(mixer, x, ctx)
    assert not np.asarray(run(mixer, params, x, ctx)[0])[:, T:].any()
    gradients = jax.jit(jax.grad(lambda p: jnp.square(mixer.apply(p, x, ctx)[0]).sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_long_rows_are_walked_in_pieces():
    """Above the length at which attention goes head by head and in chunks: the same as the dense formula."""
    T, K = 530, 5
    x = jax.random.normal(jax.random.key(0), (1, T + K, 4))
    order = jax.random.randint(jax.random.key(1), (1, T), 0, 40)
    asked = jnp.array([[0, 529, 300, 17, 512]])
    mixer = build(SLOTS["mixer"], dict(kind="relative", heads=1, types="none"))
    ctx = Context(shared=dict(order=order, asked=asked))
    params, p = drawn(mixer, x, ctx)
    y, _ = run(mixer, params, x, ctx)
    at = np.concatenate([np.arange(T), asked[0]])
    a = np.asarray(x[0], np.float64)
    q, k, v = (a @ p[name]["kernel"][:, 0] for name in "qkv")
    distance = at[:, None] - np.arange(T)[None]
    angles = distance[..., None] / 10_000 ** (np.arange(0, 4, 2) / 4)
    r = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1) @ p["r"]["kernel"][:, 0]
    scores = (q + p["key_bias"]) @ k[:T].T + np.einsum("th,tsh->ts", q + p["distance_bias"], r)
    ranks = np.asarray(order[0])
    seen = ranks[None] < ranks[at][:, None] + (np.arange(T + K) < T)[:, None]
    weights = np.where(seen, np.exp(scores / 2), 0)
    expected = weights @ v[:T] / np.maximum(weights.sum(1, keepdims=True), 1e-30) @ p["o"]["kernel"][0]
    assert_close(y[0], expected)


@pytest.mark.parametrize(
    "spec,message",
    [
        (dict(heads=3), "16 does not divide among 3 heads"),
        (dict(heads=2, types="absolute"), "types is 'absolute'; it must be 'relative' or 'none'"),
        (dict(heads=2, position=dict(kind="relative_table", span=4, width=16)), "shares vectors of distances"),
    ],
)
def test_what_does_not_fit_is_said(spec, message):
    x = jnp.ones((B, T, D))
    with pytest.raises(SpecError, match=message):
        shapes(build(SLOTS["mixer"], dict(kind="relative", **spec)), x, Context())


def test_questions_have_no_mask_by_blocks():
    mixer, x = build(SLOTS["mixer"], dict(kind="relative", heads=N)), jnp.ones((B, T + K, D))
    mask = Mask.window(2, 2, everyone=jnp.ones((B, T), bool))
    with pytest.raises(SpecError, match="masks for questions by order and window; leave pattern and everyone out"):
        jax.eval_shape(mixer.init, jax.random.key(0), x, Context(mask=mask, shared=dict(asked=jnp.asarray(ASKED))))


# --- the embedding


def test_a_question_belongs_to_the_segment_of_its_position():
    embed = build(SLOTS["embed"], dict(kind="questions", vocab=11, width=D))
    batch = {"tokens": jnp.zeros((B, T), int), "segments": jnp.asarray(SEGMENTS), "asked": jnp.asarray(ASKED)}
    params, p = drawn(embed, batch, Context.of(batch))
    x, ctx = run(embed, params, batch, Context.of(batch))
    assert x.shape == (B, T + K, D)
    assert_close(x[:, T:], np.broadcast_to(p["question"], (B, K, D)))
    assert (np.asarray(ctx.segments)[:, T:] == np.take_along_axis(SEGMENTS, ASKED, axis=1)).all()
    assert ctx.at.tolist() == [[T, T + 1, T + 2]] * B


# --- the head


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


@pytest.mark.parametrize("barred", [False, True])
def test_beam_search_over_answers(barred):
    """One start and one end at a time, over the real tokens that are not barred."""
    head, x, n, m = build(SLOTS["head"], dict(kind="span_beam", starts=3, ends=2)), stream(T), 3, 2
    bars = np.random.default_rng(1).random((B, T)) < 0.3
    shared = {"barred": jnp.asarray(bars.astype(np.int32))} if barred else {}
    ctx = Context(segments=jnp.asarray(SEGMENTS), shared=shared)
    filled = jnp.asarray(np.where((SEGMENTS > 0)[..., None], x, np.nan), jnp.float32)
    params, p = drawn(head, filled, ctx)
    out = run(head, params, filled, ctx)

    def linear(name, a):
        return a @ p[name]["kernel"] + p[name].get("bias", 0.0)

    for b in range(B):
        able = np.flatnonzero((SEGMENTS[b] > 0) & ~(bars[b] & barred))
        start = softmax(linear("start", x[b, able])[:, 0])
        best = np.argsort(-start)[:n]
        assert_close(out["start_top_log_probs"][b], start[best])
        assert out["start_top_index"][b].tolist() == able[best].tolist()
        for j, s in enumerate(able[best]):
            y = np.tanh(linear("end_dense", np.concatenate([x[b, able], np.tile(x[b, s], (len(able), 1))], axis=1)))
            y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
            end = softmax(linear("end", y * p["end_norm"]["scale"] + p["end_norm"]["bias"])[:, 0])
            ranked = np.argsort(-end)[:m]
            assert_close(out["end_top_log_probs"][b][j::n], end[ranked])
            assert out["end_top_index"][b][j::n].tolist() == able[ranked].tolist()
        last = x[b, np.flatnonzero(SEGMENTS[b])[-1]]
        y = np.tanh(linear("none_dense", np.concatenate([start @ x[b, able], last])))
        assert_close(out["cls_logits"][b], linear("none", y)[0])


def test_a_short_row_has_fewer_answers():
    head = build(SLOTS["head"], dict(kind="span_beam"))
    out, _ = jax.eval_shape(head.init_with_output, jax.random.key(0), jnp.ones((1, 2, D)), Context())
    assert out["start_top_index"].shape == (1, 2) and out["end_top_index"].shape == (1, 4)
