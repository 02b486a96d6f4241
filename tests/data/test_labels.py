"""What a label names, in which order classes stand, and what never becomes a class by accident."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from xfm.data import open_data
from xfm.data.labels import asked, in_order, name_of, number_of
from xfm.data.records import number
from xfm.data.tables import open_table
from xfm.data.tfds import Tfds
from xfm.errors import XfmError
from xfm.spec import SpecError

BYTES = dict(kind="bytes")
HALF = "\ud83d"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("good", "good"), (" good\t", "good"), ("not good", "not good"), (b"good", "good"), (0, "0"), (-3, "-3"),
        (np.int64(7), "7"), (np.array(7), "7"), (1.0, "1"), (np.float32(2), "2"), ("none", "none"), ("1.50", "1.50"),
    ],
)  # fmt: skip
def test_a_label_names_a_class(value, name):
    assert name_of(value, "f:1", "column 'label'") == name


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None in column 'label', so it has no label; fill it in, or remove the row"),
        ("", "'' in column 'label', so it has no label; fill it in, or remove the row"),
        ("  ", "'  ' in column 'label', so it has no label; fill it in, or remove the row"),
        ("NA", "'NA' in column 'label', so it has no label; .*, or list 'NA' in 'classes' if it is one"),
        (" nan ", "so it has no label"), ("null", "so it has no label"), ("None", "so it has no label"),
        (b"N/A", "so it has no label"),
        (float("nan"), "nan in column 'label', so it has no label; fill it in, or remove the row"),
        (np.float32("nan"), "so it has no label"),
        (0.5, "0.5 in column 'label', where the name of a class should be; .* labels='numbers'"),
        (float("inf"), "inf in .* name of a class"), (1e300, r"1e\+300 in .* name of a class"),
        (True, "True in column 'label', where one name of a class should be, or list 'True' in 'classes'"),
        (np.bool_(False), "False in .* or list 'False' in 'classes'"),
        (["a"], r"\['a'\] in column 'label', where one name of a class should be"), ([], "where one name"),
        (np.array([1, 2]), r"\[1, 2\] in"), (dict(a=1), "{'a': 1} in column 'label', where one name"),
        (HALF, r"has half of a surrogate pair, \\ud83d"), (b"\xff", "is not UTF-8 at byte 0"),
    ],
)  # fmt: skip
def test_what_names_no_class(value, words):
    with pytest.raises(XfmError, match=words) as caught:
        name_of(value, "f:1", "column 'label'")
    assert str(caught.value).startswith("f:1") and "\n" not in str(caught.value)


def test_what_is_listed_names_a_class():
    known = asked(("NA", True, False, 0, 2.0, " padded", ""))
    assert known == ("NA", "True", "False", "0", "2", " padded", "")
    for value, name in (
        ("NA", "NA"),
        (True, "True"),
        (np.bool_(False), "False"),
        (2, "2"),
        (" padded", " padded"),
        ("", ""),
    ):
        assert name_of(value, "f:1", "column", known) == name
    assert name_of(" NA ", "f:1", "column", known) == "NA"
    for wrong, words in (
        ("good", "classes='good' is not a list"), (2, "classes=2 is not a list"), ((1, "1"), "holds '1' twice"),
        (("a", None), "holds None; a class is a text or a whole number"), ((0.5,), "holds 0.5"),
        (((1,),), r"holds \(1,\)"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=words):
            asked(wrong)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("10 9 -1 0 -20", "-20 -1 0 9 10"),
        ("10 9 b", "10 9 b"),
        ("01 1 0", "0 01 1"),
        ("\u0661 \u0662 3", "3 \u0661 \u0662"),  # digits of other scripts are text
        ("9" * 30 + " 8", "8 " + "9" * 30),
        ("1" * 5000 + " 2", "1" * 5000 + " 2"),
    ],
)
def test_whole_numbers_are_sorted_as_numbers(names, order):
    assert in_order(names.split()) == tuple(order.split())


def test_numbers():
    for value in (1, 1.5, "1.5", " -2 ", np.float64(3), np.int32(4), b"0.5"):
        assert (
            number_of(value, "f:1", "column 's'") == np.float32(float(value))
            and number_of(value, "", "").dtype == np.float32
        )
    for value in (
        None,
        True,
        np.bool_(True),
        "x",
        "",
        "nan",
        float("nan"),
        "inf",
        1e39,
        10**400,
        [1.0],
        np.array([1.0]),
        {},
    ):
        with pytest.raises(XfmError, match="f:1 has .* in column 's', where a number should be"):
            number_of(value, "f:1", "column 's'")


def table(folder, rows, name="all.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def opened(kind, path, workdir, **fields):
    spec = dict(kind=kind, path=str(path), tokenizer=BYTES, length=16, validation=0.4)
    return open_data({**spec, **fields}, workdir)


def rows_of(kind, labels):
    """Records with these labels: of a text each, or of a word each."""
    name, text = ("label", dict(text="a")) if kind == "labelled" else ("tags", dict(tokens=["a"]))
    return [{**text, name: label if kind == "labelled" else [label]} for label in labels]


def numbers_of(kind, data):
    rows = [source[i] for source in (data.train, data.valid) for i in range(len(source))]
    return sorted(int(row["labels"] if kind == "labelled" else row["labels"][row["weights"] > 0][0]) for row in rows)


@pytest.mark.parametrize("kind", ["labelled", "tagged"])
def test_labels_and_tags_alike(tmp_path, kind):
    """Order of whole numbers, classes that are asked for as numbers, and what is refused with file and line."""
    labels = [10, 9, -1, 2] * 20
    data = opened(kind, table(tmp_path / "a", rows_of(kind, labels)), tmp_path)
    assert data.classes == ("-1", "2", "9", "10") and numbers_of(kind, data) == sorted([3, 2, 0, 1] * 20)
    assert opened(kind, tmp_path / "a", tmp_path, classes=(10, 9, 2, -1)).classes == ("10", "9", "2", "-1")
    data = opened(kind, tmp_path / "a", tmp_path, classes=(-1, 2, 9, 10, 11, 12))
    assert data.notes == ("no training row has class 11, 12",) and len(data.classes) == 6
    for classes in ((10, 9, 2), ("10", "9", "2")):
        with pytest.raises(
            XfmError, match="all.jsonl:[37] has class '-1' in .*; the classes are 10, 9, 2; if it is one"
        ):
            opened(kind, tmp_path / "a", tmp_path, classes=classes)
    for value, words in ((None, "None"), ("NA", "'NA'"), (True, "True"), ([1], r"\[1\]"), (0.5, "0.5")):
        path = table(tmp_path / "b", rows_of(kind, ["x", "y", value] * 20))
        with pytest.raises(XfmError, match=f"all.jsonl:[0-9]+ has {words} in (number 0 of )?column '(label|tags)'"):
            opened(kind, path, tmp_path)
    path = table(tmp_path / "c", rows_of(kind, [" x", "x ", "y", "NA"] * 20))
    assert opened(kind, path, tmp_path, classes=("y", "x", "NA")).classes == ("y", "x", "NA")
    path = table(tmp_path / "d", rows_of(kind, ["x", "y"] * 20))
    table(tmp_path / "d", rows_of(kind, ["z"]), "held.jsonl")
    with pytest.raises(XfmError, match="held.jsonl:1 has class 'z' in .*; the classes are x, y; if it is one, list it"):
        opened(kind, tmp_path / "d", tmp_path, validation="held.jsonl")


def test_a_row_without_the_column_is_named(tmp_path):
    path = table(tmp_path / "a", [dict(text="a", label="x"), dict(text="a")] * 9)
    with pytest.raises(XfmError, match="all.jsonl:[0-9]+ has no column 'label'"):
        opened("labelled", path, tmp_path)
    with pytest.raises(SpecError, match="classes=.* are given, but labels='numbers' has no classes"):
        opened("labelled", path, tmp_path, labels="numbers", classes=("a", "b"))


def test_words_and_tags_are_lists_of_texts(tmp_path):
    for row, words in (
        (dict(tokens="a b", tags=["x"]), "has 'a b' in column 'tokens', where a list should be"),
        (dict(tokens=["a"], tags="x"), "has 'x' in column 'tags', where a list should be"),
        (dict(tokens=["a", None], tags=["x", "x"]), "has None in number 1 of column 'tokens', where text should be"),
    ):
        with pytest.raises(XfmError, match=f"all.jsonl:[0-9]+ {words}"):
            opened("tagged", table(tmp_path / "a", [row] * 9), tmp_path)


def test_a_layout_keeps_the_classes_that_were_asked_for(tmp_path):
    lines = "".join(f"a\tb\t{name}\n" for name in ("contradiction", "neutral", "entailment", "neutral"))
    for name in ("train.tsv", "dev_matched.tsv"):
        (tmp_path / name).write_text(f"sentence1\tsentence2\tgold_label\n{lines}")
    order = ("neutral", "contradiction", "entailment")
    data = opened("labelled", tmp_path, tmp_path, layout="mnli", classes=order)
    assert data.classes == order and [int(data.train[i]["labels"]) for i in range(4)] == [1, 0, 2, 0]
    assert opened("labelled", tmp_path, tmp_path, layout="mnli").classes == ("contradiction", "entailment", "neutral")
    with pytest.raises(XfmError, match="path is ''"):
        opened("labelled", "", tmp_path, layout="mnli")
    with pytest.raises(
        XfmError, match="train.tsv:3 has class 'neutral' in .*; the classes are contradiction, entailment"
    ):
        opened("labelled", tmp_path, tmp_path, layout="mnli", classes=("contradiction", "entailment"))


@pytest.mark.parametrize(("name", "between"), [("all.csv", ","), ("all.tsv", "\t")])
@pytest.mark.parametrize("kind", ["labelled", "pairs"])
def test_surplus_cells_are_refused_or_reported(tmp_path, name, between, kind):
    path = tmp_path / name
    columns, fields = ("label", "text"), {}
    if kind == "pairs":
        columns, fields = ("query", "positive"), dict(texts=("query", "positive"))
    lines = [columns, *[(str(i % 2), f"row {i}") for i in range(30)], ("1", "not bad", " in fact good"), ("0",)]
    for wrong in lines[31:]:
        path.write_text("\n".join(between.join(line) for line in [*lines[:31], wrong]) + "\n")
        words = f"{name}:32 has {len(wrong)} cells where 2 columns are named; .*ragged='skip'"
        with pytest.raises(XfmError, match=words):
            opened(kind, path, tmp_path, **fields)
    path.write_text("\n".join(between.join(line) for line in lines) + "\n")
    data = opened(kind, path, tmp_path, ragged="skip", **fields)
    assert len(data.train) + len(data.valid) == 30
    (note,) = data.notes
    assert re.fullmatch(rf"lines left out because of their number of cells: 2, the first one .*{name}:32", note)
    with pytest.raises(SpecError, match="ragged='drop' is not one of refuse, skip"):
        opened(kind, path, tmp_path, ragged="drop", **fields)


def test_glue_reads_lines_that_are_cut_and_says_so(tmp_path):
    """QQP's file holds a few; in other layouts they are refused unless it is asked for."""
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    lines = [head, "0\t1\t2\ta\tb\t1", "7\tcut", "8\t1\t2\ta\tb\tc\t0", "9\t1\t2\ta\tb\t0"]
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    data = opened("labelled", tmp_path, tmp_path, layout="qqp")
    assert len(data.train) == len(data.valid) == 2 and "left out because of their number of cells: 4" in data.notes[0]
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("sentence\tlabel\na\tb\t1\nc\t1\n")
    with pytest.raises(XfmError, match="train.tsv:2 has 3 cells"):
        opened("labelled", tmp_path, tmp_path, layout="sst2")
    assert len(opened("labelled", tmp_path, tmp_path, layout="sst2", ragged="skip").train) == 1


