"""Of every objective: rows that fill up a batch count nothing, and what microbatches sum up is what the batch would give.

A new objective needs an example here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.close import assert_close
from tests.drawn import spread
from xfm.objectives import OBJECTIVES, build_objective
from xfm.objectives.base import mean, total
from xfm.train.state import new_state
from xfm.train.step import make_step
from xfm.vocabulary import Vocabulary

V, B, T = 24, 6, 12
VOCABULARY = Vocabulary(size=V, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
EMBED = dict(kind="tokens", vocab=V, width=8, position=dict(kind="learned", length=T))


def stack(embed=EMBED, mask=None, **heads):
    shown = {} if mask is None else {"mask": mask}
    return dict(kind="stack", embed=embed, pattern=[dict(kind="attention", heads=2)], heads=heads, **shown)


def texts(*shape):
    """Rows of 12, 4, 12, … tokens."""
    tokens = np.random.default_rng(0).integers(5, V, (*shape, T)).astype(np.int32)
    lengths = np.where(np.arange(shape[0]) % 2, 4, T).reshape(-1, *(1,) * len(shape))
    segments = np.broadcast_to(np.arange(T) < lengths, tokens.shape).astype(np.int32)
    return {"tokens": np.where(segments > 0, tokens, 0), "segments": segments}


def running(*shape):
    return {"tokens": texts(*shape)["tokens"] + 5 * (texts(*shape)["segments"] == 0)}


def images():
    return {"images": np.random.default_rng(0).normal(size=(B, 4, 4, 1)).astype(np.float32)}


MLM = dict(kind="mlm", vocab=V)
LABEL = dict(kind="classification", classes=3)
CLASSES = np.arange(B, dtype=np.int32) % 3
SCORES = np.linspace(0, 1, B, dtype=np.float32)
QUESTIONS = dict(kind="questions", vocab=V, width=8)
GENERATOR = stack(mlm=MLM)
RELATIVE = dict(stack(QUESTIONS, lm=MLM), pattern=[dict(kind="relative", heads=2)])
VECTOR = stack(vector=dict(kind="vector", pool=dict(kind="mean")))
TAGS = {"labels": texts(B)["tokens"] % 3, "weights": texts(B)["segments"]}
ANSWERS = {"labels": np.stack([CLASSES, CLASSES], 1)}

# name -> (kind, fields of the objective, network, batch)
EXAMPLES = {
    "masked_lm": ("masked_lm", {}, stack(mlm=MLM), texts(B)),
    "masked_lm of running text": ("masked_lm", dict(units=dict(kind="span")), stack(mlm=MLM), running(B)),
    "masked_lm in pairs": (
        "masked_lm", dict(pairs="next"), stack(dict(EMBED, types=2), mlm=MLM, nsp=dict(LABEL, classes=2)), running(B)
    ),
    "replaced_token": (
        "replaced_token", dict(generator=GENERATOR, weight=3.0), stack(replaced=dict(kind="detection")), texts(B)
    ),
    "causal_lm": ("causal_lm", {}, stack(mask="causal", lm=MLM), texts(B)),
    "permutation_lm": ("permutation_lm", {}, RELATIVE, texts(B)),
    "permutation_lm in pairs": ("permutation_lm", dict(pairs="typed"), RELATIVE, running(B)),
    "classification": ("classification", dict(classes=3), stack(label=LABEL), {**texts(B), "labels": CLASSES}),
    "classification of images": (
        "classification", dict(classes=3), stack(dict(kind="patches", patch=2, width=8), label=LABEL),
        {**images(), "labels": CLASSES},
    ),
    "regression": ("regression", {}, stack(label=dict(LABEL, classes=1)), {**texts(B), "labels": SCORES}),
    "tagging": ("tagging", dict(classes=3), stack(tags=dict(kind="tagging", classes=3)), {**texts(B), **TAGS}),
    "span": ("span", {}, stack(span=dict(kind="span")), {**texts(B), **ANSWERS}),
    "retrieval": ("retrieval", dict(form=dict(kind="infonce", ways="both"), among=4), VECTOR, texts(B, 2)),
    "retrieval by order": ("retrieval", dict(form=dict(kind="cosent")), VECTOR, {**texts(B, 2), "labels": SCORES}),
    "retrieval of scores": ("retrieval", dict(form=dict(kind="cosine")), VECTOR, {**texts(B, 2), "labels": SCORES}),
    "retrieval of three": ("retrieval", dict(form=dict(kind="triplet"), texts=3), VECTOR, texts(B, 3)),
}  # fmt: skip
MADE = {}


def test_every_objective_has_an_example():
    assert {kind for kind, *_ in EXAMPLES.values()} == set(OBJECTIVES)


def example(name):
    """(objective, parameters, batch)."""
    if name not in MADE:
        kind, fields, network, batch = EXAMPLES[name]
        one = build_objective(dict(model=network, objective=dict(kind=kind, **fields)), VOCABULARY)
        MADE[name] = one, spread(jax.jit(one.init)(jax.random.key(1), batch)[0]), batch
    return MADE[name]


def filled(batch, rows):
    """The batch with `rows` rows of zeros behind it, of NaN where numbers are floats, and weights that tell them."""

    def more(x):
        empty = np.nan if np.issubdtype(x.dtype, np.floating) else 0
        return np.concatenate([x, np.full((rows, *x.shape[1:]), empty, x.dtype)])

    weights = np.concatenate([np.ones(B), np.zeros(rows)]).astype(np.float32)
    return {"weights": weights, **{name: more(x) for name, x in batch.items()}}


@pytest.mark.parametrize("name", EXAMPLES)
def test_rows_that_fill_a_batch_count_nothing(name):
    one, params, batch = example(name)
    measure = jax.jit(lambda p, b: one.loss(p, {}, b, jax.random.key(2), train=False)[:2])
    loss, metrics = measure(params, filled(batch, 3))
    alone, same = measure(params, batch)
    assert metrics.keys() == same.keys() and float(alone) > 0
    for key in same:
        assert_close(metrics[key][0], same[key][0], of=f"{key}, sum")
        assert_close(metrics[key][1], same[key][1], of=f"{key}, count")
    assert_close(loss, alone)


@pytest.mark.parametrize("name", EXAMPLES)
def test_two_microbatches_have_the_gradient_of_the_whole(name):
    """By hand: sums and counts of both, of each term; the counts without the parameters, as the step must know them."""
    one, params, batch = example(name)
    optimiser = optax.sgd(1.0)
    state = new_state(one, optimiser, jax.random.key(3), batch, ema=None).replace(params=params)
    rng = jax.random.fold_in(state.rng, 0)

    def whole(params):
        parts = [jax.tree.map(lambda x, i=i: x[i::2], batch) for i in range(2)]
        metrics = [one.loss(params, {}, part, jax.random.fold_in(rng, i))[1] for i, part in enumerate(parts)]
        both = jax.tree.map(jnp.add, *metrics)
        return sum(weight * mean(both[term]) for term, weight in one.terms.items()), both

    (_, metrics), gradient = jax.jit(jax.value_and_grad(whole, has_aux=True))(params)
    before = jax.tree.map(np.array, params)
    after, got = make_step(one, optimiser, accumulate=2)(state, batch)
    assert_close(jax.tree.map(lambda a, b: a - np.asarray(b), before, after.params), gradient, rtol=2e-5)
    for term in one.terms:
        assert_close(got[term], metrics[term], of=term)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_terms_make_the_loss_and_their_counts_need_no_parameters(name):
    one, params, batch = example(name)
    measure = jax.jit(lambda p: one.loss(p, {}, batch, jax.random.key(2))[:2])
    loss, metrics = measure(params)
    assert_close(total(metrics, one.terms), loss)
    _, unknown = measure(jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params))
    for term in one.terms:
        assert np.isfinite(metrics[term][1]) and unknown[term][1] == metrics[term][1]


def test_counting_costs_no_network():
    """The program with two microbatches has the matrix products of a backward pass once, as that of a single one."""
    one, params, batch = example("masked_lm in pairs")
    optimiser = optax.sgd(1.0)
    state = new_state(one, optimiser, jax.random.key(3), batch, ema=None)

    def products(accumulate):
        return make_step(one, optimiser, accumulate=accumulate).lower(state, batch).compile().as_text().count(" dot(")

    assert products(2) == products(1) > 10


@pytest.mark.parametrize("weights", [(1, 0, 1, 1, 0, 1), (0, 0, 1, 0, 0, 0)])
def test_pairs_are_made_of_real_rows(weights):
    """Wherever the filling lies: the stranger of a row is the real row before it, the last one's before the first."""
    from xfm.objectives.next_sentence import strangers

    tokens, weights = jnp.broadcast_to(jnp.arange(B)[:, None], (B, T)), np.array(weights, np.float32)
    real, seen = np.flatnonzero(weights), set()
    for seed in range(8):
        out, swap = map(np.asarray, strangers(tokens, 6, jax.random.key(seed), weights))
        assert len(real) > 1 or not swap.any()
        for i, row in enumerate(real):
            assert (out[row, :6] == row).all()
            assert (out[row, 6:] == (real[i - 1] if swap[row] else row)).all()
            seen.add((row, bool(swap[row])))
    assert len(seen) == (8 if len(real) > 1 else 1)
