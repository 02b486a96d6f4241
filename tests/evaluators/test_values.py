"""What each evaluator counts and shows, by hand. The networks' outputs come from tables, by the number of the row.

A new evaluator needs a test here, called test_KIND.
"""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from xfm.errors import XfmError
from xfm.evaluators import EVALUATORS
from xfm.evaluators.clicks import first_good
from xfm.evaluators.features import fitted
from xfm.evaluators.image_quality import luminance
from xfm.parts.resize import resize_maps
from xfm.tokenizers import Joined
from xfm.vocabulary import Vocabulary

MESH = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
WORDS = ["[pad]", "[mask]", "the", "cat", "dog", "bird", "horse", "!"]
CAT, DOG, BIRD, HORSE = range(3, 7)


class Tokenizer:
    def decode(self, ids):
        return " ".join(WORDS[i] for i in ids)


class Rows(list):
    """Rows that know their number."""

    def __init__(self, **columns):
        count = len(next(iter(columns.values())))
        super().__init__(
            {"row": np.int32(i), **{n: np.asarray(c)[i] for n, c in columns.items()}} for i in range(count)
        )


def outputs(**tables):
    """A `forward` whose heads give these arrays, [rows ...]."""
    return lambda name, params, batch: ({n: jnp.asarray(a)[batch["row"]] for n, a in tables.items()}, {})


def data_of(valid, **more):
    vocabulary = Vocabulary(size=len(WORDS), pad=0, mask=1, special=(0, 1))
    known = dict(train=valid, valid=valid, tokenizer=Tokenizer(), vocabulary=vocabulary, classes=())
    return types.SimpleNamespace(**known | more)


def run(kind, forward, data, **fields):
    return EVALUATORS[kind](batch=2, **fields).run(forward, {}, {}, data, MESH)


def shown(kind, forward, data, **fields):
    return EVALUATORS[kind](batch=2, **fields).examples(forward, {}, {}, data, MESH)


ELSEWHERE = {"numbers", "continuations"}  # test_regression_and_its_scores, test_continuations_are_the_likeliest_tokens


def test_every_evaluator_is_worked_by_hand():
    assert {kind for kind in EVALUATORS if f"test_{kind}" not in globals()} == ELSEWHERE


def test_classes():
    """Of classes 0 1 2 1 the second is taken for 2: F1 of 1, 2/3 and 2/3."""
    rows = Rows(tokens=[[CAT, 0], [DOG, 0], [BIRD, 0], [HORSE, 0]], labels=[0, 1, 2, 1])
    forward = outputs(label=np.log([[0.8, 0.1, 0.1], [0.1, 0.3, 0.6], [0.1, 0.1, 0.8], [0.1, 0.7, 0.2]]))
    found = run("classes", forward, data_of(rows), scores=("accuracy", "macro_f1"))
    assert found == pytest.approx(dict(accuracy=3 / 4, macro_f1=7 / 9))
    lines = shown("classes", forward, data_of(rows, classes=("red", "green", "blue")), shown=2)
    assert lines[1].splitlines()[1].strip() == "validation row 3: class green (70%); it is green"
    forward, rows = outputs(label=np.array([[2.0], [-1], [-0.5], [1]])), Rows(labels=[1, 0, 1, 1])
    found = run("classes", forward, data_of(rows), scores=("f1", "matthews"))
    assert found == pytest.approx(dict(f1=4 / 5, matthews=2 / math.sqrt(12)))


def segmented(seed=0):
    """Labels [3 4 6] of four classes and 9, which counts nothing, and logits at half the size."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 9], (3, 4, 6))
    return labels, rng.normal(size=(3, 2, 3, 4))


def test_masks():
    """scikit-learn's Jaccard index over the pixels of all images together; class 3 is only ever predicted."""
    metrics = pytest.importorskip("sklearn.metrics")
    labels, logits = segmented()
    forward = outputs(mask=logits)
    rows = Rows(labels=labels, images=np.zeros((3, 4, 6, 1)))
    found = run("masks", forward, data_of(rows), ignore=9)
    large = np.stack([np.asarray(resize_maps(jnp.asarray(one[None]), (4, 6))[0]) for one in logits])
    truth, predicted = labels[labels != 9], large.argmax(-1)[labels != 9]
    assert set(predicted) - set(truth) == {3}
    assert found == pytest.approx(dict(
        mean_iou=metrics.jaccard_score(truth, predicted, average="macro"),
        mean_accuracy=metrics.recall_score(truth, predicted, labels=[0, 1, 2], average="macro"),
        pixel_accuracy=metrics.accuracy_score(truth, predicted),
    ))  # fmt: skip
    lines = shown("masks", forward, data_of(rows, classes=("sky", "sea", "sand", "bird")), shown=1, ignore=9)
    right = (labels[0] == large[0].argmax(-1))[labels[0] != 9].mean()
    assert lines[0].startswith(f"validation row 0: {right:.0%} of its pixels are right; classes missed: ")
    pictures = EVALUATORS["masks"](batch=2, shown=2, ignore=9).pictures(forward, {}, {}, data_of(rows), MESH)
    assert pictures["masks"].shape == (2 * (4 * 32 + 4), 3 * (6 * 32 + 4), 3) and pictures["masks"].dtype == np.uint8


