"""Words of validation rows to show."""

import types

import numpy as np
import pytest

from xfm.errors import XfmError
from xfm.evaluators.scores import ranks
from xfm.evaluators.text import common_words, long_word, one_of, word_rows
from xfm.vocabulary import Vocabulary

TEXT = ["def", " ", "open", "(", "path", ")", ":"]


class Words:
    """A tokeniser of a list of words, or of single letters."""

    def __init__(self, words):
        self.words = words

    def decode(self, ids):
        return "".join(self.words[i] for i in ids)


def data(words):
    rows = [{"tokens": np.arange(len(words))} for _ in range(9)]
    vocabulary = Vocabulary(size=len(words), special=(0,))
    return types.SimpleNamespace(valid=rows, tokenizer=Words(words), vocabulary=vocabulary)


@pytest.mark.parametrize(
    "words, word",
    [
        (["", *TEXT], "path"),  # of four letters
        (["", *TEXT[:-3], "to", "paths", "a", "b"], "paths"),
        (["", *"def open(ab):"], "e"),  # letters alone: the first of the second half
    ],
)
def test_examples_show_a_word_of_the_second_half(words, word):
    found = list(word_rows(data(words), 3, long_word(data(words))))
    assert len(found) == 3
    assert [words[position] for _, position in found] == [word] * 3


def test_the_words_are_spread_over_the_rows():
    many = data(["", *TEXT])
    many.valid = [{"tokens": np.arange(len(TEXT) + 1), "number": i} for i in range(400)]
    numbers = [row["number"] for row, _ in word_rows(many, 4, long_word(many))]
    np.testing.assert_allclose(numbers, [0, 100, 200, 300], atol=8)
    few = [row["number"] for row, _ in word_rows(many, 400, long_word(many))]
    assert sorted(few) == list(range(400)), "each row once"


def test_no_word_no_example():
    marks = data(["", "(", ")", " ", ":"])
    assert not list(word_rows(marks, 3, long_word(marks)))


def test_common_words_are_those_of_the_training_rows():
    some = data(["", "for", "def", "self", "in", "("])
    some.train = [{"tokens": np.array([3, 3, 3, 2, 2, 4, 4, 4, 4, 5, 5, 5, 5, 5, 0, 0, 0, 0, 0, 0])}]
    assert common_words(some, 8) == [3, 2], "words of three letters that occur, the commonest first"
    assert common_words(some, 1) == [3]
    found = list(word_rows(some, 2, one_of([3])))
    assert [position for _, position in found] == [3, 3]
    assert not list(word_rows(some, 2, one_of([1]))), "the first half of a row is left to the context"


def test_a_tokeniser_without_words_is_named():
    some = data(["", *"def open(ab):"])
    some.train = some.valid
    with pytest.raises(XfmError, match="asks for common words, and no token of this tokeniser is a word of three"):
        common_words(some, 8)


def test_the_rank_of_the_likeliest_is_one():
    likely = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    assert ranks(likely, np.array([1, 1])).tolist() == [1, 3]
    for same in (1.0, np.nan):
        assert ranks(np.full((1, 3), same), [0]).tolist() == [3], "a network that predicts nothing is not the best"
