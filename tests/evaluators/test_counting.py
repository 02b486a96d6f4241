"""Entities and answers, counted as the shared tasks count them: by worked examples."""

import numpy as np
import pytest

from xfm.evaluators.entities import entities, entity_scores
from xfm.evaluators.spans import best_span, exact_match, word_f1


# By hand, after conlleval's rules: a type or a B begins a new entity, an I after an O does too (IOB1).
@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O I-LOC", {("PER", 1, 2), ("LOC", 4, 4)}),
        ("B-PER B-PER I-PER", {("PER", 0, 0), ("PER", 1, 2)}),
        ("I-PER I-LOC I-LOC", {("PER", 0, 0), ("LOC", 1, 2)}),
        ("B-A I-A E-A S-A B-B E-B I-B", {("A", 0, 2), ("A", 3, 3), ("B", 4, 5), ("B", 6, 6)}),
        ("U-A B-A L-A O", {("A", 0, 0), ("A", 1, 2)}),
        ("B-a-b I-a-b", {("a-b", 0, 1)}),
        ("", set()),
        ("O O", set()),
    ],
)
def test_entities(tags, found):
    assert entities(tags.split()) == found


def test_entity_scores():
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG"]]
    guess = [["B-PER", "I-PER", "O", "O"], ["B-LOC"]]  # one of three found, one of two right
    scores = entity_scores(truth, guess)
    assert scores == {"entity_precision": 1 / 2, "entity_recall": 1 / 3, "entity_f1": 2 / 5}
    assert entity_scores([["O"]], [["O"]])["entity_f1"] == 0.0


# Worked by hand from SQuAD's definition of normalisation.
@pytest.mark.parametrize(
    ("guess", "truths", "exact", "f1"),
    [
        ("The Cat.", ["cat"], 1, 1),
        ("a black cat", ["black dog", "the cat"], 0, 2 / 3),
        ("", [""], 1, 1),
        ("", ["cat"], 0, 0),
        ("cat cat dog", ["cat"], 0, 0.5),
    ],
)
def test_answers_as_squad_scores_them(guess, truths, exact, f1):
    assert exact_match(guess, truths) == exact and word_f1(guess, truths) == pytest.approx(f1)


@pytest.mark.parametrize("longest", [1, 3, 20])
def test_best_span_is_the_best_of_all(longest):
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=(9, 2))
        every = {(i, j): scores[i, 0] + scores[j, 1] for i in range(9) for j in range(i, min(i + longest, 9))}
        value, first, last = best_span(scores, longest)
        assert (first, last) == max(every, key=every.get) and value == pytest.approx(max(every.values()))
