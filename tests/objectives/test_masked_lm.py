"""Corruption counted on real draws, and the loss against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import begun, loss_of
from xfm.errors import XfmError
from xfm.objectives.corruption import choose, replaced, units_of
from xfm.objectives.masked_lm import MaskedLM
from xfm.objectives.next_sentence import pair_up
from xfm.vocabulary import Vocabulary

V, B, T = 50, 16, 64
STARTS = np.arange(V) % 3 != 0  # ids divisible by three continue a word
VOCABULARY = Vocabulary(size=V, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4), starts_word=STARTS)


def tokens(seed=0):
    return np.random.default_rng(seed).integers(5, V, (B, T)).astype(np.int32)


choosing = jax.jit(choose, static_argnums=(2, 3))
pairing = jax.jit(lambda tokens, key: pair_up(tokens, VOCABULARY, key))


def picked(units, allowed, rate=0.15, most=10, seed=1):
    at, weights = choosing(units, allowed, rate, most, jax.random.key(seed))
    return np.asarray(at), np.asarray(weights)


def test_a_row_gives_its_share_of_what_is_allowed():
    allowed = np.arange(T)[None] < np.array([64, 40, 20, 3, 1, 0] + [64] * 10)[:, None]
    units = np.broadcast_to(np.arange(T), (B, T))
    at, weights = picked(units, allowed)
    assert weights.sum(1)[:6].tolist() == [10, 6, 3, 1, 1, 0]
    for row in range(B):
        positions = at[row][weights[row] > 0]
        assert len(set(positions)) == len(positions) and allowed[row][positions].all()


@pytest.mark.parametrize("pairs,lacks,words", [
    ("none", dict(mask=None), "masked_lm needs a tokeniser with a mask token"),
    ("next", dict(cls=None), "masked_lm: pairs='next' needs a tokeniser with a class token and an end token"),
    ("next", dict(sep=None), "masked_lm: pairs='next' needs a tokeniser with a class token and an end token"),
])  # fmt: skip
def test_a_tokeniser_without_a_token_that_is_needed_is_refused(pairs, lacks, words):
    with pytest.raises(XfmError, match=words):
        MaskedLM(model=None, vocabulary=dataclasses.replace(VOCABULARY, **lacks), pairs=pairs)


def test_all_positions_are_chosen_equally_often():
    units, allowed = np.broadcast_to(np.arange(T), (B, T)), np.ones((B, T), bool)
    counts = np.zeros(T)
    for seed in range(200):
        at, weights = picked(units, allowed, seed=seed)
        np.add.at(counts, at[weights > 0], 1)
    share = counts / (200 * B)  # 3200 draws of rate 10 / 64 each: deviation 0.0064
    assert abs(share - 10 / 64).max() < 5 * 0.0064


def test_whole_words_are_chosen_whole():
    x = tokens()
    units = jax.jit(lambda x, key: units_of({"kind": "whole_word"}, x, VOCABULARY, key))(x, jax.random.key(0))
    at, weights = picked(units, np.ones((B, T), bool))
    cut = 0
    for row in range(B):
        chosen = set(at[row][weights[row] > 0])
        words = {}
        for position, unit in enumerate(np.asarray(units)[row]):
            words.setdefault(unit, set()).add(position)
        cut += sum(bool(chosen & word) and not word <= chosen for word in words.values())
        assert 1 <= len(chosen) <= 10
    assert cut == 0
    starts = np.asarray(units)[:, 1:] != np.asarray(units)[:, :-1]
    assert (starts == STARTS[np.asarray(x)[:, 1:]]).all()


def test_spans_have_the_lengths_of_the_paper():
    """Clipped at 10, a geometric length of p = 0.2 has mean (1 - 0.8^10) / 0.2 = 4.46."""
    many = np.zeros((64, 512), np.int32)
    units = jax.jit(lambda x, key: units_of({"kind": "span"}, x, VOCABULARY, key))(many, jax.random.key(3))
    units = np.asarray(units)
    lengths = np.concatenate([np.bincount(row)[:-1] for row in units])  # the last is cut by the row's end
    assert lengths.min() >= 1 and lengths.max() == 10
    assert abs(lengths.mean() - 4.463) < 0.15


def test_what_is_seen_in_place_of_a_token():
    labels = np.full((200, 200), 7, np.int32)
    seen = jax.jit(lambda labels, key: replaced(labels, (0.8, 0.1, 0.1), VOCABULARY, key))(labels, jax.random.key(0))
    seen = np.asarray(seen)
    kept, masked = (seen == 7).mean(), (seen == VOCABULARY.mask).mean()
    assert abs(masked - (0.8 + 0.1 / V)) < 0.01 and abs(kept - (0.1 + 0.1 / V)) < 0.008
    assert len(np.unique(seen)) == V


def test_pairs_are_halves_of_one_row_or_of_two():
    x = tokens()
    paired, types, labels = map(np.asarray, pairing(x, jax.random.key(2)))
    other = np.roll(np.asarray(x), 1, axis=0)
    assert 0 < labels.sum() < B
    for row in range(B):
        source = other if labels[row] else np.asarray(x)
        assert (paired[row, 1:31] == np.asarray(x)[row, 1:31]).all()
        assert (paired[row, 32:63] == source[row, 32:63]).all()
        assert (paired[row, [0, 31, 63]] == [2, 3, 3]).all()
    assert types[0].tolist() == [0] * 32 + [1] * 32


def objective(**fields):
    embed = dict(kind="tokens", vocab=V, width=16, types=2)
    heads = dict(mlm=dict(kind="mlm", vocab=V), nsp=dict(kind="classification", classes=2))
    spec = dict(kind="stack", embed=embed, pattern=[dict(kind="attention", heads=2)], heads=heads)
    return MaskedLM(model=xfm.build(spec), vocabulary=VOCABULARY, **fields)


def test_loss_is_the_mean_surprise_of_what_was_hidden():
    """With all chosen tokens masked and a model that ignores its input, the loss is that of its bias alone."""
    one = objective(split=(1.0, 0.0, 0.0), rate=0.25)
    batch = {"tokens": tokens()}
    params, extra = begun(one, batch)
    params = jax.tree.map(lambda p: np.zeros(p.shape, p.dtype), params)
    bias = np.random.default_rng(1).normal(size=V).astype(np.float32)
    params["head_mlm"]["bias"] = bias
    loss, metrics, _ = loss_of(one, params, extra, batch, jax.random.key(2))
    assert metrics["loss"][1] == B * 16
    surprise = (np.log(np.exp(bias).sum()) - bias)[tokens()]
    assert surprise.min() < loss < surprise.max()
    assert abs(loss - surprise.mean()) < 0.3  # a quarter of the tokens, at random
    again = loss_of(one, params, extra, batch, jax.random.key(2))[0]
    assert loss == again != loss_of(one, params, extra, batch, jax.random.key(3))[0]


def test_the_network_reads_masks_where_it_predicts_and_the_text_elsewhere():
    read = {}

    class Recording(MaskedLM):
        def forward(self, name, params, batch, rng=None, train=False, **inputs):
            read.update(batch)
            return {"mlm": jnp.zeros((*batch["at"].shape, V))}, {}

    @jax.jit
    def reading(key):
        one = Recording(model=None, vocabulary=VOCABULARY, split=(1.0, 0.0, 0.0))
        one.loss({}, {}, {"tokens": tokens()}, key)
        return read["tokens"], read["at"]

    seen, at = map(np.asarray, reading(jax.random.key(2)))
    chosen = np.zeros((B, T), bool)
    np.put_along_axis(chosen, at, True, axis=1)
    assert chosen.sum() == B * 10
    np.testing.assert_array_equal(seen, np.where(chosen, VOCABULARY.mask, tokens()))


def test_padding_is_never_predicted():
    one = objective()
    segments = np.broadcast_to((np.arange(T) < 20).astype(np.int32), (B, T))
    batch = {"tokens": tokens(), "segments": segments}
    params, extra = begun(one, batch)
    _, metrics, _ = loss_of(one, params, extra, batch, jax.random.key(2))
    assert metrics["loss"][1] == B * 3


def test_next_sentence_adds_its_loss():
    one = objective(pairs="next")
    batch = {"tokens": tokens()}
    params, extra = begun(one, batch)
    step = jax.jit(jax.value_and_grad(lambda p, b: one.loss(p, extra, b, jax.random.key(2))[:2], has_aux=True))
    (loss, metrics), gradient = step(params, batch)
    parts = [float(total / count) for total, count in (metrics["loss"], metrics["nsp_loss"])]
    assert_close(loss, np.float32(sum(parts)))
    assert np.abs(np.asarray(gradient["head_nsp"]["out"]["kernel"])).max() > 0


def test_the_label_of_a_pair_is_whether_its_second_half_is_a_strangers():
    class Sure(MaskedLM):
        def forward(self, name, params, batch, rng=None, train=False, **inputs):
            known = jnp.broadcast_to(jnp.array([3.0, 0.0]), (B, 2))
            return {"mlm": jnp.zeros((*batch["at"].shape, V)), "nsp": known}, {}

    key, x = jax.random.key(2), tokens()
    strangers = int(np.asarray(pairing(x, jax.random.split(key, 5)[0])[2]).sum())
    _, metrics, _ = loss_of(Sure(model=None, vocabulary=VOCABULARY, pairs="next"), {}, {}, {"tokens": x}, key)
    assert 0 < strangers != B / 2
    assert_close(metrics["nsp_loss"][0], np.float32(B * np.log1p(np.exp(-3)) + 3 * strangers))
    assert metrics["nsp_accuracy"] == (B - strangers, B)


@pytest.mark.parametrize(
    "fields,said",
    [
        (dict(split=(0.8, 0.1, 0.2)), "three shares that add up to 1"),
        (dict(units=dict(kind="words")), "no masking unit 'words'; there are token, whole_word, span"),
    ],
)
def test_bad_fields(fields, said):
    with pytest.raises(XfmError, match=said):
        one = objective(**fields)
        batch, key = {"tokens": tokens()}, jax.random.key(0)
        jax.eval_shape(lambda: one.loss(one.init(key, batch)[0], {}, batch, key))
