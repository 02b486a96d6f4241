"""What is no text is named with file and line, or becomes U+FFFD, in every source alike."""

import json

import numpy as np
import pytest

from xfm.data import SOURCES, open_data, tables, tfds
from xfm.data.decoding import parsed, whole
from xfm.data.tables import Shape, open_table
from xfm.errors import XfmError
from xfm.spec import SpecError, schema

BYTES = dict(kind="bytes")
HALF = "\\ud83d"  # in JSON, the first half of an emoji
GOOD = 40


def lines(good, bad):
    """Bytes of JSON lines, the last one with what is no text in place of `?`."""
    rows = [json.dumps(good).encode()] * GOOD
    return b"\n".join([*rows, json.dumps(good).encode().replace(b"?", bad)])


TEXT = dict(text="what ? " * 9)
ROW = dict(text="what ?", label="x")
WORDS = dict(tokens=["what", "?"], tags=["x", "x"])
PAIR = dict(query="what", positive="?")
SPAN = dict(question="what", context="this ? is it", answers=[dict(text="? is", answer_start=5)])
SQUAD = dict(data=[dict(paragraphs=[dict(context=SPAN["context"], qas=[dict(SPAN, id=str(i)) for i in range(GOOD)])])])

# kind -> fields, name and bytes of a file with `bad` in it, and what an error calls the place.
CASES = {
    "text": (dict(), "a.jsonl", lambda bad: lines(TEXT, bad), rf"a.jsonl:{GOOD + 1}"),
    "labelled": (dict(), "a.jsonl", lambda bad: lines(ROW, bad), rf"a.jsonl:{GOOD + 1}"),
    "tagged": (dict(), "a.jsonl", lambda bad: lines(WORDS, bad), rf"a.jsonl:{GOOD + 1}"),
    "pairs": (dict(), "a.jsonl", lambda bad: lines(PAIR, bad), rf"a.jsonl:{GOOD + 1}"),
    "spans": (dict(length=48), "a.jsonl", lambda bad: lines(SPAN, bad), rf"a.jsonl:{GOOD + 1}"),
    "mixture": (dict(), "a.jsonl", lambda bad: lines(TEXT, bad), rf"a.jsonl:{GOOD + 1}"),
}
CASES["spans of SQuAD"] = (
    dict(length=48),
    "a.json",
    lambda bad: json.dumps(SQUAD, indent=0).encode().replace(b"?", bad),
    "a.json(, question 0|:[0-9]+)",
)


def spec_of(case, folder, **fields):
    kind = case.split()[0]
    own, name, content, place = CASES[case]
    spec = dict(kind=kind, tokenizer=BYTES, length=16, **fields) | own
    at = dict(path=str(folder), validation=0.3)
    return (spec | (dict(parts=dict(one=at)) if kind == "mixture" else at)), name, content, place


@pytest.mark.parametrize("bad", [HALF.encode(), b"\xff"], ids=["half", "byte"])
@pytest.mark.parametrize("case", CASES)
def test_every_source(tmp_path, case, bad):
    (tmp_path / "in").mkdir()
    spec, name, content, place = spec_of(case, tmp_path / "in")
    (tmp_path / "in" / name).write_bytes(content(bad))
    what = rf"half of a surrogate pair, \{HALF}" if bad == HALF.encode() else "is not UTF-8 at byte"
    with pytest.raises(XfmError, match=rf"{place}.* ?{what}.*set errors='replace'"):
        open_data(spec, tmp_path / "run")
    data = open_data(dict(spec, errors="replace"), tmp_path / "run")
    rows = [source[i] for source in (data.train, data.valid) for i in range(len(source))]
    decoded = [data.tokenizer.decode(row[key]) for row in rows for key in row if key.split("/")[-1] == "tokens"]
    assert any("\ufffd" in text for text in decoded)
    with pytest.raises(SpecError, match="errors.*'ignore'.*strict.*replace"):
        open_data(dict(spec, errors="ignore"), tmp_path / "run")


def test_every_source_of_text_has_the_field():
    for kind, cls in SOURCES.items():
        of = tfds.TextFields if kind == "tfds" else cls
        assert "errors" in schema(of) or kind in (
            "images",
            "masks",
            "objects",
            "clips",
            "heat",
            "taught",
            "numbered",
        ), kind


@pytest.mark.parametrize("suffix", ["csv", "tsv", "conll"])
def test_tables_name_the_line(tmp_path, suffix):
    between = {"csv": ",", "tsv": "\t", "conll": " "}[suffix]
    rows = [("text", "label"), *[("word", "x")] * 3, ("caf\xe9", "x")]
    (tmp_path / f"a.{suffix}").write_bytes("\n".join(between.join(row) for row in rows).encode("latin-1"))
    kind = "tagged" if suffix == "conll" else "labelled"
    spec = dict(kind=kind, path=str(tmp_path), tokenizer=BYTES, length=16, validation=f"a.{suffix}")
    with pytest.raises(
        XfmError, match=f"a.{suffix}:5 is not UTF-8 at byte [0-9]+ .*convert it, or set errors='replace'"
    ):
        open_data(spec, tmp_path)