def test_a_label_of_a_prepared_dataset_is_one_of_its_classes():
    features = dict(kind=SimpleNamespace(names=["even", "odd"]), score=SimpleNamespace())
    of_class, of_number = (Tfds(dict(labels=name), "d")._readers(features)["labels"][1] for name in features)
    assert [int(of_class(np.int64(i), "row 0")) for i in (0, 1)] == [0, 1]
    assert of_number(np.float64(-1.5), "row 0") == np.float32(-1.5)
    for read, value, words in (
        (of_class, np.int64(-1), "has -1, where a number from 0 to 1 should be; choose a split that has labels"),
        (of_class, np.int64(2), "has 2, where a number from 0 to 1 should be"),
        (of_number, np.float32("nan"), "has nan, where a finite number should be"),
    ):
        with pytest.raises(XfmError, match=f"row 3 {words}"):
            read(value, "row 3")


def test_a_number_beyond_int32_is_not_wrapped():
    """As int32, 2^32 would be class 0, and 2^31 a negative number."""
    assert number(np.int64(2**31 - 1), "row 1") == 2**31 - 1 and number([True, False], "row 1").tolist() == [1, 0]
    for value in (np.int64(2**32), np.uint32(2**31), np.array([3, -(2**31) - 1])):
        with pytest.raises(XfmError, match="row 1 has .*, where numbers from -2.31 to 2.31 - 1 should be"):
            number(value, "row 1")


