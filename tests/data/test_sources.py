"""What every data source owes: rows of the shapes and dtypes that it says, the same ones each time it is opened.

A new source needs an example here.
"""

import csv
import dataclasses
import json

import numpy as np
import pytest

from xfm.data import SOURCES, Batches, open_data
from xfm.spec import build

BYTES = dict(kind="bytes")


def written(folder, lines):
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return str(path)


def tfds(folder):
    pytest.importorskip("tensorflow_datasets")
    from test_tfds import prepare

    directory = str(prepare(folder / "array_record", "array_record"))
    text = dict(tokenizer=BYTES, length=16)
    return dict(kind="tfds", directory=directory, validation="test", fields=dict(tokens="words"), text=text)


def tagged(folder):
    (folder / "all.conll").write_text("\n\n".join(f"word{i} O\nhere B-A" for i in range(40)) + "\n")
    return dict(kind="tagged", path=str(folder / "all.conll"), length=16, tokenizer=BYTES)


def spans(folder):
    paragraphs = [
        dict(
            context=f"it is {i} today",
            qas=[dict(id=str(i), question="what?", answers=[dict(text=str(i), answer_start=6)])],
        )
        for i in range(40)
    ]
    (folder / "all.json").write_text(json.dumps(dict(data=[dict(paragraphs=paragraphs)])))
    return dict(kind="spans", path=str(folder / "all.json"), length=48, tokenizer=BYTES)


def pairs(folder):
    lines = [dict(query=f"q{i}", positive=f"p{i}", negative=f"n{i}", score=i / 40) for i in range(40)]
    (folder / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts = ["query", "positive", "negative"]
    return dict(kind="pairs", path=str(folder / "all.jsonl"), texts=texts, label="score", length=8, tokenizer=BYTES)


def labelled(folder):
    path = written(folder, [("text", "label"), *((f"text {i}", i % 3) for i in range(40))])
    return dict(kind="labelled", path=path, length=12, tokenizer=BYTES)


def masks(folder):
    from PIL import Image

    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(20):
        numbers = np.random.default_rng(i).integers(0, 3, (9, 12)).astype(np.uint8)
        Image.fromarray(numbers * 80).save(folder / "images" / f"{i}.jpg")
        Image.fromarray(numbers).save(folder / "masks" / f"{i}.png")
    return dict(kind="masks", path=str(folder), size=[8, 6], validation=0.3, classes=["a", "b", "c"])


def objects(folder):
    return {name: value for name, value in dict(masks(folder), kind="objects").items() if name != "classes"}


def clips(folder):
    for label in ("a", "b"):
        (folder / "clips" / label).mkdir(parents=True)
        for i in range(10):
            np.save(folder / "clips" / label / f"{i}.npy", np.full((2, 4, 6, 3), i, np.uint8))
    return dict(kind="clips", path=str(folder / "clips"), array="video", shape=[2, 4, 6, 3], validation=0.3)


def captions(folder):
    from PIL import Image

    for i in range(20):
        Image.new("L", (4, 4), 10 * i).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"number {i}")
    return dict(kind="captions", path=str(folder), size=[4, 2], validation=0.3, length=12, tokenizer=BYTES)


def taught(folder):
    from xfm.data.taught import teach
    from xfm.sharding import make_mesh

    pytest.importorskip("sklearn.datasets")
    images, path = dict(size=4, validation=0.2), str(folder / "answers")
    data = open_data(dict(kind="images", **images), folder)
    teach(path, data, lambda params, batch: batch["images"][:, 0, :, 0], {}, make_mesh({}), kept=2)
    return dict(kind="taught", images=images, path=path, kept=2)


def numbered(pictures):
    return dict(kind="numbered", of=dict(kind="images", path=str(pictures), size=[8, 8], validation=0.25))


# kind -> a function of a folder that writes small files there and returns the spec; fixtures of conftest by their names
EXAMPLES = {
    "text": lambda prose: dict(kind="text", path=str(prose), length=16, validation=0.3, tokenizer=BYTES),
    "mixture": lambda prose: dict(
        kind="mixture", parts={side: dict(path=str(prose / side), validation=0.3) for side in "ab"}, length=16,
        tokenizer=BYTES,
    ),
    "images": lambda pictures: dict(kind="images", path=str(pictures), size=[8, 8], validation=0.25),
    "masks": masks,
    "objects": objects,
    "taught": taught,
    "numbered": numbered,
    "clips": clips,
    "heat": lambda folder: dict(kind="heat", size=6, channels=2, trajectories=3, validation=1, steps=2, modes=2),
    "captions": captions,
    "tfds": tfds,
    "labelled": labelled,
    "tagged": tagged,
    "spans": spans,
    "pairs": pairs,
}  # fmt: skip


def test_every_source_has_an_example():
    assert EXAMPLES.keys() == SOURCES.keys()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_rows_are_what_the_source_says_and_stay_so(kind, tmp_path, request):
    make = EXAMPLES[kind]
    (name,) = make.__code__.co_varnames[: make.__code__.co_argcount]
    spec = make(tmp_path if name == "folder" else request.getfixturevalue(name))
    assert spec["kind"] == kind
    source, data = build(SOURCES, spec), open_data(spec, tmp_path / "one")
    again = open_data(spec, tmp_path / "two")
    assert data.fingerprint == again.fingerprint and len(data.train) > len(data.valid) > 0
    said = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in source.row().items()}
    for rows, same in ((data.train, again.train), (data.valid, again.valid)):
        assert len(rows) == len(same)
        for index in (0, len(rows) - 1):
            row = {name: np.asarray(x) for name, x in rows[index].items()}
            assert {name: (x.shape, x.dtype) for name, x in row.items()} == said
            for other in (rows[index], same[index]):
                assert all(np.array_equal(other[name], x) for name, x in row.items()) and other.keys() == row.keys()
    batch = Batches(data.train, 4, 0).rows(1)
    assert {name: x.shape for name, x in batch.items()} == {name: (4, *shape) for name, (shape, _) in said.items()}
    paths = {name.partition(".")[0] for name in source.PATHS}
    assert paths <= {field.name for field in dataclasses.fields(source)}
