"""For every evaluator: eight devices find and show what one does, whatever the batch; what it is refused for.

A new evaluator needs an example here.
"""

import types

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from tests.drawn import run
from tests.objectives.test_rows import VOCABULARY, B, V, example
from xfm.data.source import Arrays
from xfm.errors import XfmError
from xfm.evaluators import EVALUATORS, build_evaluators
from xfm.evaluators.rows import spread
from xfm.evaluators.scores import CLASSES, scored
from xfm.moved import MEASURED, renewed
from xfm.objectives import OBJECTIVES
from xfm.spec import build
from xfm.tokenizers import Joined

# kind -> (fields, the example of an objective in test_rows)
EXAMPLES = {
    "classes": [(dict(scores=["accuracy", "macro_f1"]), "classification"), ({}, "classification of images")],
    "numbers": [({}, "regression")],
    "tags": [(dict(scores=["entities", "accuracy"], excerpt=4), "tagging")],
    "spans": [(dict(longest=5, threshold=-1.0), "span")],
    "masks": [(dict(ignore=4), "segmentation")],
    "number_of_clicks": [(dict(ignore=4, clicks=3, thresholds=[0.2, 0.5], shown=2), "clicks")],
    "nearest": [({}, "retrieval"), ({}, "retrieval of scores")],
    "masked_words": [(dict(shown=2), "masked_lm")],
    "permuted_words": [({}, "permutation_lm")],
    "replaced_words": [({}, "replaced_token")],
    "linear_probe": [
        (dict(steps=8), "classification of images"),
        (dict(features="cls", shots=1, steps=8), "classification of images"),
        (dict(features="label", steps=8), "classification of images"),
    ],
    "nearest_rows": [(dict(k=2), "classification of images")],
    "zero_shot": [(dict(prompts=["a {}", "the {}"], shown=2), "similarity")],
    "reconstructions": [(dict(patch=2, rate=0.5, shown=2), "masked_images")],
    "image_quality": [
        (dict(given=dict(kind="reduced"), mean=0.4, std=0.3, shown=2, border=1), "image_to_image"),
        (dict(of="luminance", shown=2), "image_to_image of pairs"),
    ],
    "continuations": [(dict(prompt=4, length=3), "causal_lm")],
}
CASES = [(kind, *one) for kind, examples in EXAMPLES.items() for one in examples]


class Words:
    """A tokeniser whose ids are words of five letters."""

    def decode(self, ids):
        return " ".join(f"word{chr(97 + int(i))}" for i in ids)

    def joined(self, texts, length):
        ids = [np.array([ord(letter) % V for letter in text][:length], np.int32) for text in texts[0]]
        return [Joined(one, np.zeros_like(one), False) for one in ids]


class Rows(Arrays):
    """Rows that are sentences as well, a word for each token, and questions, each with its row as the context."""

    @property
    def truth(self):
        return [["B-A", "I-A", "O", "O"] for _ in range(B)]

    def words(self, index):
        return index, {word: word for word in range(3)}

    @property
    def questions(self):
        return [
            types.SimpleNamespace(context="abcdefghijkl", answers=[("cd", 2)] if i else [], text=f"what is {i}?")
            for i in range(B)
        ]

    def start(self, index):
        return 1

    def characters(self, index):
        return index, np.stack([np.arange(4), np.arange(1, 5)], 1)


def data_of(batch):
    labels = {"labels": np.arange(B) % 3} if "text/tokens" in batch else {}
    rows = Rows({name: np.asarray(x) for name, x in batch.items()} | labels)
    tokenizer = Words() if {"tokens", "text/tokens"} & batch.keys() else None
    classes = ("B-A", "I-A", "O")
    return types.SimpleNamespace(
        train=rows, valid=rows, tokenizer=tokenizer, vocabulary=VOCABULARY, classes=classes, fingerprint=""
    )


def mesh(ways):
    return Mesh(np.array(jax.devices()[:ways]).reshape(ways, 1), ("data", "model"))


def test_every_evaluator_has_an_example():
    assert EXAMPLES.keys() == EVALUATORS.keys()


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
@pytest.mark.parametrize("kind,fields,name", CASES, ids=[f"{kind} {name}" for kind, _, name in CASES])
def test_eight_devices_find_what_one_finds(kind, fields, name):
    one, params, batch = example(name)
    data, seen = data_of(batch), []
    for ways, rows in ((1, 4), (8, B)):
        (evaluator,) = build_evaluators([dict(kind=kind, **fields)], rows)
        assert evaluator.batch == rows
        found = (one.forward, params, {}, data, mesh(ways))
        seen.append((evaluator.run(*found), evaluator.examples(*found)))
    (alone, shown), (spread, same) = seen
    assert spread == pytest.approx(alone, rel=1e-5) and same == shown
    assert alone or shown, "it finds nothing"
    assert all(np.isfinite(value) for value in alone.values()) and all(isinstance(line, str) for line in shown)
    assert len(shown) == getattr(evaluator, "shown", 0)


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_each_device_holds_its_share_of_the_rows():
    batch = spread([{"x": np.full(3, i)} for i in range(16)], mesh(8))
    assert [shard.data.tolist() for shard in batch["x"].addressable_shards] == [
        [[i] * 3, [i + 1] * 3] for i in range(0, 16, 2)
    ]