def test_the_tags_of_a_prepared_dataset_are_those_of_its_classes(tmp_path, monkeypatch):
    """A feature that is a sequence of classes has a name for each number, in the dataset's order."""
    (tmp_path / "dataset_info.json").write_text("{}")
    rows = [dict(tokens=np.array([b"He", b"sat"], object), tags=np.array([1, i % 2])) for i in range(6)]
    features = dict(tokens=SimpleNamespace(), tags=SimpleNamespace(names=["O", "B-x"]))
    splits = dict(train=(rows, np.arange(4)), valid=(rows, np.arange(4, 6)))
    monkeypatch.setattr("xfm.data.tables.Tfds.records", lambda self: (features, splits))
    data = opened("tagged", tmp_path, tmp_path / "run")
    assert data.classes == ("O", "B-x") and data.train.truth == [["B-x", "O"], ["B-x", "B-x"]] * 2


def test_a_cell_may_be_long(tmp_path):
    """Longer than what Python's csv takes by default, which stays as it was."""
    most = csv.field_size_limit()
    long = "word, " * (most // 6 + 1)
    (tmp_path / "a.csv").write_text("text,label\n" + f'"{long}",x\n"short",y\n' * 9)
    texts = {record.text("text") for record in open_table(str(tmp_path), 0.3).train}
    assert texts == {long, "short"} and csv.field_size_limit() == most
