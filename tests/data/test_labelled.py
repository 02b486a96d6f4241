"""Labelled texts from every kind of file give the same rows; what is wrong in a file is said in one sentence."""

import csv
import json

import numpy as np
import pytest

from xfm.data import open_data
from xfm.data.glue import LAYOUTS
from xfm.errors import XfmError
from xfm.tokenizers.template import Template, windows
from xfm.truncation import kept

BYTES = dict(kind="bytes")
ROWS = [{"text": f'he said "no, {i}"', "label": ("bad", "good")[i % 2], "score": i / 4} for i in range(40)]


def written(folder, suffix, rows=ROWS):
    path = folder / f"all.{suffix}"
    if suffix == "tsv":
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n")
    elif suffix == "csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def opened(path, workdir, **fields):
    return open_data(dict(kind="labelled", path=str(path), tokenizer=BYTES, length=24, **fields), workdir)


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "parquet"])
def test_all_files_give_the_same_rows(tmp_path, suffix):
    data = opened(written(tmp_path, suffix), tmp_path, validation=0.3)
    assert data.classes == ("bad", "good") and len(data.train) + len(data.valid) == 40
    for source in (data.train, data.valid):
        for row in (source[i] for i in range(len(source))):
            text = data.tokenizer.decode(row["tokens"])
            number = int(text.split()[-1].rstrip('"'))
            assert text == ROWS[number]["text"] and row["labels"] == number % 2
            assert row["segments"].sum() == len(text) + 2 and not row["types"].any()
    again = opened(tmp_path / f"all.{suffix}", tmp_path, validation=0.3)
    assert again.fingerprint == data.fingerprint and len(again.valid) == len(data.valid)


def test_numbers_pairs_and_a_validation_file(tmp_path):
    rows = [{"a": f"x{i}", "b": "yy" * 20, "s": str(i / 8)} for i in range(6)]
    (tmp_path / "t").mkdir()
    written(tmp_path / "t", "csv", rows).rename(tmp_path / "t" / "train.csv")
    written(tmp_path / "t", "csv", rows[:2]).rename(tmp_path / "t" / "dev.csv")
    data = opened(tmp_path / "t", tmp_path, validation="dev.csv", texts=("a", "b"), label="s", labels="numbers")
    assert [len(data.train), len(data.valid)] == [6, 2] and data.classes == ()
    row = data.train[3]
    assert row["labels"] == np.float32(0.375) and row["labels"].dtype == np.float32
    a, b = [ord("x") + 5, ord("3") + 5], [ord("y") + 5] * 19
    assert row["tokens"].tolist() == [2, *a, 3, *b, 3] and row["types"].tolist() == [0] * 4 + [1] * 20
    assert opened(tmp_path / "t", tmp_path, validation="dev.csv", kinds=1, texts=("a", "b")
                  , label="s", labels="numbers").train[0]["types"].max() == 0  # fmt: skip


