"""What the header of a run says."""

from types import SimpleNamespace

import numpy as np

from xfm.data.source import Arrays, Data
from xfm.train.report import header


def test_the_header_says_what_was_left_out_of_the_data():
    rows = Arrays({"labels": np.zeros(3, np.int32)})
    data = Data(rows, rows, None, None, "", notes=("images left out: 2 .gif",))
    settings = SimpleNamespace(steps=1, batch=1, sharding="replicated")
    mesh = SimpleNamespace(shape={"data": 1, "model": 1})
    lines = header("run", {"objective": {"kind": "classification"}}, {}, (), data, settings, mesh)
    assert lines[-1] == "images left out: 2 .gif"
