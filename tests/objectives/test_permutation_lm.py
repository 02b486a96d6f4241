"""The order of reading counted on real draws; what is predicted is never read; the loss against a forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import begun, loss_of, run
from xfm.errors import XfmError
from xfm.objectives.permutation_lm import PermutationLM, last_in_order, typed_pair
from xfm.vocabulary import Vocabulary

V, B, T = 50, 16, 61
VOCABULARY = Vocabulary(size=V, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
drawing = jax.jit(last_in_order, static_argnums=(1, 2))
pairing = jax.jit(lambda tokens, key: typed_pair(tokens, VOCABULARY, key))
PLAIN = dict(kind="stack", embed=dict(kind="tokens", vocab=V, width=16), pattern=[dict(kind="mlp", hidden=8)])


def tokens(seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(5, V, (B, T)), jnp.int32)


def objective(**fields):
    spec = dict(
        kind="stack", embed=dict(kind="questions", vocab=V, width=16), norms={"out": dict(kind="layernorm")},
        pattern=[dict(kind="relative", heads=2), dict(kind="mlp", hidden=16)], repeats=2,
        heads=dict(lm=dict(kind="mlm", vocab=V)),
    )  # fmt: skip
    return PermutationLM(**dict(model=xfm.build(spec), vocabulary=VOCABULARY) | fields)


def test_one_in_six_is_predicted_in_spans_of_up_to_five():
    allowed, share, counts, lengths = np.ones((64, 512), bool), 0.0, np.zeros(512), []
    for seed in range(8):
        at, weights, order = map(np.asarray, drawing(allowed, 6, 5, jax.random.key(seed)))
        assert at.shape == (64, 86)
        share += weights.sum() / (64 * 512) / 8
        for row in range(64):
            positions = at[row][weights[row] > 0]
            assert (np.diff(positions) > 0).all() and (order[row][positions] > 0).all()
            ranks = list(range(1, len(positions) + 1))
            assert sorted(order[row][order[row] > 0]) == sorted(order[row][positions]) == ranks
            runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
            lengths += [len(run) for run in runs]
            counts[positions] += 1
    assert abs(share - 1 / 6) < 0.003
    assert min(lengths) == 1 and max(lengths) <= 10 and np.mean(np.array(lengths) > 5) < 0.05  # two spans may touch
    assert abs(counts[30:480].mean() / 512 - 1 / 6) < 0.005


def test_the_order_is_random_among_what_is_predicted():
    """Of two tokens side by side the first is read first in half of the draws."""
    first = []
    for seed in range(40):
        at, weights, order = map(np.asarray, drawing(np.ones((B, T), bool), 6, 5, jax.random.key(seed)))
        for row in range(B):
            a, b = at[row][:2]
            first += [order[row][a] < order[row][b]] if weights[row][1] else []
    assert abs(np.mean(first) - 0.5) < 5 * 0.5 / np.sqrt(len(first))


def test_padding_and_special_tokens_are_never_predicted():
    one, x = objective(), tokens().at[:, ::7].set(3)
    segments = jnp.broadcast_to((jnp.arange(T) < 40).astype(jnp.int32), (B, T))
    allowed = np.asarray((x != 3) & (segments > 0))
    at, weights, order = map(np.asarray, drawing(allowed, 6, 5, jax.random.key(1)))
    for row in range(B):
        assert allowed[row][at[row][weights[row] > 0]].all() and not order[row][~allowed[row]].any()
    batch = {"tokens": x, "segments": segments}
    params, extra = begun(one, batch)
    loss, metrics, _ = loss_of(one, params, extra, batch, jax.random.key(2))
    assert np.isfinite(loss) and 0 < metrics["loss"][1] <= B * 8


def test_no_answer_knows_its_own_token_or_a_later_one():
    """A change of a predicted token changes the answers about tokens after it in the order, and no others."""
    one, x = objective(), tokens()
    at, weights, order = drawing(np.ones((B, T), bool), 6, 5, jax.random.key(1))
    params, _ = begun(one, {"tokens": x})

    @jax.jit
    def logits(x):
        return one.model.apply({"params": params}, {"tokens": x, "asked": at, "order": order})["lm"]

    before, ranks = np.asarray(logits(x)), np.take_along_axis(np.asarray(order), np.asarray(at), axis=1)
    for rank in (1, 3, 5):
        position = np.argmax(np.asarray(order) == rank, axis=1)
        moved = np.asarray(logits(x.at[jnp.arange(B), position].set(7 + x[jnp.arange(B), position] % 20)))
        change = np.abs(moved - before).max(axis=-1)
        assert (change[(ranks <= rank) & (np.asarray(weights) > 0)] == 0).all()
        assert (change[ranks > rank] > 0).all()


def test_loss_is_the_surprise_of_the_answers():
    one, batch = objective(pairs="typed"), {"tokens": tokens()}
    params, extra = begun(one, batch)
    key = jax.random.key(3)
    loss, metrics, _ = loss_of(one, params, extra, batch, key)
    pair, order, _ = jax.random.split(key, 3)
    x, types = pairing(batch["tokens"], pair)
    at, weights, ranks = drawing(x >= 5, 6, 5, order)
    out = run(one.model, {"params": params}, {"tokens": x, "types": types, "asked": at, "order": ranks})["lm"]
    labels = np.take_along_axis(*map(np.asarray, (x, at)), axis=1)
    surprise = -np.take_along_axis(np.asarray(jax.nn.log_softmax(out)), labels[..., None], axis=-1)[..., 0]
    assert_close(loss, (surprise * np.asarray(weights)).sum() / np.asarray(weights).sum())
    assert (
        loss == loss_of(one, params, extra, batch, key)[0] != loss_of(one, params, extra, batch, jax.random.key(4))[0]
    )


def test_pairs_end_with_the_class_token():
    x = tokens()
    paired, types = map(np.asarray, pairing(x, jax.random.key(2)))
    other, swapped = np.roll(np.asarray(x), 1, axis=0), 0
    for row in range(B):
        assert (paired[row, :29] == np.asarray(x)[row, :29]).all()
        assert (paired[row, [29, 59, 60]] == [3, 3, 2]).all()
        sources = [(paired[row, 30:59] == source[row, 30:59]).all() for source in (np.asarray(x), other)]
        assert any(sources)
        swapped += sources[1]
    assert 0 < swapped < B
    assert types[0].tolist() == [0] * 30 + [1] * 30 + [2]


@pytest.mark.parametrize(
    "fields,said",
    [
        (dict(pairs="typed", vocabulary=Vocabulary(size=V)), "a class token and an end token"),
        (dict(model=xfm.build(PLAIN)), "'tokens'"),
    ],
)
def test_bad_fields(fields, said):
    with pytest.raises(XfmError, match=said):
        objective(**fields)
