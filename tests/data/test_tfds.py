"""Datasets of TFDS in ArrayRecord, written here by a small builder, read without TensorFlow."""

import io
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from xfm.data import SOURCES, check_data, open_data
from xfm.errors import XfmError
from xfm.spec import SpecError, build

pytest.importorskip("tensorflow_datasets")
pytest.importorskip("PIL")
BYTES = {"kind": "bytes"}


def prepare(folder, file_format):
    import tensorflow_datasets as tfds
    from PIL import Image

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "words": tfds.features.Text(),
                "photo": tfds.features.Image(shape=(9, 7, 3)),
                "kind": tfds.features.ClassLabel(names=["even", "odd"]),
                "score": np.float64,
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(100), "test": self._generate_examples(20)}

        def _generate_examples(self, count):
            for i in range(count):
                photo = io.BytesIO()
                Image.fromarray(np.full((9, 7, 3), 2 * i, np.uint8)).save(photo, "png")
                photo.seek(0)
                words = f"row {i} is number {i} über all " if i != 50 else ""
                yield i, {"words": words, "photo": photo, "kind": i % 2, "score": i / 2}

    tfds.disable_progress_bar()
    builder = Small(data_dir=str(folder), file_format=file_format)
    builder.download_and_prepare()
    return builder.data_dir


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(prepare(tmp_path_factory.mktemp("array_record"), "array_record"))


def opened(directory, workdir, **fields):
    return open_data({"kind": "tfds", "directory": directory, **fields}, workdir)


def test_images_and_labels(directory, tmp_path):
    spec = {
        "fields": {"images": "photo", "labels": "kind"},
        "images": {"size": 6, "mean": 0.0, "std": 1.0, "augment": [{"kind": "flip"}]},
    }
    data = opened(directory, tmp_path, **spec)
    assert data.classes == ("even", "odd") and len(data.train) + len(data.valid) == 100
    values = []
    for source in (data.train, data.valid):
        for i in range(len(source)):
            row = source[i]
            assert row["images"].shape == (6, 6, 3) and row["images"].dtype == np.float32
            values.append(round(float(row["images"].mean()) * 255 / 2))
            assert row["labels"] == values[-1] % 2 and row["labels"].dtype == np.int32
    assert sorted(values) == list(range(100))
    rng = np.random.default_rng(0)
    assert data.train.augment(data.train[0], rng)["images"].shape == (6, 6, 3)
    assert opened(directory, tmp_path, **spec).fingerprint == data.fingerprint


def test_sub_split_and_named_validation(directory, tmp_path):
    data = opened(directory, tmp_path, fields={"labels": "score"}, split="train[:30%]", validation="test")
    assert len(data.train) == 30 and len(data.valid) == 20
    assert data.train[0]["labels"].dtype == np.float32


@pytest.mark.parametrize("packing", ["stream", "documents"])
def test_text_is_packed(directory, tmp_path, packing):
    data = opened(
        directory,
        tmp_path,
        fields={"tokens": "words"},
        validation="test",
        text={"tokenizer": BYTES, "length": 32, "packing": packing},
    )
    assert data.facts["train_documents"] == 99  # one is empty
    words = "".join(data.tokenizer.decode(data.train[i]["tokens"]) for i in range(len(data.train)))
    assert "is number" in words and "über" in words


def test_single_keeps_labels(directory, tmp_path):
    pytest.importorskip("tokenizers")
    spec = {
        "fields": {"tokens": "words", "labels": "kind"},
        "text": {
            "tokenizer": {"kind": "wordpiece", "size": 150},
            "length": 16,
            "packing": "single",
        },
        "validation": "test",
    }
    data = opened(directory, tmp_path, **spec)
    declared = build(SOURCES, {"kind": "tfds", "directory": directory, **spec}).row()
    empty = 0
    for i in range(100):
        row = data.train[i]
        used = int((row["segments"] == 1).sum())
        assert {name: row[name].dtype for name in declared} == {name: dtype for name, (_, dtype) in declared.items()}
        assert row["tokens"][0] == 2 and row["tokens"][used - 1] == 3
        assert not row["tokens"][used:].any() and not row["segments"][used:].any()
        if words := data.tokenizer.decode(row["tokens"]).split():
            assert int(words[1]) % 2 == row["labels"]
        else:
            empty += 1
    assert empty == 1 and data.vocabulary.mask == 4 and data.classes == ("even", "odd")
    opened(directory, tmp_path, **{**spec, "text": {**spec["text"], "length": 8}})