def test_continuations_are_the_likeliest_tokens():
    one, params, batch = example("causal_lm")
    (evaluator,) = build_evaluators([dict(kind="continuations", prompt=4, length=2, shown=1)], 4)
    tokens = np.asarray(batch["tokens"][:1, :4])
    for _ in range(2):
        likeliest = np.asarray(run(one.model, {"params": params}, {"tokens": tokens})["lm"])[:, -1].argmax(-1)
        tokens = np.concatenate([tokens, likeliest[:, None]], 1)
    (line,) = evaluator.examples(one.forward, params, {}, data_of(batch), mesh(1))
    assert line == f"… {Words().decode(tokens[0, :4])} | {Words().decode(tokens[0, 4:])} …"


MISTAKES = {
    "no list": ("classes", "evals is a list of evaluators, such as .* not 'classes'"),
    "no spec": (["classes"], "config.evals: a spec of slot 'evaluator' is a mapping with a 'kind', not 'classes'"),
    "no kind": ([dict(kind="clases")], r"slot 'evaluator' has no kind 'clases' \(did you mean 'classes'\?\)"),
    "no field": ([dict(kind="classes", score=["f1"])], r"has no field 'score' \(did you mean 'scores'\?\)"),
    "no score": ([dict(kind="classes", scores=["f1s"])], r"classes: no score 'f1s' .*; there are accuracy, f1, "),
    "no score of tags": ([dict(kind="tags", scores=["entity"])], r"tags: no score 'entity' \(did you mean 'entities'"),
    "no score of numbers": ([dict(kind="numbers", scores=["r"])], "numbers: no score 'r'; there are pearson, spearman"),
    "no name": ([dict(kind="zero_shot", prompts=["a photo"])], "zero_shot: prompts=.* must be sentences with {}"),
    "no rows": ([dict(kind="numbers", batch=0)], "evaluator 'numbers': batch is 0; it must be a whole number"),
}


@pytest.mark.parametrize("specs,words", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_sentence(specs, words):
    with pytest.raises(XfmError, match=words) as error:
        build_evaluators(specs, 8)
    assert "\n" not in str(error.value)


# (the spec, the example of an objective in test_rows, words of the error)
LACKS = {
    "a misspelt head": (dict(kind="classes", scores=["accuracy"], head="lable"), "classification", "mean 'label'"),
    "classes": (dict(kind="classes", scores=["accuracy"]), "causal_lm", "'model' has no output 'label'.*hidden, lm"),
    "numbers": (dict(kind="numbers"), "causal_lm", "has no output 'label'"),
    "tags": (dict(kind="tags"), "causal_lm", "has no output 'tags'"),
    "spans": (dict(kind="spans"), "causal_lm", "has no output 'span'"),
    "nearest": (dict(kind="nearest"), "causal_lm", "has no output 'vector'"),
    "masks": (dict(kind="masks"), "classification of images", "has no output 'mask'"),
    "number_of_clicks": (dict(kind="number_of_clicks", head="label"), "clicks", "has no output 'label'"),
    "zero_shot": (dict(kind="zero_shot"), "causal_lm", "zero_shot needs data with the names of classes"),
    "continuations": (dict(kind="continuations"), "masked_lm", "has no output 'lm'"),
    "masked_words": (dict(kind="masked_words"), "causal_lm", "has no output 'mlm'"),
    "permuted_words": (dict(kind="permuted_words"), "causal_lm", "the head 'lm' does not predict the one word that"),
    "replaced_words": (dict(kind="replaced_words"), "causal_lm", "has no network 'generator'; it has model"),
    "words": (dict(kind="masked_words"), "classification of images", "of words, and this data has no text"),
    "text": (dict(kind="continuations"), "classification of images", "of words, and this data has no text"),
}


@pytest.mark.parametrize("spec,name,words", LACKS.values(), ids=LACKS)
def test_what_an_evaluator_lacks_is_one_sentence(spec, name, words):
    one, params, batch = example(name)
    (evaluator,) = build_evaluators([spec], 4)
    with pytest.raises(XfmError, match=words):
        evaluator.run(one.forward, params, {}, data_of(batch), mesh(1))
        evaluator.examples(one.forward, params, {}, data_of(batch), mesh(1))


def test_no_row_is_shown_twice():
    one, params, batch = example("classification of images")
    (evaluator,) = build_evaluators([dict(kind="classes", shown=9)], 4)
    shown = evaluator.examples(one.forward, params, {}, data_of(batch), mesh(1))
    assert [line.partition(":")[0] for line in shown] == [f"validation row {i}" for i in range(B)]


@pytest.mark.parametrize("kind,field", MEASURED)
def test_fields_that_were_an_objectives_are_found_in_their_evaluator(kind, field):
    """A spec is told where they went, and a run of an earlier version is evaluated as it was."""
    value = ["accuracy"] if kind == "tagging" else [] if field == "scores" else 2
    moved = dict(kind=MEASURED[kind, field])
    with pytest.raises(
        XfmError, match=f"no field '{field}'; it is a field of an evaluator now: set config.evals="
    ) as e:
        build(OBJECTIVES, {"kind": kind, field: value}, model=None)
    assert str({**moved, field: value}) in str(e.value)
    before = dict(objective={"kind": kind, "sown": {}, field: value}, batch=4)
    after = renewed(before)
    assert after == dict(objective=dict(kind=kind, sown={}), evals=[{**moved, field: value}], batch=4)
    assert getattr(build_evaluators(after["evals"], 4)[0], field) == (tuple(value) if field == "scores" else value)
    assert renewed(after) == after and renewed({**before, "evals": []}) == {**before, "evals": []}


def test_a_score_that_these_classes_do_not_have_is_named():
    with pytest.raises(XfmError, match="the score 'f1' cannot be computed: Target is multiclass but average='binary'"):
        scored(["f1"], CLASSES, np.arange(3), np.arange(3))


assert V <= 26  # a letter for each word
