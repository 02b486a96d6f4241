"""Texts are dealt evenly and each once, and laid where cells say; the same again after a resume."""

import jax
import numpy as np
import pytest

from xfm.batch import part_of, with_prefix
from xfm.data import Batches, prefetch
from xfm.data.balance import deal, work
from xfm.data.layout import Padded, Tokens, rounded, spans
from xfm.data.source import Arrays
from xfm.errors import XfmError

T = 32


def source(count=300, texts=None, seed=0, **more):
    """Rows of one text of random length, or of several, with their number as the label."""
    rng = np.random.default_rng(seed)
    shape = (count, T) if texts is None else (count, texts, T)
    lengths = rng.integers(1, T + 1, shape[:-1])
    segments = (np.arange(T) < lengths[..., None]).astype(np.int32)
    tokens = rng.integers(5, 99, shape).astype(np.int32) * segments
    return Arrays({"tokens": tokens, "segments": segments, "labels": np.arange(count, dtype=np.int32), **more})


@pytest.mark.parametrize("ways", [1, 2, 8, 24])
@pytest.mark.parametrize("spread", ["even", "few long", "alike"])
def test_dealt_evenly_and_each_once(ways, spread):
    rng = np.random.default_rng(ways)
    loads = {
        "even": rng.integers(1, 512, 240),
        "few long": (rng.pareto(1.2, 240) * 40).astype(int) + 1,
        "alike": np.full(240, 7),
    }[spread]
    dealt = deal(loads, ways)
    assert dealt.shape == (ways, 240 // ways) and sorted(dealt.ravel()) == list(range(240))
    np.testing.assert_array_equal(dealt, deal(loads, ways))
    sums = loads[dealt].sum(1)
    rounds = np.sort(loads)[::-1].reshape(-1, ways)
    assert sums.max() - sums.min() <= (rounds[:, 0] - rounds[:, -1]).max()
    naive = loads.reshape(ways, -1).sum(1)
    assert sums.max() <= naive.max()
    if spread == "even":
        assert sums.max() / sums.mean() < 1.02
        assert ways < 8 or naive.max() / naive.mean() > 1.1


def test_work_counts_the_square_against_the_width():
    """Operations of a layer, counted: 24 D² per token of maps, 4 n D of attention."""
    n, D = np.array([10, 100]), 64
    np.testing.assert_allclose(work(n, D) * 24 * D**2, n * 24 * D**2 + 4 * n**2 * D)
    np.testing.assert_array_equal(work(n), n)


def test_uneven_numbers_cannot_be_dealt():
    with pytest.raises(XfmError, match="10 rows cannot be divided equally among 4 devices; give a multiple of 4"):
        deal(np.ones(10), 4)


def real_tokens(batch, group, groups, accumulate=1, length=T):
    """label -> tokens, of the texts of a group, read through its cells."""
    per = len(batch["labels"]) // groups
    first, micro = divmod(group, accumulate)
    rows = slice(first * per * accumulate + micro, (first + 1) * per * accumulate, accumulate)
    tokens = batch["tokens"][rows].reshape(-1)
    cells = batch["cells"][group].ravel()
    cells = cells[cells < tokens.size]
    assert len(set(cells)) == len(cells)
    of = {}
    for cell in cells.tolist():
        of.setdefault(cell // length, []).append(cell)
    found = {}
    for text, own in sorted(of.items()):
        label = int(batch["labels"][rows][text * length // (tokens.size // per)])
        found[label] = found.get(label, []) + tokens[own].tolist()
    return found


@pytest.mark.parametrize("ways,accumulate,texts", [(1, 1, None), (4, 1, None), (2, 3, None), (2, 1, 2)])
def test_every_text_is_there_once_and_whole(ways, accumulate, texts):
    """Over an epoch each row once, as without the layout; in the cells of its group each of its tokens, in order."""
    data = source(288, texts)
    made = Tokens(window=4).over(Batches(data, 24, 7), ways, accumulate)
    groups, labels, loads = ways * accumulate, [], []
    for step in range(12):
        batch = made.rows(step)
        assert {name: (a.shape, a.dtype) for name, a in batch.items()} == made.spec(step=step)
        labels += batch["labels"].tolist()
        for group in range(groups):
            found = real_tokens(batch, group, groups, accumulate)
            assert len(found) == 24 // groups
            for label, tokens in found.items():
                own = data.arrays["tokens"][label].ravel()
                assert tokens == own[own > 0].tolist()
            loads.append(sum(map(len, found.values())))
    plain = Batches(data, 24, 7)
    for window in range(3):
        same = [plain.rows(step)["labels"] for step in range(4 * window, 4 * window + 4)]
        assert sorted(labels[96 * window : 96 * window + 96]) == sorted(np.concatenate(same).tolist())
        some = loads[4 * groups * window : 4 * groups * (window + 1)]
        assert max(some) - min(some) <= T * (texts or 1)
    assert sorted(labels) == list(range(288))


@pytest.mark.parametrize("ways,accumulate", [(1, 1), (2, 3)])
def test_texts_with_prefixes_have_cells_of_their_own(ways, accumulate):
    """Rows are dealt by all their tokens; the texts of each prefix lie in rows of that prefix, as they would alone."""
    query, answer = source(96), source(96, seed=1)
    short = {name: x[:, :20] for name, x in answer.arrays.items() if name != "labels"}
    data = Arrays({**query.arrays, **with_prefix("answer", short)})
    made = Tokens(window=2).over(Batches(data, 24, 7), ways, accumulate)
    labels, loads, groups = [], [], ways * accumulate
    for step in range(4):
        batch = made.rows(step)
        assert {name: (a.shape, a.dtype) for name, a in batch.items()} == made.spec(step=step)
        assert batch["cells"].shape[2] == 32 and batch["answer/cells"].shape[2] == 20
        labels += batch["labels"].tolist()
        for group in range(groups):
            load = 0
            for prefix, length in (("", 32), ("answer", 20)):
                part = {**part_of(batch, prefix), "labels": batch["labels"]}
                found = real_tokens(part, group, groups, accumulate, length)
                assert len(found) == 24 // groups
                for label, tokens in found.items():
                    own = part_of(data.arrays, prefix)["tokens"][label]
                    assert tokens == own[own > 0].tolist()
                load += sum(map(len, found.values()))
            loads.append(load)
    assert sorted(labels) == list(range(96))
    assert max(loads[: 2 * groups]) - min(loads[: 2 * groups]) <= 52
    devices = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with prefetch(made, devices) as stream:
        assert set(next(stream)[1]) == set(made.rows(0))
    with pytest.raises(XfmError, match="rows of length=30 cannot hold texts of up to 32 tokens"):
        Tokens(length=30).over(Batches(data, 24, 7))


def test_no_text_crosses_a_row():
    batch = Tokens(length=48).over(Batches(source(), 20, 0), 2).rows(0)
    for row in batch["cells"].reshape(-1, 48):
        row = row[row < 10 * T]
        whole = [cell for text in dict.fromkeys(row // T) for cell in text * T + np.arange(T)]
        real = batch["segments"].reshape(2, -1)
        assert len(row) in [sum(part[whole] > 0) for part in real]


def test_a_resumed_run_and_another_host_find_the_same():
    one = Tokens(window=4).over(Batches(source(), 16, 3), 4)
    first = [one.rows(step) for step in range(9)]
    again = Tokens(window=4).over(Batches(source(), 16, 3), 4)
    for step in (6, 8, 1):
        parts = [again.rows(step, start, start + 8) for start in (0, 8)]
        for name, array in first[step].items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_evaluation_keeps_the_order():
    batches = Batches(source(), 20, None)
    laid = Tokens().over(batches, 2)
    for step in (0, 3):
        for name, array in batches.rows(step).items():
            np.testing.assert_array_equal(laid.rows(step)[name], array)


def test_prefetch_brings_each_devices_cells():
    sharding = jax.sharding.NamedSharding(jax.make_mesh((4,), ("data",)), jax.sharding.PartitionSpec("data"))
    made = Tokens().over(Batches(source(), 16, 0), 4)
    with prefetch(made, sharding) as ready:
        _, batch = next(ready)
    for name, array in made.rows(0).items():
        np.testing.assert_array_equal(batch[name], array)
    assert batch["cells"].sharding.is_equivalent_to(sharding, 3)


def test_padding_before_and_within_a_text():
    segments = np.array([[0, 0, 1, 0, 2, 0], [0] * 6, [1] * 6])
    assert spans(segments).tolist() == [[2, 5], [0, 0], [0, 6]]


def test_few_numbers_of_rows():
    """At most 1.6 % more rows than needed, and 64 numbers from each power of two to the next."""
    rows = np.arange(1, 5000)
    given = np.array([rounded(int(n)) for n in rows])
    assert (given >= rows).all() and (given / rows).max() < 1.0157 and (given[:127] == rows[:127]).all()
    assert len(set(given[rows >= 1024][:1024])) <= 65


def test_fewer_rows_than_padded():
    made = Tokens().over(Batches(source(), 64, 0))
    shapes = {made.rows(step)["cells"].shape for step in range(16)}
    ((_, rows, length),) = shapes
    assert length == T and rows * T < 1.1 * 64 * (T + 1) / 2


@pytest.mark.parametrize(
    "layout,ways,sentence",
    [
        (Tokens(length=16), 1, "rows of length=16 cannot hold texts of up to 32 tokens; give 32 or more"),
        (Tokens(rows=5), 1, r"the texts of a step need 1\d rows of 32 tokens, but rows=5; raise it, or leave it out"),
        (Tokens(window=0), 1, "window=0 and rows=None must both be 1 or more"),
        (Tokens(), 3, "a batch of 16 rows cannot be divided among 3 groups"),
    ],
)
def test_what_does_not_fit_is_one_sentence(layout, ways, sentence):
    with pytest.raises(XfmError, match=sentence):
        layout.over(Batches(source(), 16, 0), ways).rows(0)


def test_only_text_is_laid_out():
    images = Arrays({"images": np.zeros((4, 2, 2, 3)), "labels": np.zeros(4)})
    with pytest.raises(XfmError, match="this data has images, labels; set layout 'padded'"):
        Tokens().over(Batches(images, 2, 0))
    batches = Batches(images, 2, 0)
    assert Padded().over(batches, 2) is batches
    with pytest.raises(ValueError, match="rows 1..3 are not whole groups of 2 rows of a batch of 4"):
        Tokens().over(Batches(source(), 4, 0), 2).rows(0, 1, 3)
