"""Rows have an address, (step, row), and nothing else decides what they are."""

import threading
import time

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xfm.data import Batches, prefetch
from xfm.data.source import Arrays
from xfm.errors import XfmError


def numbered(count):
    return Arrays(
        {
            "tokens": np.arange(count * 3, dtype=np.int32).reshape(count, 3),
            "labels": np.arange(count, dtype=np.int32),
        }
    )


@pytest.mark.parametrize("split", [(0, 12), (0, 6, 12), (0, 1, 5, 5, 12)])
def test_any_host_split_gives_the_same_batch(split):
    batches = Batches(numbered(50), 12, seed=3)
    for step in (0, 1, 4, 400):
        whole = Batches(numbered(50), 12, seed=3).rows(step)
        parts = [batches.rows(step, a, b) for a, b in zip(split, split[1:], strict=False)]
        for name in whole:
            joined = np.concatenate([part[name] for part in parts])
            assert joined.dtype == whole[name].dtype
            np.testing.assert_array_equal(joined, whole[name])


@pytest.mark.parametrize(("count", "batch"), [(50, 10), (50, 7), (5, 8)])
def test_an_epoch_has_every_row_once(count, batch):
    batches = Batches(numbered(count), batch, seed=1)
    flat = np.concatenate([batches.rows(step)["labels"] for step in range(3 * count // batch + 1)])
    epochs = flat[: 3 * count].reshape(3, count)
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), np.arange(count))
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])
    assert [batches.epoch(step) for step in (0, 100)] == [0, 100 * batch // count]
    assert batches.steps_per_epoch == count / batch


def test_seed_decides_and_none_keeps_order():
    first, second = (Batches(numbered(50), 50, seed=s).rows(0)["labels"] for s in (1, 2))
    assert not np.array_equal(first, second)
    ordered = Batches(numbered(50), 20, seed=None)
    assert ordered.rows(0)["labels"].tolist() == list(range(20))
    assert ordered.rows(2)["labels"].tolist() == [*range(40, 50), *range(10)]


def test_arrays_stay_together():
    rows = Batches(numbered(50), 9, seed=1).rows(3)
    np.testing.assert_array_equal(rows["tokens"][:, 0], rows["labels"] * 3)


def test_bad_batches():
    with pytest.raises(XfmError, match="has no rows"):
        Batches(numbered(0), 4, seed=0)
    with pytest.raises(XfmError, match="batch=0 is not"):
        Batches(numbered(4), 0, seed=0)
    with pytest.raises(ValueError, match="outside a batch of 4"):
        Batches(numbered(4), 4, seed=0).rows(0, 2, 5)


def sharding():
    return NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), PartitionSpec("data"))


@pytest.mark.parametrize("make", [lambda: None, sharding, lambda: dict.fromkeys(("tokens", "labels"), sharding())])
def test_prefetch_is_rows_on_the_device(make):
    batches = Batches(numbered(50), 8, seed=3)
    with prefetch(batches, make(), start_step=5) as ready:
        for want in (5, 6, 7):
            step, batch = next(ready)
            assert step == want and isinstance(batch["tokens"], jax.Array)
            for name, array in batches.rows(step).items():
                assert batch[name].dtype == array.dtype
                np.testing.assert_array_equal(batch[name], array)


class Failing:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 3:
            raise XfmError("photo.png cannot be read")
        return {"labels": np.int32(index)}


def test_an_error_in_the_thread_reaches_the_consumer():
    ready = prefetch(Batches(Failing(), 1, seed=None), None)
    assert [int(next(ready)[1]["labels"][0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(XfmError, match="photo.png cannot be read"):
        next(ready)
    with pytest.raises(StopIteration):
        next(ready)


class Slow:
    def __init__(self, seconds):
        self.seconds, self.read = seconds, 0

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        time.sleep(self.seconds)
        self.read += 1
        return {"labels": np.int32(index)}


def test_wait_share():
    with prefetch(Batches(Slow(0.02), 1, seed=None), None, depth=1) as starved:
        for _ in range(8):
            next(starved)
        assert starved.wait_share() > 0.5
    with prefetch(Batches(Slow(0.001), 1, seed=None), None, depth=2) as fed:
        next(fed)
        fed.wait_share()
        for _ in range(5):
            time.sleep(0.03)
            next(fed)
        assert fed.wait_share() < 0.3


def test_reads_no_further_than_depth_and_close_ends_the_thread():
    source = Slow(0.0)
    before = threading.active_count()
    ready = prefetch(Batches(source, 1, seed=None), None, depth=2)
    next(ready)
    time.sleep(0.1)
    assert source.read <= 1 + 1 + 2 + 1  # the shapes, the one taken, two ready, one in the hand
    ready.close()
    ready.close()
    assert threading.active_count() == before