def test_number_of_clicks():
    """A network that predicts all pixels up to the column of the last click, of an object of the first 8 columns of 10.

    Its clicks fall on columns 3, 5 and 6: what is missed is deepest in the middle, first of columns 0 to 7, then of 4
    to 7 and 6 to 7. The second row has no object.
    """
    labels = np.zeros((2, 8, 10), np.int32)
    labels[0, :, :8] = 3
    rows = Rows(labels=labels, images=np.zeros((2, 8, 10, 1)))

    def forward(name, params, batch):
        last = (batch["clicks"][..., 1] * (batch["clicks"][..., 2] == 1)).max(1)
        return {
            "mask": jnp.where(jnp.arange(10) <= last[:, None, None], 1.0, -1.0)[..., None] + jnp.zeros((1, 8, 1, 1))
        }, {}

    found = run("number_of_clicks", forward, data_of(rows), thresholds=(0.5, 0.75, 0.87, 0.99), clicks=3)
    expected = dict(noc_50=1, failed_50=0, noc_75=2, failed_75=0, noc_87=3, failed_87=0, noc_99=3, failed_99=1)
    assert found == pytest.approx(dict(expected, iou_1=4 / 8, iou_3=7 / 8))
    (line,) = shown("number_of_clicks", forward, data_of(rows), clicks=3, shown=1)
    assert line == "validation row 0: object 3, overlap after each click: 0.50 0.75 0.88"
    pictures = EVALUATORS["number_of_clicks"](clicks=2, shown=2).pictures(forward, {}, {}, data_of(rows), MESH)
    assert pictures["clicks"].dtype == np.uint8 and pictures["clicks"].ndim == 3
    assert first_good(np.array([[0.8, 0.9, 0.7], [0.1, 0.2, 0.3]]), 0.9).tolist() == [2, 3]


def test_zero_shot():
    """Two prompts of each of two classes; that of the second is longer, and yet counts no more than the other."""
    of_texts = np.array([[1.0, 0], [0.6, 0.8], [0, 100], [0.8, 0.6]])  # classes at 0.46 and 1.1 radians
    of_images = np.array([[1.0, 0.2], [0, 3], [2, 1.9], [1, 1.2]])
    written = []

    def joined(texts, length):
        written.extend(texts[0])
        return [Joined(np.array([i]), np.array([0]), False) for i in range(len(texts[0]))]

    def forward(name, params, batch):
        if "text/tokens" in batch:
            return {"text/vector": jnp.asarray(of_texts)[batch["text/tokens"][:, 0]]}, {}
        return {"vision/vector": jnp.asarray(of_images)[batch["vision/row"]]}, {}

    ones = np.ones((4, 3), np.int32)
    columns = {"vision/row": np.arange(4), "text/tokens": ones, "text/segments": ones, "labels": [0, 1, 1, 1]}
    data = data_of(Rows(**columns), classes=("cat", "dog"), tokenizer=types.SimpleNamespace(joined=joined))
    assert run("zero_shot", forward, data, prompts=("a {}", "the {}")) == {"zero_shot": 3 / 4}
    assert written == ["a cat", "the cat", "a dog", "the dog"]
    lines = shown("zero_shot", forward, data, prompts=("a {}", "the {}"), shown=4)
    assert lines[2] == "validation row 2: nearest to 'cat'; it is 'dog'"
    with pytest.raises(XfmError, match="3 classes are named, and the data has 2"):
        run("zero_shot", forward, data, classes=("a", "b", "c"))


class Sentences(Rows):
    """One sentence of three words, of which the last has no token, and one of two."""

    truth = [["B-A", "I-A", "O"], ["B-B", "O"]]

    def words(self, index):
        return index, ({0: 1, 1: 3}, {0: 2, 1: 0})[index]


