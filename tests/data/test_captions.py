"""Images with captions: tables, captions beside images, described digits, and what is missing. Takes two seconds."""

import json

import pytest

from xfm.data import open_data
from xfm.errors import XfmError

image = pytest.importorskip("PIL.Image")
BYTES = dict(kind="bytes")
HOW = dict(kind="captions", size=2, mean=0.0, std=1.0, validation=0.3, length=16, tokenizer=BYTES)


def pictures(folder, count=12):
    """Grey images in a folder below, each as bright as its number; returns their paths relative to `folder`."""
    (folder / "images").mkdir()
    for i in range(count):
        image.new("L", (4, 4), 20 * i).save(folder / "images" / f"{i}.png")
    return [f"images/{i}.png" for i in range(count)]


def fits(data, count=12):
    """Checks that each of `count` images has its own caption, which spells how bright it is."""
    rows = [source[i] for source in (data.train, data.valid) for i in range(len(source))]
    said = [int(data.tokenizer.decode(row["text/tokens"][row["text/segments"] > 0])) for row in rows]
    seen = [round(float(row["vision/images"].mean()) * 255 / 20) for row in rows]
    assert sorted(said) == list(range(count)) and said == seen
    return rows


@pytest.mark.parametrize("suffix,separator", [(".csv", ","), (".tsv", "\t"), (".jsonl", None)])
def test_a_table_in_the_folder_of_the_images(suffix, separator, tmp_path):
    names = pictures(tmp_path)
    if separator is None:
        lines = [json.dumps(dict(file_name=name, text=str(i), kind="ab"[i % 2])) for i, name in enumerate(names)]
    else:
        lines = [separator.join(("file_name", "text", "kind"))]
        lines += [separator.join((name, str(i), "ab"[i % 2])) for i, name in enumerate(names)]
    table = tmp_path / f"metadata{suffix}"
    table.write_text("\n".join(lines))
    for path in (tmp_path, table):
        rows = fits(data := open_data(dict(HOW, path=str(path), label="kind"), tmp_path))
        assert data.classes == ("a", "b") and rows[0]["vision/images"].shape == (2, 2, 3)
    said = [int(data.tokenizer.decode(row["text/tokens"][row["text/segments"] > 0])) for row in rows]
    assert [int(row["labels"]) for row in rows] == [i % 2 for i in said]


def test_captions_beside_images(tmp_path):
    for i, name in enumerate(pictures(tmp_path)):
        (tmp_path / name).with_suffix(".txt").write_text(f"{i}\n")
    data = open_data(dict(HOW, path=str(tmp_path)), tmp_path)
    assert "labels" not in fits(data)[0] and data.classes == ()
    (tmp_path / "held").mkdir()
    image.new("L", (4, 4), 0).save(tmp_path / "held" / "one.png")
    (tmp_path / "held" / "one.txt").write_text("0")
    data = open_data(dict(HOW, path=str(tmp_path / "images"), validation=str(tmp_path / "held")), tmp_path / "run")
    assert (len(data.train), len(data.valid)) == (12, 1)


def test_digits_in_words(tmp_path):
    data = open_data(dict(HOW, path=None, size=8, channels=1, length=48), tmp_path)
    captions = [data.tokenizer.decode(data.train[i]["text/tokens"]) for i in range(60)]
    numerals = [data.classes[int(data.train[i]["labels"])] for i in range(60)]
    assert all(numeral in caption for numeral, caption in zip(numerals, captions, strict=True))
    assert len({c.replace(n, "") for n, c in zip(numerals, captions, strict=True)}) == 6 and len(set(numerals)) == 10
    assert len(data.train) + len(data.valid) == 1797


def test_padding_may_be_visible(tmp_path):
    for padding, seen in (("masked", False), ("visible", True)):
        row = open_data(dict(HOW, path=None, length=60, padding=padding), tmp_path / padding).train[0]
        assert bool(row["text/segments"].all()) == seen


@pytest.mark.parametrize(
    "change,said",
    [
        (lambda f: (f / "images" / "3.png").unlink(), r"metadata.csv:5 names the image .*3.png, which is not there"),
        (lambda f: (f / "metadata.csv").unlink(), r"[0-9]+.png has no caption; add [0-9]+.txt beside it"),
    ],
)
def test_what_is_missing_is_named(change, said, tmp_path):
    names = pictures(tmp_path)
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text", *(f"{n},{i}" for i, n in enumerate(names))]))
    change(tmp_path)
    with pytest.raises(XfmError, match=said):
        open_data(dict(HOW, path=str(tmp_path)), tmp_path)
