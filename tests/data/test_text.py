"""The text source: what is read, how it is split, and what is said when it cannot be used."""

import json
import subprocess
import sys

import numpy as np
import pytest

from xfm.data import open_data
from xfm.errors import XfmError

BYTES = {"kind": "bytes"}


def text(path, workdir, **fields):
    spec = {"kind": "text", "path": str(path), "tokenizer": BYTES, "length": 32, "validation": 0.2}
    return open_data({**spec, **fields}, workdir)


def words(data, source):
    return "".join(data.tokenizer.decode(source[i]["tokens"]) for i in range(len(source)))


@pytest.mark.parametrize("packing", ["stream", "documents"])
def test_folder(prose, tmp_path, packing):
    data = text(prose, tmp_path / "run", packing=packing)
    assert data.vocabulary.size == 261 and data.classes == ()
    row = data.train[0]
    assert row["tokens"].shape == (32,) and row["tokens"].dtype == np.int32
    assert set(row) == ({"tokens"} if packing == "stream" else {"tokens", "segments", "positions"})
    assert data.facts["train_documents"] + data.facts["valid_documents"] == 40
    assert data.facts["train_rows"] == len(data.train)


def test_a_document_is_on_one_side_whole(prose, tmp_path):
    data = text(prose, tmp_path)
    sides = [words(data, source) for source in (data.train, data.valid)]
    for i in range(40):
        assert sum(f"Page {i} tells" in side for side in sides) == 1
    (prose / "new.md").write_text("one more page " * 9)
    more = text(prose, tmp_path)
    held = words(more, more.valid)
    assert all(f"Page {i} tells" in held for i in range(40) if f"Page {i} tells" in sides[1])
    assert more.fingerprint != data.fingerprint


def test_same_again_and_from_the_cache(prose, tmp_path, monkeypatch):
    spec = dict(tokenizer={"kind": "wordpiece", "size": 200})
    first, other = text(prose, tmp_path / "a", **spec), text(prose, tmp_path / "b", **spec)
    monkeypatch.setattr("xfm.data.text.read_bytes", lambda path: pytest.fail("read again"))
    again = text(prose, tmp_path / "a", **spec)
    for data in (other, again):
        assert data.fingerprint == first.fingerprint
        assert np.array_equal(data.train.arrays["tokens"], first.train.arrays["tokens"])


def test_cut_cache_is_made_again(prose, tmp_path):
    first = text(prose, tmp_path)
    for path in tmp_path.glob("tokens-*.npy"):
        path.write_bytes(path.read_bytes()[:-7])
    again = text(prose, tmp_path)
    assert np.array_equal(again.train.arrays["tokens"], first.train.arrays["tokens"])


def test_fingerprint_depends_on_spec_and_sizes_but_not_on_the_folder(prose, tmp_path):
    first = text(prose, tmp_path / "run").fingerprint
    moved = prose.rename(tmp_path / "moved")
    assert text(moved, tmp_path / "run").fingerprint == first
    changes = ({"length": 16}, {"packing": "documents"}, {"validation": 0.3}, {"unit": "paragraph"})
    marks = {first, *(text(moved, tmp_path / "run", **change).fingerprint for change in changes)}
    with open(moved / "b" / "page0.txt", "a") as file:
        file.write("!")
    assert len(marks | {text(moved, tmp_path / "run").fingerprint}) == 6


def test_jsonl_and_parquet_agree(lines, tmp_path):
    data = text(lines, tmp_path / "a", field="body")
    assert data.facts["train_documents"] + data.facts["valid_documents"] == 100
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [json.loads(line) for line in (lines / "all.jsonl").read_text().splitlines()]
    (tmp_path / "p").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p" / "all.parquet")
    other = text(tmp_path / "p", tmp_path / "b", field="body")
    count = sum(other.facts[f"{split}_tokens"] for split in ("train", "valid"))
    assert count == sum(data.facts[f"{split}_tokens"] for split in ("train", "valid"))


def test_max_bytes_keeps_the_validation_split(prose, tmp_path):
    whole, part = text(prose, tmp_path), text(prose, tmp_path, max_bytes=1500)
    assert np.array_equal(whole.valid.arrays["tokens"], part.valid.arrays["tokens"])
    assert 1500 <= part.facts["train_tokens"] < 2000 < whole.facts["train_tokens"]