def test_tags():
    """The first entity is right, the second has the wrong type; four of five words are right."""
    rows, names = Sentences(tokens=np.full((2, 4), CAT)), ("O", "B-A", "I-A", "B-B")
    predicted = np.full((2, 4), 3)  # B-B wherever no word is judged
    predicted[0, [1, 3]], predicted[1, [2, 0]] = (1, 2), (1, 0)
    found = run(
        "tags", outputs(tags=np.eye(4)[predicted]), data_of(rows, classes=names), scores=("entities", "accuracy")
    )
    assert found == dict(entity_precision=0.5, entity_recall=0.5, entity_f1=0.5, accuracy=0.8)


class Questions(Rows):
    """The first question has two windows of its context, one token a letter, after one other token; the second one."""

    questions = [
        types.SimpleNamespace(text="which?", context="abcdef", answers=[("de", 3)]),
        types.SimpleNamespace(text="none?", context="abcdef", answers=[]),
    ]

    def start(self, index):
        return 1

    def characters(self, index):
        first = (0, 2, 0)[index]
        return (0, 0, 1)[index], np.stack([np.arange(first, first + 4), np.arange(first, first + 4) + 1], 1)


def test_spans():
    """The best span of both windows is "de"; "no answer" is given where it is better by more than the threshold."""
    scores = np.zeros((3, 5, 2))
    scores[0, 1, 0] = scores[0, 2, 1] = 1.0  # "ab", of 2
    scores[1, 2, 0] = scores[1, 3, 1] = 2.0  # "de", of 4
    scores[:, 0] = [[3.0, 3.0], [1.5, 1.5], [0.5, 0.5]]  # no answer: 3, the lesser of the windows'; and 1
    forward, data = outputs(span=scores), data_of(Questions(tokens=np.zeros((3, 5), int)))
    assert EVALUATORS["spans"](batch=2).answers(forward, {}, data, MESH) == ["de", ""]
    assert run("spans", forward, data) == dict(exact_match=1.0, f1=1.0)
    assert EVALUATORS["spans"](batch=2, threshold=-1.5).answers(forward, {}, data, MESH) == ["", ""]
    assert EVALUATORS["spans"](batch=2, threshold=1.5).answers(forward, {}, data, MESH) == ["de", "a"]
    assert shown("spans", forward, data, shown=1) == ["which?\n    'de'; it is 'de'"]