def test_a_label_is_text_too(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(dict(text="a", label="x?"), HALF.encode()))
    spec = dict(kind="labelled", path=str(tmp_path), tokenizer=BYTES, length=16, validation=0.3)
    with pytest.raises(XfmError, match=f"a.jsonl:{GOOD + 1}, column 'label' has half of a surrogate pair"):
        open_data(spec, tmp_path)
    assert "x\ufffd" in open_data(dict(spec, errors="replace", classes=("x?", "x\ufffd")), tmp_path).classes


def test_parquet(tmp_path):
    """Text that is not UTF-8 in columns of text, of lists and of bytes; the row is named."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    raw = [b"word " * 9] * GOOD + [b"caf\xe9 " * 9]
    binary = pyarrow.array(raw)
    text = pyarrow.StringArray.from_buffers(len(raw), *binary.buffers()[1:])
    listed = pyarrow.ListArray.from_arrays(pyarrow.array(range(len(raw) + 1), "int32"), text)
    tags = pyarrow.array([["x"]] * len(raw))
    table = pyarrow.table(dict(text=text, binary=binary, tokens=listed, tags=tags, label=["x"] * len(raw)))
    parquet.write_table(table, tmp_path / "a.parquet")
    for spec in (dict(kind="text"), dict(kind="text", field="binary"), dict(kind="labelled"), dict(kind="tagged")):
        spec = dict(spec, path=str(tmp_path), tokenizer=BYTES, length=16, validation=0.3)
        with pytest.raises(XfmError, match=rf"a.parquet, row {GOOD}.* is not UTF-8 at byte 3 .*set errors='replace'"):
            open_data(spec, tmp_path / "run")
        data = open_data(dict(spec, errors="replace"), tmp_path / "run")
        assert len(data.train) and len(data.valid)


def test_tfds(tmp_path, monkeypatch):
    rows = [dict(text=b"word", label=0)] * 3 + [dict(text=b"caf\xe9", label=0)]
    source = tfds.Tfds(fields=dict(tokens="text"), directory="d")
    assert list(source._texts((rows, np.arange(4)), "replace"))[-1] == "caf\ufffd"
    with pytest.raises(XfmError, match="row 3 of d is not UTF-8 at byte 3 .*set text.errors='replace'"):
        list(source._texts((rows, np.arange(4)), "strict"))
    with pytest.raises(XfmError, match="x is not UTF-8 at byte 3 .*set text.errors='replace'"):
        tfds._document(None, tfds.TextFields())(b"caf\xe9", "x")
    (tmp_path / "dataset_info.json").touch()
    split = (rows, np.arange(4))
    monkeypatch.setattr(tables.Tfds, "records", lambda self: ({}, dict(train=split, valid=split)))
    records = [open_table(str(tmp_path), "test", Shape(errors=errors)).train[3] for errors in ("strict", "replace")]
    with pytest.raises(XfmError, match="row 3 of .*, column 'text' is not UTF-8 at byte 3 .*set errors='replace'"):
        records[0].text("text")
    assert records[1].text("text") == "caf\ufffd"


def test_pairs_of_halves_are_characters():
    assert parsed('"\\ud83d\\ude00"', "f") == "\U0001f600" and whole("\U0001f600 é", "strict", "f") == "\U0001f600 é"
    assert whole("a\ud83db\ude00", "replace", "f") == "a\ufffdb\ufffd"


def test_json_that_is_nested_too_deeply(tmp_path):
    for kind, name in (("text", "a.jsonl"), ("labelled", "a.jsonl"), ("spans", "a.json")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_text('{"a": ' + "[" * 200_000)
        with pytest.raises(XfmError, match=f"{name}(:1)? is not valid JSON: it is nested too deeply"):
            open_data(dict(kind=kind, path=str(tmp_path / kind), tokenizer=BYTES), tmp_path)


@pytest.mark.parametrize("answers", [None, "1875", 5, ["1875"], dict(text=["a"], answer_start=[1, 2]), dict(text="a")])
def test_answers_are_a_list(tmp_path, answers):
    (tmp_path / "a.jsonl").write_text((json.dumps(dict(SPAN, answers=answers)) + "\n") * 9)
    with pytest.raises(
        XfmError, match="a.jsonl:[0-9]+ has .* in column 'answers', where a list of answers should be, each"
    ):
        open_data(dict(kind="spans", path=str(tmp_path), tokenizer=BYTES, validation=0.3), tmp_path)
