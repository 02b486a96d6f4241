"""Tagging, spans, regression and retrieval: what is counted, against the formula row by row and worked examples."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import xfm
from tests.close import assert_close
from tests.drawn import begun, loss_of, run
from xfm.data.source import Arrays, Data
from xfm.errors import XfmError
from xfm.evaluators.nearest import Nearest
from xfm.evaluators.numbers import Numbers
from xfm.evaluators.scores import ranks
from xfm.objectives.base import ROWS
from xfm.objectives.classification import Classification
from xfm.objectives.contrast import LOSSES
from xfm.objectives.regression import Regression
from xfm.objectives.retrieval import Retrieval
from xfm.objectives.span import Span
from xfm.objectives.tagging import Tagging
from xfm.sharding import make_mesh

V, T = 20, 8


def model(**heads):
    return xfm.build(
        dict(
            kind="stack", embed=dict(kind="tokens", vocab=V, width=16, position=dict(kind="learned", length=T)),
            pattern=[dict(kind="attention", heads=2)], norms={"in": dict(kind="layernorm")}, heads=heads,
        )
    )  # fmt: skip


def tokens(*shape):
    return np.random.default_rng(0).integers(0, V, (*shape, T)).astype(np.int32)


def log_softmax(scores, axis=-1):
    scores = np.asarray(scores, np.float64)
    return scores - np.log(np.exp(scores).sum(axis, keepdims=True))


def pairs(rows):
    """Rows of two texts."""
    both = tokens(rows, 2)
    return {"tokens": both[:, 0], "positive/tokens": both[:, 1]}


def test_tagging_counts_judged_tokens_only():
    one = Tagging(model=model(tags=dict(kind="tagging", classes=3)), classes=3)
    batch = {"tokens": tokens(2), "labels": np.ones((2, T), np.int32), "weights": np.zeros((2, T), np.int32)}
    batch["labels"][:, 3] = 2
    batch["weights"][(0, 1), (3, 5)] = 1
    params, extra = begun(one, batch)
    loss, metrics, _ = loss_of(one, params, extra, batch, jax.random.key(2))
    logs = log_softmax(run(one.model, {"params": params}, batch)["tags"])
    assert metrics["loss"][1] == 2
    assert_close(loss, -(logs[0, 3, 2] + logs[1, 5, 1]) / 2)


def test_a_head_of_another_number_of_classes_is_refused():
    """Without a word, a tagger would have trained with more classes than it was given, and a classifier not at all."""
    key, batch = jax.random.key(0), {"tokens": tokens(2), "weights": jnp.ones((2, T), jnp.int32)}
    tagger = Tagging(model=model(tags=dict(kind="tagging", classes=4)), classes=3)
    head = dict(kind="classification", classes=4, pool=dict(kind="mean"))
    classifier = Classification(model=model(label=head), classes=3)
    for one, labels in ((tagger, jnp.ones((2, T), jnp.int32)), (classifier, jnp.ones(2, jnp.int32))):
        made = {**batch, "labels": labels} if one is tagger else {"tokens": batch["tokens"], "labels": labels}
        params = jax.eval_shape(lambda one=one, made=made: one.init(key, made)[0])
        with pytest.raises(XfmError, match="the head has 4 classes and config.objective.classes is 3; set both"):
            jax.eval_shape(lambda p, one=one, made=made: one.loss(p, {}, made, key), params)


def test_baselines_read_rows_from_all_over_a_sorted_source():
    one = Classification(model=model(label=dict(kind="classification", classes=2)), classes=2)
    rows = Arrays({"labels": np.repeat([0, 1], 2 * ROWS)})
    assert one.baseline(Data(rows, rows, None, None, "")) == {"class shares": pytest.approx(math.log(2))}


def test_span_ignores_padding():
    one = Span(model=model(span=dict(kind="span")))
    batch = {"tokens": tokens(2), "labels": np.array([[2, 4], [0, 0]])}
    batch["segments"] = np.broadcast_to((np.arange(T) < 6).astype(np.int32), (2, T))
    params, extra = begun(one, batch)
    step = jax.jit(jax.value_and_grad(lambda p: one.loss(p, extra, batch, jax.random.key(2))[0]))
    loss, gradient = step(params)
    logs = log_softmax(run(one.model, {"params": params}, batch)["span"][:, :6], axis=1)
    assert_close(loss, -(logs[0, 2, 0] + logs[0, 4, 1] + logs[1, 0].sum()) / 4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_an_answer_is_right_where_both_its_ends_are():
    scores = 9.0 * (np.arange(T)[None, :, None] == np.array([[2, 4], [2, 4], [0, 0]])[:, None]).astype(np.float32)

    class Fixed:
        def apply(self, *args, **kwargs):
            return {"span": scores}, {}

    labels = np.array([[2, 4], [2, 5], [0, 0]])
    _, metrics, _ = loss_of(Span(model=Fixed()), {}, {}, {"labels": labels}, jax.random.key(0))
    assert [float(x) for x in metrics["accuracy"]] == [2, 3]


def test_regression_and_its_scores():
    one = Regression(model=model(label=dict(kind="classification", classes=1)))
    labels = np.linspace(0, 5, 6).astype(np.float32)
    rows = Arrays({"tokens": tokens(6), "labels": labels})
    params, extra = begun(one, rows.arrays)
    loss, _, _ = loss_of(one, params, extra, rows.arrays, jax.random.key(2))
    predicted = np.asarray(run(one.model, {"params": params}, rows.arrays)["label"])[:, 0]
    assert_close(loss, ((predicted - labels) ** 2).mean())
    data = Data(rows, rows, None, None, "")
    assert one.baseline(data) == {"mean": pytest.approx(labels.var())}
    scores = Numbers(batch=4).run(one.forward, params, extra, data, make_mesh({}))
    order = np.argsort(np.argsort(predicted))
    assert scores["pearson"] == pytest.approx(np.corrcoef(predicted, labels)[0, 1], abs=1e-5)
    assert scores["spearman"] == pytest.approx(np.corrcoef(order, np.arange(6))[0, 1], abs=1e-5)


def vectors(B=5, n=2):
    return np.random.default_rng(7).normal(size=(B, n, 4)).astype(np.float32)


def cosines(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("ways", ["query", "both"])
@pytest.mark.parametrize("among", [None, 3])
def test_infonce_row_by_row(n, ways, among):
    x = cosines(vectors(n=n))
    loss = partial(LOSSES["infonce"], temperature=0.1, ways=ways, among=among)
    for i, got in enumerate(np.asarray(jax.jit(loss)(vectors(n=n), None)[0])):
        rows = [(i + k) % 5 for k in range(among or 5)]
        own = x[i, 0] @ x[i, 1] / 0.1
        want = math.log(sum(math.exp(x[i, 0] @ x[r, t] / 0.1) for r in rows for t in range(1, n))) - own
        if ways == "both":
            want = (want + math.log(sum(math.exp(x[i, 1] @ x[r, 0] / 0.1) for r in rows)) - own) / 2
        assert got == pytest.approx(want, rel=1e-5, abs=1e-5)


def test_infonce_is_right_where_the_own_positive_is_nearer_than_any_other():
    x = cosines(vectors())
    loss = jax.jit(LOSSES["infonce"])
    right = np.asarray(loss(vectors(), None)[1])
    np.testing.assert_array_equal(right, (x[:, 0] @ x[:, 1].T).argmax(1) == np.arange(5))
    assert right.any() and not right.all()
    assert not np.asarray(loss(np.ones((5, 2, 4), np.float32), None)[1]).any(), "equal vectors predict nothing"


def test_the_other_losses_row_by_row():
    labels = np.float32([0.1, 0.9, 0.4, 0.4, 0.0])
    x = cosines(vectors())
    predicted = (x[:, 0] * x[:, 1]).sum(-1)

    def loss(name, x, labels, **fields):
        return np.asarray(jax.jit(partial(LOSSES[name], **fields))(x, labels)[0])

    assert_close(loss("cosine", vectors(), labels), (predicted - labels) ** 2)
    pairs = [(i, j) for i, j in itertools.product(range(5), range(5)) if labels[i] < labels[j]]
    want = math.log1p(sum(math.exp(20 * (predicted[i] - predicted[j])) for i, j in pairs))
    assert_close(loss("cosent", vectors(), labels), np.full(5, want))
    raw = np.asarray(vectors(n=4), np.float64)
    far = [np.linalg.norm(raw[:, 0] - raw[:, k], axis=-1) for k in (1, 2, 3)]
    each = [np.maximum(1 + far[0] - negative, 0) for negative in far[1:]]
    assert_close(loss("triplet", vectors(n=4), None), np.mean(each, axis=0))
    x = cosines(vectors(n=3))
    far = [1 - (x[:, 0] * x[:, k]).sum(-1) for k in (1, 2)]
    got = loss("triplet", vectors(n=3), None, margin=0.2, distance="cosine")
    assert_close(got, np.maximum(0.2 + far[0] - far[1], 0))
    same = np.ones((2, 3, 4), np.float32)  # equal vectors have a finite slope
    for name, one in LOSSES.items():
        slope = jax.jit(jax.grad(lambda x, one=one: one(x, np.float32([0, 1]))[0].sum()))
        assert np.isfinite(np.asarray(slope(same[:, : 3 if name == "triplet" else 2]))).all(), name


def retrieval(**fields):
    return Retrieval(model=model(vector=dict(kind="vector")), **fields)


@pytest.mark.parametrize("form", [dict(kind="infonce"), dict(kind="infonce", ways="both"), dict(kind="cosent")])
def test_cached_gradients_are_the_gradients(form):
    batch = {**pairs(16), "labels": np.linspace(0, 1, 16, dtype=np.float32)}
    batch["segments"] = batch["positive/segments"] = (np.arange(T) < 5) * np.ones((16, 1), np.int32)
    params, extra = begun(retrieval(), batch)
    results = []
    for chunks in (1, 4, 8):
        one = retrieval(form=form, chunks=chunks)
        results.append(
            jax.jit(jax.value_and_grad(lambda p, one=one: one.loss(p, extra, batch, jax.random.key(2))[0]))(params)
        )
    for loss, gradient in results[1:]:
        assert_close(loss, results[0][0])
        assert_close(gradient, results[0][1])
    with pytest.raises(XfmError, match="chunks=5 does not divide 32 texts"):
        jax.eval_shape(retrieval(chunks=5).loss, params, extra, batch, jax.random.key(2))


@pytest.mark.parametrize("lengths", [(T, T), (T, 5)], ids=["one batch", "two batches"])
def test_all_texts_of_a_batch_draw_numbers_of_their_own(lengths):
    """In each of the pieces in which they are encoded."""

    class Drawing(Retrieval):
        def forward(self, name, params, batch, rng=None, train=False):
            return {"vector": jax.random.normal(rng, (len(batch["tokens"]), 3))}, {}

    batch = {name: x[:, :length] for (name, x), length in zip(pairs(8).items(), lengths, strict=True)}
    encoded = partial(Drawing(model=None, chunks=4).encoded, {}, train=True)
    drawn, _ = jax.jit(encoded)(batch, jax.random.key(0))
    assert len(np.unique(np.asarray(drawn).reshape(16, 3), axis=0)) == 16


def test_the_cache_holds_one_piece_at_a_time():
    """What the backward pass keeps of the layers does not grow with the batch."""
    params, extra = begun(retrieval(), pairs(4))

    def kept(rows, chunks):
        one, batch = retrieval(chunks=chunks), pairs(rows)
        step = jax.jit(jax.grad(lambda p: one.loss(p, extra, batch, jax.random.key(2))[0]))
        return step.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert kept(256, 32) < kept(256, 1) / 4


@pytest.mark.parametrize("chunks", [1, 2])
def test_eight_devices_see_all_rows(chunks):
    """A batch over eight devices gives the loss and the gradient of one device: negatives are of the global batch."""
    one, batch = retrieval(chunks=chunks), pairs(16)
    params, extra = begun(one, batch)
    step = jax.jit(jax.value_and_grad(lambda p, b: one.loss(p, extra, b, jax.random.key(2))[0]))
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    spread = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    loss, gradient = step(jax.device_put(params, NamedSharding(mesh, PartitionSpec())), spread)
    alone, slope = step(params, batch)
    assert_close(loss, alone)
    assert_close(gradient, slope)
    parts = [{name: x[part] for name, x in batch.items()} for part in (slice(0, 8), slice(8, 16))]
    halves = [loss_of(one, params, extra, part, jax.random.key(2))[0] for part in parts]
    assert abs(sum(halves) / 2 - alone) > 0.1, "fewer negatives would be another loss"


def test_retrieval_report_and_what_is_refused():
    one = retrieval(among=4)
    rows = Arrays(pairs(9))
    params, extra = begun(one, pairs(9))
    data = Data(rows, rows, None, None, "")
    x = cosines(jax.jit(lambda p: one.encoded(p, rows.arrays)[0])(params))
    rank = [int((x[:, 1] @ x[i, 0] >= x[i, 1] @ x[i, 0] - 1e-12).sum()) for i in range(9)]
    report = Nearest(batch=4).run(one.forward, params, extra, data, make_mesh({}))
    assert report["mrr"] == pytest.approx(np.mean([1 / r for r in rank]))
    assert report["recall_at_1"] == pytest.approx(np.mean([r == 1 for r in rank]))
    assert one.baseline(data) == {"chance": math.log(4)}
    assert ranks(np.array([[1.0, 1.0], [0.0, 2.0]]), [0, 1]).tolist() == [2, 1]
    key = jax.random.key(0)

    def traced(**fields):
        one = retrieval(**fields)
        jax.eval_shape(lambda p: one.loss(p, extra, rows.arrays, key), params)

    for fields, words in (
        (
            dict(texts=3),
            "with texts=3 a row has tokens, positive/tokens, negative/tokens, and this data has tokens, pos",
        ),
        (dict(form=dict(kind="infonse")), "no loss of retrieval 'infonse' .did you mean 'infonce'"),
        (
            dict(form=dict(kind="triplet", margn=2)),
            "the loss of retrieval 'triplet' has no 'margn' .did you mean 'margin'",
        ),
        (dict(form=dict(kind="cosine")), "cosine needs a score for each pair"),
        (dict(form=dict(kind="triplet")), "needs rows of three texts"),
    ):
        with pytest.raises(XfmError, match=words):
            traced(**fields)
    inputs = params, extra, rows.arrays, key
    more, whole, few = (loss_of(retrieval(among=n), *inputs, train=False)[0] for n in (16, 9, 4))
    assert more == whole != few