def test_nearest():
    """By loops: a query's positive is ranked among all, and pairs with scores are compared with these."""
    x = np.random.default_rng(0).normal(size=(30, 2, 3)).astype(np.float32)
    tokens = np.full((30, 4), CAT)
    rows = Rows(**{f"{prefix}{name}": tokens for prefix in ("", "positive/") for name in ("tokens", "segments")})
    for i, row in enumerate(rows):
        row["positive/row"] = np.int32(i)

    def forward(name, params, batch):
        which = jnp.repeat(jnp.arange(2)[None], len(batch["row"]) // 2, axis=0).reshape(-1)
        return {"vector": jnp.asarray(x)[batch["row"], which]}, {}

    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    rank = np.array([sum(unit[i, 0] @ other[1] >= unit[i, 0] @ unit[i, 1] for other in unit) for i in range(30)])
    found = run("nearest", forward, data_of(rows))
    assert 0 < (rank <= 1).mean() < (rank <= 10).mean() < 1
    expected = dict(recall_at_1=(rank <= 1).mean(), recall_at_10=(rank <= 10).mean(), mrr=(1 / rank).mean())
    assert found == pytest.approx(expected)
    labels = np.linspace(0, 1, 30, dtype=np.float32)
    for row, label in zip(rows, labels, strict=True):
        row["labels"] = label
    pearson = np.corrcoef((unit[:, 0] * unit[:, 1]).sum(-1), labels)[0, 1]
    assert run("nearest", forward, data_of(rows))["pearson"] == pytest.approx(pearson, abs=1e-5)


def chances(truths, ranks):
    """[rows 1 V]: logits by which each truth has that rank among the words."""
    out = np.zeros((len(truths), 1, len(WORDS)))
    for i, (truth, rank) in enumerate(zip(truths, ranks, strict=True)):
        order = [word for word in range(len(WORDS)) if word != truth]
        order.insert(rank - 1, truth)
        out[i, 0, order] = -np.arange(len(WORDS))
    return out


def texts(*words):
    """Rows of which the fourth token is such a word."""
    return Rows(tokens=[[2, 2, 7, word, 7, 7] for word in words])


def test_masked_words():
    """Gaps at the words that are common; the model reads a mask there, and is asked there alone."""
    truths = [CAT, CAT, DOG, CAT, DOG, BIRD]
    rows, ranks = texts(*truths), [1, 5, 6, 2, 1, 1]
    rows[-1]["tokens"][3] = 7  # a row without a word
    table = chances(truths, ranks)

    def forward(name, params, batch):
        at, tokens = batch["at"], batch["tokens"]
        right = (at == 3) & (jnp.take_along_axis(tokens, at, axis=1) == 1) & ((tokens == 1).sum(1, keepdims=True) == 1)
        return {"mlm": jnp.where(right[..., None], jnp.asarray(table)[batch["row"]], jnp.nan)}, {}

    train = texts(CAT, CAT, CAT, DOG, DOG, BIRD)
    for row in train:
        row["tokens"] = np.where(row["tokens"] == 2, 7, row["tokens"])
    data = data_of(rows, train=train)
    found = run("masked_words", forward, data, common=2)
    assert found == pytest.approx(dict(word_accuracy=2 / 5, word_accuracy_top5=4 / 5, commonest_word=3 / 5))
    (first, *_, last) = shown("masked_words", forward, data, common=2, shown=4)
    assert first.splitlines()[0] == "… the the ! [MASK] ! ! …"
    likely = np.exp(-np.arange(8.0)) / np.exp(-np.arange(8.0)).sum()
    assert f"predictions: 'cat' {likely[0]:.0%}, '[pad]' {likely[1]:.0%}, " in first and first.endswith("'cat', rank 1")
    assert last.endswith("it was 'cat', rank 2")
    with pytest.raises(XfmError, match="none of the 1 most common words is in the validation rows"):
        run("masked_words", forward, data_of(texts(BIRD), train=train), common=1)


def test_permuted_words():
    """The word is asked for after all others have been read."""
    table = chances([HORSE], [3])

    def forward(name, params, batch):
        right = (batch["asked"] == 3) & (batch["order"] == jnp.array([0, 0, 0, 1, 0, 0])).all(1, keepdims=True)
        return {"lm": jnp.where(right[..., None], jnp.asarray(table)[batch["row"]], jnp.nan)}, {}

    (line,) = shown("permuted_words", forward, data_of(texts(HORSE)), shown=1)
    assert line.endswith("it was 'horse', rank 3")


def test_replaced_words():
    """The generator's word is never the text's own, however sure the generator is of that."""
    rows, logits = texts(HORSE), np.full((1, 1, len(WORDS)), -50.0)
    logits[0, 0, HORSE], logits[0, 0, DOG] = 50.0, 0.0

    def forward(name, params, batch):
        if name == "generator":
            masked = jnp.take_along_axis(batch["tokens"], batch["at"], axis=1) == 1
            return {"mlm": jnp.where(masked[..., None], jnp.asarray(logits)[batch["row"]], jnp.nan)}, {}
        return {"replaced": jnp.where(batch["tokens"] == DOG, 3.0, -3.0)}, {}

    (line,) = shown("replaced_words", forward, data_of(rows), shown=1)
    assert line.splitlines() == [
        "… the the ! [____] ! ! …",
        "    probability of being replaced: 95% for the generator's 'dog', 5% for the text's own 'horse'",
    ]


def regression(x, labels, penalty):
    """Kernel and bias of the penalised logistic regression, by plain gradient descent in float64."""
    kernel, bias, truth = np.zeros((x.shape[1], labels.max() + 1)), np.zeros(labels.max() + 1), np.eye(3)[labels]
    for _ in range(3000):
        chances = np.exp(x @ kernel + bias)
        apart = (chances / chances.sum(1, keepdims=True) - truth) / len(x)
        kernel, bias = kernel - 0.5 * (x.T @ apart + penalty * kernel), bias - 0.5 * apart.sum(0)
    return kernel, bias


def test_linear_probe():
    """Of means over tokens, in units of the training rows' deviations, without which the penalty hides the second.

    Of one row of each of two classes, the border is half-way in these units, where the rows are at 1 and -1.
    """
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    middle = np.array([[0, 0], [40, 0.0], [20, 0.03]])[labels] + rng.normal(size=(60, 2)) * [15, 0.015]
    spread = rng.normal(size=(60, 1, 2)) * [90, 0.9]
    hidden = middle[:, None] + np.concatenate([spread, -spread], 1)  # two tokens, of which neither tells classes apart
    rows, forward, penalty = Rows(labels=labels), outputs(hidden=hidden.astype(np.float32)), 0.3
    data = data_of(rows[30:], train=rows[:30])
    mean, deviation = middle[:30].mean(0), middle[:30].std(0)
    scaled = (middle - mean) / deviation
    kernel, bias = regression(scaled[:30], labels[:30], penalty)
    right = ((scaled[30:] @ kernel + bias).argmax(1) == labels[30:]).mean()
    kernel_of_raw, bias_of_raw = regression((middle - mean)[:30] / 40, labels[:30], penalty)
    assert right - 0.1 > (((middle - mean)[30:] / 40 @ kernel_of_raw + bias_of_raw).argmax(1) == labels[30:]).mean()
    assert run("linear_probe", forward, data, penalty=penalty) == pytest.approx(dict(probe_accuracy=right))
    assert run("linear_probe", forward, data, penalty=penalty, features="cls")["probe_accuracy"] < right - 0.1

    more = np.concatenate([scaled[:30], np.full((2, 2), 9.0)]).astype(np.float32)  # which weigh nothing
    weights = (np.arange(32) < 30).astype(np.float32)
    fit = jax.jit(fitted, static_argnums=(3, 4, 5))(more, np.pad(labels[:30], (0, 2)), weights, 3, penalty, 100)
    np.testing.assert_allclose(fit[0], kernel, atol=1e-4)
    np.testing.assert_allclose(fit[1], bias, atol=1e-4)

    # The border is x / 4 + y = 1 for the first row of either class; the second ones are not read.
    x = np.array([[0, 0], [4, 1], [-50, -9], [99, 0], [1, 0.9], [3, 0.1], [3, 0.4], [1, 0.6]])
    rows = Rows(labels=[0, 1, 0, 1, 1, 0, 1, 0])
    found = run("linear_probe", outputs(vector=x), data_of(rows[4:], train=rows[:4]), features="vector", shots=1)
    assert found == dict(probe_accuracy_1_shots=1.0)
    far = np.array([5.0, -9.0])  # of a map the mean over positions counts, and no position by itself
    maps = x[:, None, None] + np.stack([far, -far])[:, None]
    found = run("linear_probe", outputs(map=maps), data_of(rows[4:], train=rows[:4]), features="map", shots=1)
    assert found == dict(probe_accuracy_1_shots=1.0)


def test_training_rows_are_read_like_those_of_validation():
    """Not in the size in which augmentation crops them, where a source reads them in both ways."""

    class Larger(Rows):
        def plain(self):
            return smaller[:2]

    x = np.array([[0.0], [4.0], [1.0], [3.0]])
    smaller, larger = Rows(labels=[0, 1, 0, 1]), Larger(labels=[1, 0])
    found = run("linear_probe", outputs(vector=x), data_of(smaller[2:], train=larger), features="vector")
    assert found == dict(probe_accuracy=1.0)


def test_nearest_rows():
    """Queries at 0 and 90 degrees: at a low temperature the nearest row outvotes the next two; lengths do not count."""
    degrees, lengths = np.array([10, 40, 45, 130, 0, 90]), np.array([1, 9, 0.1, 5, 2, 3])
    x = lengths[:, None] * np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)
    rows, forward = Rows(labels=[0, 1, 1, 2, 0, 2]), outputs(hidden=np.stack([x + [5, 0], x - [5, 0]], 1))
    data = data_of(rows[4:], train=rows[:4])
    # At 0 exp(0.985 / t) against exp(0.766 / t) + exp(0.707 / t); at 90 exp(0.766 / t) against exp(0.707 / t) +
    # exp(0.643 / t), for which 0.2 is not low enough, and 0.07, the default, is.
    for fields, right in (
        (dict(k=3), 1.0), (dict(k=3, temperature=0.2), 0.5), (dict(k=3, temperature=1.0), 0.0),
        (dict(k=1, temperature=1.0), 1.0), (dict(k=99, temperature=0.2), 0.5),
    ):  # fmt: skip
        assert run("nearest_rows", forward, data, **fields) == dict(knn_accuracy=right), fields
    assert shown("nearest_rows", forward, data, shown=2) == [
        "validation row 0 is of class 0; the nearest training rows are of 0, 1, 1",
        "validation row 1 is of class 2; the nearest training rows are of 2, 1, 1",
    ]


