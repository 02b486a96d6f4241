"""Prefixes: a second text or tower of a batch."""

import jax.numpy as jnp
import numpy as np
import pytest

from xfm.batch import over_parts, part_of, prefixes, texts_of_row, with_prefix
from xfm.errors import XfmError

BATCH = {"tokens": 1, "weights": 2, "target/tokens": 3, "target/inner/images": 4}


def test_a_part_has_the_names_of_a_batch():
    assert prefixes(BATCH) == ("", "target", "target/inner")
    assert part_of(BATCH, "") == {"tokens": 1, "weights": 2}
    assert part_of(BATCH, "target") == {"tokens": 3} and part_of(BATCH, "target/inner") == {"images": 4}
    again = [with_prefix(prefix, part_of(BATCH, prefix)) for prefix in prefixes(BATCH)]
    assert {name: x for part in again for name, x in part.items()} == BATCH


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(XfmError, match="the batch has no arrays 'source/…'; it has tokens, weights, target/tokens"):
        part_of(BATCH, "source")


def test_prefixes_of_compared_texts():
    assert texts_of_row(2) == ("", "positive")
    assert texts_of_row(5) == ("", "positive", "negative", "negative_2", "negative_3")


def test_parts_of_one_shape_are_one_batch():
    """The texts of a row follow each other; what only some parts have is left out."""
    one, two = (jnp.arange(6).reshape(3, 2) + start for start in (0, 10))
    parts = [{"tokens": one, "labels": jnp.zeros(3)}, {"tokens": two}]
    whole = over_parts(lambda part, number: (set(part), part["tokens"], number), parts)
    assert whole[0] == {"tokens"} and whole[2] == 0
    np.testing.assert_array_equal(whole[1].reshape(3, 2, 2), np.stack([one, two], 1))
    longer = over_parts(lambda part, number: (number, part["tokens"].shape), [parts[0], {"tokens": jnp.zeros((3, 5))}])
    assert longer == [(0, (3, 2)), (1, (3, 5))]
    laid = [{**part, "cells": jnp.zeros((1, 1, 6))} for part in parts]
    assert len(over_parts(lambda part, number: part, laid)) == 2
