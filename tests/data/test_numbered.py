"""The numbers of rows: dense, those of the images that are shown, and the same in every order and on every host."""

import numpy as np
import pytest

from xfm.batch import spread_out
from xfm.data import Batches, check_data, located, open_data, validated
from xfm.errors import XfmError
from xfm.spec import SpecError

pytest.importorskip("PIL")


def numbered(path, **fields):
    images = dict(kind="images", path=str(path), size=8, validation=0.25, mean=0.0, std=1.0, **fields)
    return open_data(dict(kind="numbered", of=images), "unused")


def levels(rows):
    """The number that each image of the fixture shows, by its mean level."""
    return [round(float(image.mean()) * 255 / 5) for image in np.asarray(rows["images"])]


def all_of(source):
    rows = [source[i] for i in range(len(source))]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_training_rows_have_dense_numbers_and_those_held_out_have_none(pictures):
    data = numbered(pictures)
    assert all_of(data.train)["row"].tolist() == list(range(len(data.train)))
    assert set(all_of(data.valid)["row"].tolist()) == {-1}
    assert not set(levels(all_of(data.train))) & set(levels(all_of(data.valid)))
    assert (
        data.train[-1]["row"] == len(data.train) - 1 and next(reversed(list(data.train)))["row"] == len(data.train) - 1
    )


def test_the_validation_loss_is_of_training_rows_as_they_are(pictures):
    """As many as are held out, in the size of rows of validation, without augmentation, by their own numbers."""
    data = numbered(pictures, stored=10, augment=[dict(kind="flip")])
    seen, known = validated(data), all_of(numbered(pictures).train)
    assert len(seen) == len(data.valid) and data.train[0]["images"].shape == (10, 10, 3)
    for row in (seen[i] for i in range(len(seen))):
        np.testing.assert_array_equal(row["images"], known["images"][row["row"]])
    assert [int(seen[i]["row"]) for i in range(len(seen))] == spread_out(len(data.train), len(seen))  # of all classes


def test_numbers_follow_the_rows_in_every_epoch_and_on_every_host(pictures):
    """A step is read again, in whole or by the rows of a host, as a run does that goes on."""
    data = numbered(pictures, augment=[dict(kind="flip")])
    known = dict(zip(*map(tuple, (all_of(data.train)["row"].tolist(), levels(all_of(data.train)))), strict=True))
    batches = Batches(data.train, 8, seed=3, repeats=2)
    for step in (0, 5, 11):
        whole = batches.rows(step)
        assert whole["row"].tolist() == batches.indices(step)
        assert [known[number] for number in whole["row"].tolist()] == levels(whole)
        again = [Batches(data.train, 8, seed=3, repeats=2).rows(step, start, start + 4) for start in (0, 4)]
        assert np.concatenate([half["row"] for half in again]).tolist() == whole["row"].tolist()


def test_an_image_that_stands_in_for_a_damaged_one_keeps_its_number(pictures):
    """No image has two numbers: the number of the damaged one is never given."""
    whole = all_of(numbered(pictures).train)
    by_level = dict(zip(levels(whole), whole["row"].tolist(), strict=True))
    damaged = [levels(whole)[3], levels(whole)[-1]]
    for level in damaged:
        (pictures / ("zebra" if level % 2 else "apple") / f"{level}.png").write_bytes(b"noise" * 9)
    source = numbered(pictures, corrupt="next").train
    rows = all_of(source)
    assert rows["row"].tolist() == [by_level[level] for level in levels(rows)]
    assert set(rows["row"].tolist()) == set(range(len(source))) - {3, len(source) - 1}
    assert len(source.unreadable) == 2
    with pytest.raises(XfmError, match="cannot be read as an image"):
        all_of(numbered(pictures).train)


def test_any_source_can_be_numbered(prose):
    """What its rows have beside arrays stays."""
    text = dict(kind="text", path="a", length=16, tokenizer=dict(kind="bytes"))
    spec = dict(kind="numbered", of=text)
    assert located(spec, prose)["of"]["path"] == str(prose / "a")
    data = open_data(located(spec, prose), prose.parent / "work")
    assert data.train[2]["row"] == 2 and data.train[2]["tokens"].shape == (16,) and data.vocabulary is not None


def test_mistakes_are_named(pictures):
    images = dict(kind="images", path=str(pictures), size=8)
    with pytest.raises(SpecError, match="slot 'augment' has no kind 'fold'|has no kind 'fold'"):
        check_data(dict(kind="numbered", of=dict(images, augment=[dict(kind="fold")])))
    with pytest.raises(SpecError, match="its rows have numbers already; set of to the source"):
        check_data(dict(kind="numbered", of=dict(kind="numbered", of=images)))
    plain = open_data(images, "unused")
    assert open_data(dict(kind="numbered", of=images), "unused").fingerprint != plain.fingerprint