def test_image_quality():
    """Of grey levels in [0, 1], off by 0.1 everywhere (20 dB), and by 0.5 in one of four pixels (10 log10 16 dB).

    The border alone differs in the third image. Numbers beyond white count as white.
    """
    true = np.full((3, 4, 4, 1), 0.5, np.float32)
    made = true.copy()
    made[0] += 0.1
    made[1, :2, :2] += np.float32(3.0)
    made[2, 0] = 0.3
    given = (true - 0.4) / 0.2  # as the data is normalised
    rows = Rows(images=given, **{"target/images": given})
    forward, fields = outputs(pixels=(made - 0.4) / 0.2), dict(mean=0.4, std=0.2, shown=2)
    few = data_of(Rows(images=given[:2] + 0.5, **{"target/images": given[:2]}))  # which is off by 0.1
    found = run("image_quality", forward, few, **fields)
    assert found == pytest.approx(dict(psnr=(20 + 10 * math.log10(16)) / 2, psnr_bicubic=20), rel=1e-4)
    lines = shown("image_quality", forward, few, **fields)
    assert lines == ["validation row 0: 20.0 dB, bicubic 20.0 dB", "validation row 1: 12.0 dB, bicubic 20.0 dB"]
    rows[2]["images"] = given[2]
    assert run("image_quality", forward, data_of([rows[2]]), border=1, **fields) == {}
    picture = EVALUATORS["image_quality"](batch=2, **fields).pictures(forward, {}, {}, few, MESH)["images"]
    assert picture.shape == (2 * (4 * 32 + 2), 3 * (4 * 32 + 2), 1)
    red = np.zeros((1, 2, 2, 3), np.float32) + np.float32([1, 0, 0])
    assert luminance(red)[0, 0, 0] == pytest.approx(65.481 / 255) and luminance(red[..., :1]) is not red
    assert float(luminance(np.ones((1, 1, 1, 3)))[0, 0, 0, 0]) == pytest.approx(219 / 255)


