"""What the header of a run says."""

from types import SimpleNamespace

import numpy as np
import pytest

from xfm.batch import with_prefix
from xfm.data.source import Arrays, Data
from xfm.train.report import header


def test_the_header_says_what_was_left_out_of_the_data():
    rows = Arrays({"labels": np.zeros(3, np.int32)})
    data = Data(rows, rows, None, None, "", notes=("images left out: 2 .gif",))
    settings = SimpleNamespace(steps=1, batch=1, sharding="replicated")
    mesh = SimpleNamespace(shape={"data": 1, "model": 1})
    lines = header("run", {"objective": {"kind": "classification"}}, {}, (), data, settings, mesh)
    assert lines[-1] == "images left out: 2 .gif"


@pytest.mark.parametrize(
    "lengths,words",
    [({}, "3 training rows, 3"), ({"": 6}, "rows of 6 tokens (18, 50% padding)"),
     ({"": 6, "positive": 6}, "rows of 2 × 6 tokens (36, 50% padding)"),
     ({"": 6, "answer": 8}, "rows of 6 + 8 tokens (42, 50% padding)")],
)  # fmt: skip
def test_the_header_counts_the_tokens_of_all_texts_of_a_row(lengths, words):
    arrays = {"labels": np.zeros(3, np.int32)}
    for prefix, length in lengths.items():
        half = np.tile(np.arange(length) % 2, (3, 1))
        arrays |= with_prefix(prefix, {"tokens": half, "segments": half})
    rows = Arrays(arrays)
    settings = SimpleNamespace(steps=1, batch=1, sharding="replicated")
    mesh = SimpleNamespace(shape={"data": 1, "model": 1})
    objective = {"objective": {"kind": "classification"}}
    assert words in header("run", objective, {}, (), Data(rows, rows, None, None, ""), settings, mesh)[1]
