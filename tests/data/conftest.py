"""Small real inputs that the tests of the data share."""

import json

import numpy as np
import pytest


@pytest.fixture
def prose(tmp_path):
    """A folder of forty short documents, in two folders and of two suffixes."""
    folder = tmp_path / "prose"
    for i in range(40):
        path = folder / ("a" if i % 2 else "b") / f"page{i}.{'md' if i % 3 else 'txt'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Page {i} tells of number {i * i}.\n\nIts second part: über {i}!\n" * 4)
    return folder


@pytest.fixture
def lines(tmp_path):
    """A .jsonl file of a hundred documents under the field `body`."""
    folder = tmp_path / "lines"
    folder.mkdir()
    records = [json.dumps({"id": i, "body": f"line {i} of a hundred " * 3}) for i in range(100)]
    (folder / "all.jsonl").write_text("\n".join(records) + "\n")
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes with twenty images each, of several shapes and modes."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "pictures"
    for i in range(40):
        path = folder / ("zebra" if i % 2 else "apple") / f"{i}.{'png' if i % 4 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (10 + i % 3, 12) if i % 5 == 0 else (9, 14 + i, 3)
        image.fromarray(np.full(shape, 5 * i, np.uint8)).save(path)
    return folder