def test_reconstructions():
    """Images of equal patches 0 2 2 8, of mean 3, squared deviations of mean 9 and unbiased variance 12; and 1.5 times.

    Half a deviation too much everywhere adds 0.25 * 12 to the squares. What a network says of visible patches is not
    read.
    """
    patch = np.array([[0, 2], [2, 8.0]], np.float32)
    images = np.stack([np.tile(patch, (2, 3)), 1.5 * np.tile(patch, (2, 3))])[..., None]
    rows = Rows(images=images)

    def forward(name, params, batch):
        known = batch["visible"].shape == batch["predicted"].shape == (batch["images"].shape[0], 3)
        told = jnp.full((*batch["visible"].shape, 4), jnp.nan)
        return {"patches": jnp.concatenate([told, jnp.full_like(told, 0.5 if known else jnp.nan)], 1)}, {}

    fields = dict(patch=2, rate=0.5, shown=2)
    assert shown("reconstructions", forward, data_of(rows), **fields) == [
        "validation row 0: hidden pixels are off by 12.000, their mean by 9.000",
        "validation row 1: hidden pixels are off by 27.000, their mean by 20.250",
    ]
    (line, _) = shown("reconstructions", forward, data_of(rows), **fields, scale="image")  # 2.5 too little everywhere
    assert line == "validation row 0: hidden pixels are off by 15.250, their mean by 9.000"
    picture = EVALUATORS["reconstructions"](batch=2, **fields).pictures(forward, {}, {}, data_of(rows), MESH)
    large = picture["reconstructions"].reshape(2, 4 * 32 + 2, 3, 6 * 32 + 2)[:, 1:-1, :, 1:-1].transpose(2, 0, 1, 3)
    grey, filled, whole = columns = large[:, :, ::32, ::32]
    np.testing.assert_array_equal(large, columns.repeat(32, 2).repeat(32, 3))  # each pixel a square
    np.testing.assert_array_equal(whole, np.round(255 * images[..., 0] / 12))
    hidden = grey == 128  # the middle between 0 and 12, which no pixel has
    by_patch = hidden.reshape(2, 2, 2, 3, 2).sum((2, 4))
    assert set(by_patch.ravel()) == {0, 4} and (by_patch.sum((1, 2)) == 3 * 4).all()
    np.testing.assert_array_equal(grey[~hidden], whole[~hidden])
    level = (3 + 0.5 * math.sqrt(12)) * np.array([1, 1.5])[:, None, None] / 12
    np.testing.assert_array_equal(filled, np.where(hidden, np.round(255 * level), whole))