def test_validation_folder_and_one_file(prose, lines, tmp_path):
    data = text(lines / "all.jsonl", tmp_path, field="body", validation=str(prose / "a"))
    assert data.facts["train_documents"] == 100 and data.facts["valid_documents"] == 20


def test_paragraphs(tmp_path):
    (tmp_path / "one.txt").write_bytes("\ufeff".encode() + b"first\r\n\r\nsecond\n\n" * 60)
    data = text(tmp_path / "one.txt", tmp_path, unit="paragraph", packing="documents")
    assert data.facts["train_documents"] + data.facts["valid_documents"] == 120
    assert "\ufeff" not in words(data, data.train) and "\r" not in words(data, data.train)


def test_standard_library(tmp_path):
    spec = {"kind": "text", "max_bytes": 200_000, "tokenizer": {"kind": "wordpiece", "size": 1024}}
    data = open_data(spec, tmp_path)
    assert data.vocabulary.size == 1024
    assert data.facts["train_tokens"] > 50_000 and data.facts["valid_rows"] > 50
    ids = np.concatenate([data.valid[i]["tokens"] for i in range(len(data.valid))])
    assert np.mean(ids == data.vocabulary.unknown) < 0.01
    assert "\n    def " in data.tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine \xff not", r"a\.txt:1 is not UTF-8 at byte 5 .* errors='replace'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \xff}\n', r"a\.jsonl:2 is not UTF-8 at byte 23"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text"\n', r"a\.jsonl:3 is not valid JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1 is not a JSON object"),
        ("a.jsonl", b'{"body": "x"}\n', r"a\.jsonl:1 has no text in field 'text'.*: body"),
        ("a.jsonl", b'{"text": 5}\n', r"a\.jsonl:1 has a int in field 'text'"),
        ("a.parquet", b"PAR1 no", r"a\.parquet is not a readable parquet file"),
        ("a.csv", b"a,b", r"has no file that ends in one of \.txt, \.md"),
        ("a.txt", b"short", r"split of .* does not fill a single row of 32 tokens: it has \d+ tokens in \d doc"),
    ],
)
def test_bad_inputs(name, content, message, tmp_path):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(XfmError, match=message) as caught:
        text(folder, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_replace(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"para \xff graph\n\n" * 99)
    data = text(tmp_path, tmp_path / "run", unit="paragraph", errors="replace")
    assert "\ufffd" in words(data, data.train)


def test_unreadable(prose, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(XfmError, match=r"page\d+\.\w+ cannot be read: Permission denied"):
        text(prose, tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "/nowhere/at/all"}, "/nowhere/at/all does not exist"),
        ({"validation": 0}, "validation is 0; it must be a number above 0 and below 1"),
        ({"validation": 1.5}, "validation is 1.5; it must be a number above 0 and below 1"),
        ({"length": 3}, "length is 3; it must be a whole number of at least 4"),
        ({"packing": "streams"}, "did you mean 'stream'"),
        ({"errors": "ignore"}, "errors is 'ignore'; it must be 'strict' or 'replace'"),
        ({"unit": "line"}, "unit is 'line'; it must be 'file' or 'paragraph'"),
        ({"lenght": 8}, "did you mean 'length'"),
        ({"kind": "txt"}, "did you mean 'text'"),
    ],
)
def test_bad_specs(fields, message, prose, tmp_path):
    with pytest.raises(XfmError, match=message):
        text(fields.pop("path", prose), tmp_path / "run", **fields)


def test_import_needs_no_extra():
    script = (
        "import sys, xfm.data\n"
        "extra = {'tensorflow', 'torch', 'tokenizers', 'PIL', 'sklearn', 'pyarrow', 'grain',"
        " 'tensorflow_datasets'}\n"
        "assert not extra & set(sys.modules), extra & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_missing_extra_is_named(prose, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(XfmError, match=r"tokenizers is not installed: pip install 'xfm\[text\]'"):
        text(prose, tmp_path, tokenizer={"kind": "bpe", "size": 300})
