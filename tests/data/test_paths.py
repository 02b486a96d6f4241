"""Paths in a data spec: absolute wherever they stand, `~` and all, and nothing else touched."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from xfm.data import SOURCES, located
from xfm.errors import XfmError
from xfm.locations import expanded
from xfm.tokenizers import TOKENIZERS

FILE = dict(kind="file", path="t")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dict(kind="text", path="a/../b", validation=0.1), dict(path="/base/b", validation=0.1)),
        (dict(kind="text", path=None, validation="held"), dict(path=None, validation="/base/held")),
        (dict(kind="text", path=""), dict(path="")),
        (dict(kind="images", path="/abs", validation="held"), dict(path="/abs", validation="/base/held")),
        # A table's validation file is looked for in the folder of `path`, so it stays.
        (dict(kind="labelled", path="~/t", validation="dev.tsv"), dict(path="/home/me/t", validation="dev.tsv")),
        (dict(kind="tagged", path="t", task="t"), dict(path="/base/t", task="t")),
        (
            dict(kind="mixture", parts=dict(path=dict(path="p", validation="v"), two=dict(path="/q"))),
            dict(parts=dict(path=dict(path="/base/p", validation="/base/v"), two=dict(path="/q"))),
        ),
        (
            dict(kind="tfds", directory="d", data_dir="e", fields=dict(path="path"), text=dict(tokenizer=FILE)),
            dict(directory="/base/d", data_dir="/base/e", text=dict(tokenizer=dict(FILE, path="/base/t"))),
        ),
        (dict(kind="nonsense", path="p"), dict(path="p")),
    ],
)
def test_paths_are_absolute(given, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert located(given, "/base") == {**given, **expected}
    assert located(ConfigDict(given), "/base") == {**given, **expected}


def test_a_checkpoint_is_a_path_where_there_is_a_folder(tmp_path):
    (tmp_path / "bert").mkdir()
    for source, expected in (("bert", str(tmp_path / "bert")), ("google/bert", "google/bert")):
        spec = dict(kind="pairs", path="p", tokenizer=dict(kind="checkpoint", source=source))
        assert located(spec, tmp_path)["tokenizer"] == dict(kind="checkpoint", source=expected)
    nested = dict(kind="mixture", parts={}, tokenizer=dict(kind="file", path="t.json"))
    assert located(nested, "/base")["tokenizer"]["path"] == "/base/t.json"


def test_each_field_that_sounds_like_a_path_is_one():
    for table in (SOURCES, TOKENIZERS):
        for kind, cls in table.items():
            names = {field.name for field in dataclasses.fields(cls)}
            assert names >= set(getattr(cls, "PATHS", {})), kind
            sound = names & {"path", "directory", "data_dir", "source", "folder", "file", "tokenizer", "parts"}
            assert sound <= set(getattr(cls, "PATHS", {})), kind


def test_what_is_no_path():
    with pytest.raises(XfmError, match="the path ' ' is empty; give a file or a folder"):
        expanded(" ")
    with pytest.raises(XfmError, match="~nobody_here/x starts with a user"):
        expanded("~nobody_here/x")