# As in the files of GLUE: the first line, if there is one, and a line.
GLUE = {
    "cola": (None, "gj04\t1\t\tWe are here."),
    "sst2": ("sentence\tlabel", "We are here.\t1"),
    "mrpc": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t70\t72\tWe are\there."),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tm\tM\t2012\t1\tn\tn\tWe are\there.\t3.8",
    ),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\tWe are\there.\t1\n7\tcut"),
    "mnli": ("index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label", "0\tf\tWe are\there.\tneutral\tentailment"),
    "qnli": ("index\tquestion\tsentence\tlabel", "0\tWe are\there.\tnot_entailment"),
    "rte": ("index\tsentence1\tsentence2\tlabel", "0\tWe are\there.\tnot_entailment"),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "0\tWe are\there.\t1"),
}
GLUE["mnli_mismatched"] = GLUE["mnli"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_files_of_glue(tmp_path, name):
    first, line = GLUE[name]
    layout = LAYOUTS[name]
    for file in (layout.train, layout.valid):
        (tmp_path / file).write_text("\n".join([*([first] if first else []), line]) + "\n")
    data = opened(tmp_path, tmp_path, layout=name)
    row = data.train[0]
    assert len(data.train) == len(data.valid) == 1
    assert data.tokenizer.decode(row["tokens"]).replace(" ", "") == "Wearehere."
    assert (row["types"].max() == 1) == (len(layout.texts) == 2)
    assert row["labels"] == (np.float32(3.8) if name == "stsb" else 1)


def test_what_is_wrong_is_said(tmp_path):
    for text, fields, words in (
        ("text\tlabel\nonly one\n", {}, r"all.tsv:2 has 1 cells where 2 columns are named"),
        ("text\tlabel\na\tx\n", dict(texts=("txt",)), "no column 'txt' .did you mean 'text'"),
        ("text\tlabel\na\tx\n", dict(classes=("y", "z")), "has class 'x' in column 'label'; the classes are y, z"),
        ("text\tlabel\na\tx\n", dict(labels="numbers"), "'x' in column 'label', where a number should be"),
        ("text\tlabel\n", {}, "train split of .* is empty"),
        ("text\ttext\na\tx\n", {}, "names column 'text' twice"),
        ("text\tlabel\na\tx\n", dict(labels="class"), "labels is 'class'; it must be 'classes' or 'numbers'"),
        ("text\tlabel\na\tx\n", dict(layout="sst3"), "layout='sst3' is not known .did you mean 'sst2'"),
        ("a\tx\n", dict(columns=("text", "text")), "names 'text' twice; each column has one name"),
    ):
        (tmp_path / "all.tsv").write_text(text)
        (tmp_path / "held.tsv").write_text("text\tlabel\na\tx\n")
        with pytest.raises(XfmError, match=words):
            opened(tmp_path / "all.tsv", tmp_path, validation="held.tsv", **fields)
    (tmp_path / "x.jsonl").write_text('{"text": 3, "label": 0}\n')
    (tmp_path / "y.jsonl").write_text('{"text": "3", "label": 0}\n')
    with pytest.raises(XfmError, match="x.jsonl:1 has 3 in column 'text', where text should be"):
        opened(tmp_path / "x.jsonl", tmp_path, validation="y.jsonl")


def test_rows_cut_the_longest_text_first():
    template = Template(((2, 0), ("a", 0), (3, 0), (3, 0), ("b", 1), (3, 1)), pad=0)
    for sizes, length in (((5, 9), 12), ((9, 5), 12), ((3, 30), 20), ((10, 10), 11), ((2, 3), 12), ((8, 8), 4)):
        (_, a), (_, b) = kept(sizes, length - template.specials)
        assert a + b == min(sum(sizes), max(length - 4, 0)) and a <= sizes[0] and b <= sizes[1]
        assert abs(a - b) <= 1 or (a, b)[sizes[0] > sizes[1]] == min(sizes)
    assert kept((5, 9), 5, "left") == [(2, 5), (7, 9)] and kept((9,), 4, "left") == [(5, 9)]
    row = template.row([np.array([7, 8]), np.array([9])], 9)
    assert row["tokens"].tolist() == [2, 7, 8, 3, 3, 9, 3, 0, 0] and row["segments"].sum() == 7
    assert template.start("a") == 1 and template.start("b", 2) == 5


def test_windows_cover_all():
    for count in range(0, 30):
        for room, stride in ((7, 3), (7, 7), (1, 1)):
            found = list(windows(count, room, stride))
            assert set().union(*found) == set(range(count)) and all(len(w) <= room for w in found)
            assert all(b.start - a.start == stride for a, b in zip(found, found[1:], strict=False))
    with pytest.raises(XfmError, match="stride=8 does not fit windows of 7 tokens"):
        list(windows(20, 7, 8))


def test_tasks_made_of_the_standard_library(monkeypatch):
    """Each is large enough to learn from, and its labels are what they say."""
    from xfm.data import stdlib

    every = list(stdlib.definitions())
    monkeypatch.setattr(stdlib, "definitions", lambda: iter(every))  # parsed once for three of them
    few = {name: make() for table in TASKS for name, make in getattr(stdlib, table).items()}
    assert all(len(records) > 1000 for records in few.values())
    for _, values in few["named_parameter"]:
        answer, context = values["answers"][0], values["context"]
        assert context[answer["answer_start"] :].startswith(answer["text"]) and answer["text"] in values["question"]
    for _, values in few["python_tokens"][::50]:
        for word, tag in zip(values["tokens"], values["tags"], strict=True):
            assert (tag == "B-keyword") <= word.isalpha() and (tag[2:] == "number") <= word.isascii()
    assert {values["label"] for _, values in few["indentation"]} == {"deeper", "same", "shallower"}
    colon = [v["label"] for _, v in few["indentation"] if v["first"].startswith("if ") and v["first"].endswith(":")]
    assert colon.count("deeper") > 0.95 * len(colon)
    assert {values["label"] for _, values in few["docstring_module"]} == set(stdlib.MODULES)


TASKS = ("LABELLED", "TAGGED", "SPANS", "PAIRS")