def test_bad_specs(directory, tmp_path, monkeypatch):
    for fields, message in (
        ({"fields": {"labels": "kinds"}}, "has no feature 'kinds' .did you mean 'kind'"),
        ({"fields": {"labels": "kind"}, "split": "dev"}, "has no split 'dev' .*; it has train"),
        ({"fields": {"labels": "words"}}, "row 0, feature 'words' has .*, not numbers"),
        ({"fields": {"tokens": "words", "labels": "kind"}}, "set packing='single'"),
        ({"fields": {"images": "photo"}}, "needs size"),
        ({"fields": {"labels": "kind"}, "validation": 1e-9}, "valid split .* none of the 100 rows"),
        ({"fields": {"labels": "kind"}, "dataset": "x"}, "either 'directory' or 'dataset'"),
    ):
        with pytest.raises(XfmError, match=message):
            opened(directory, tmp_path, **fields)
    with monkeypatch.context() as patched, pytest.raises(SpecError, match="the split 'test' of .* has no rows"):
        patched.setattr("xfm.data.tfds.Tfds._read", lambda self, builder, split: [] if split == "test" else [{}])
        opened(directory, tmp_path, fields={"labels": "kind"}, validation="test")
    for fields, message in (
        ({"directory": str(tmp_path)}, "cannot be opened as a dataset of TFDS .*dataset_info"),
        ({"dataset": "nothing_of_this_name"}, "cannot be opened .* give the 'directory'"),
        ({"dataset": "mnist", "data_dir": str(tmp_path)}, "mnist is not prepared in .*mnist"),
    ):
        with pytest.raises(XfmError, match=message) as caught:
            open_data({"kind": "tfds", "fields": {"labels": "label"}, **fields}, tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(text=dict(tokenizer=dict(kind="bites"))), "did you mean 'bytes'"),
        (dict(text=dict(lenght=3)), "did you mean 'length'"),
        (dict(images=dict(size=4, augment=[dict(kind="flop")])), "did you mean 'flip'"),
    ],
)
def test_nested_specs_are_checked_before_anything_is_read(fields, message):
    with pytest.raises(SpecError, match=message):
        check_data(dict(kind="tfds", directory="nowhere", fields={}, **fields))


def test_parquet_with_a_sub_split_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    directory = str(prepare(tmp_path, "parquet"))
    whole = opened(directory, tmp_path, fields={"labels": "kind"})
    assert len(whole.train) + len(whole.valid) == 100
    with pytest.raises(XfmError, match="cannot read a part of a split such as 'train.:50%.'"):
        opened(directory, tmp_path, fields={"labels": "kind"}, split="train[:50%]")


def test_other_formats_are_refused(directory, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in pathlib.Path(directory).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    info = json.loads((copy / "dataset_info.json").read_text())
    (copy / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(XfmError, match="stored as tfrecord, which cannot be read by row"):
        opened(str(copy), tmp_path, fields={"labels": "kind"})


def test_a_damaged_file_is_reported(directory, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in pathlib.Path(directory).iterdir():
        raw = bytearray(path.read_bytes())
        if "train" in path.name:
            written = np.flatnonzero(np.frombuffer(bytes(raw), np.uint8))  # most of it is zeros
            for at in written[len(written) // 4 : len(written) // 2]:
                raw[at] ^= 0xFF
        (copy / path.name).write_bytes(raw)
    with pytest.raises(XfmError, match="copy"):
        data = opened(str(copy), tmp_path, fields={"labels": "kind"})
        [source[i] for source in (data.train, data.valid) for i in range(len(source))]
    text = dict(fields={"tokens": "words"}, text={"tokenizer": BYTES})
    for spec in (dict(kind="tfds", directory=str(copy), **text), dict(kind="labelled", path=str(copy), label="kind")):
        with pytest.raises(XfmError, match="row .* of .*copy cannot be read"):
            open_data(spec, tmp_path)


def test_tensorflow_is_not_imported(directory, tmp_path):
    """Not even where it is installed: here a decoy that breaks on import is."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise AssertionError('imported')")
    script = (
        "import sys\n"
        "sys.path.append(sys.argv[2])\n"
        "from xfm.data import Batches, open_data\n"
        "spec = dict(kind='tfds', directory=sys.argv[1], images=dict(size=6),"
        " fields=dict(images='photo', labels='kind'))\n"
        "Batches(open_data(spec, sys.argv[2]).train, 8, seed=0).rows(3)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, directory, str(tmp_path)], check=True)


def test_labelled_text_from_a_prepared_folder(directory, tmp_path):
    """The source for fine-tuning reads the same folders, with the names of classes."""
    spec = dict(kind="labelled", path=directory, texts=("words",), label="kind", tokenizer=BYTES, length=64)
    data = open_data({**spec, "validation": "test"}, tmp_path)
    assert data.classes == ("even", "odd") and [len(data.train), len(data.valid)] == [100, 20]
    for i in range(20):
        row = data.valid[i]
        number = int(data.tokenizer.decode(row["tokens"]).split()[1])
        assert row["labels"] == number % 2
    numbers = open_data({**spec, "label": "score", "labels": "numbers", "validation": 0.2}, tmp_path)
    assert len(numbers.train) + len(numbers.valid) == 100 and numbers.train[0]["labels"].dtype == np.float32
