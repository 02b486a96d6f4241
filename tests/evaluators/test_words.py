"""Words of validation rows to show."""

import types

import numpy as np
import pytest

from xfm.evaluators.text import word_rows
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
    found = list(word_rows(data(words), 3))
    assert len(found) == 3
    assert [words[place] for _, place in found] == [word] * 3


def test_no_word_no_example():
    assert not list(word_rows(data(["", "(", ")", " ", ":"]), 3))
