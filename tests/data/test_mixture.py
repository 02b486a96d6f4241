"""Corpora mixed at chosen shares: how often each is drawn, what the tokeniser learns, and what is refused."""

import json

import numpy as np
import pytest
from scipy import stats

from xfm.data import Batches, check_data, open_data
from xfm.data.mixture import ROUNDS, Drawn, drawn
from xfm.data.source import Arrays
from xfm.errors import XfmError

MANY = 10_000  # more than the rows of a source
SMALL, LARGE = "zyxozym quvexil", "some words that are common"


@pytest.fixture
def corpora(tmp_path):
    """A large folder and one a tenth of its size, whose words the large one has not."""
    for name, words, documents in (("large", LARGE, 200), ("small", SMALL, 20)):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"text": f"{words} {i} " * 8}) for i in range(documents)]
        (tmp_path / name / "all.jsonl").write_text("\n".join(lines))
    return {name: {"path": str(tmp_path / name), "validation": 0.2} for name in ("large", "small")}


def mixture(corpora, workdir, **fields):
    spec = {"kind": "mixture", "parts": corpora, "tokenizer": {"kind": "bytes"}, "length": 32}
    return open_data({**spec, **fields}, workdir)


def numbered(*sizes):
    return [Arrays({"tokens": np.arange(size) + MANY * which}) for which, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [((500, 30), (0.5, 0.5)), ((90, 400, 7), (0.2, 0.3, 0.5)), ((11,), (1.0,)), ((1, 1), (0.9, 0.1))],
)
def test_rows_come_at_their_shares(sizes, shares):
    """Counts of an epoch are exact; within a corpus, rows differ by one time at most."""
    mixed = Drawn(numbered(*sizes), drawn(sizes, shares))
    found = np.array([int(mixed[i]["tokens"]) for i in range(len(mixed))])
    for which, (size, share) in enumerate(zip(sizes, shares, strict=True)):
        own = found[found // MANY == which]
        assert abs(len(own) - share * len(mixed)) <= 1
        times = np.bincount(own - MANY * which, minlength=size)
        assert times.min() >= ROUNDS and times.max() - times.min() <= 1
    with pytest.raises(IndexError):
        mixed[len(mixed)]


def test_batches_have_the_shares():
    """Chi-square over the first thousand rows, shuffled or in the source's own order, as validation reads them."""
    sizes, shares = (5000, 400, 90), np.array([0.5, 0.3, 0.2])
    mixed = Drawn(numbered(*sizes), drawn(sizes, shares))
    for seed in (0, 1, None):
        batches = Batches(mixed, 50, seed)
        rows = np.concatenate([batches.rows(step)["tokens"] for step in range(20)])
        counts = np.bincount(rows // MANY, minlength=3)
        assert stats.chisquare(counts, 1000 * shares).pvalue > 0.001
        assert stats.chisquare(counts, 1000 * np.array(sizes) / sum(sizes)).pvalue < 1e-9


def test_sizes_to_a_power(corpora, tmp_path):
    """XLM-R's rule: shares go with size to the power, so 1 leaves them as they are and 0 makes them equal."""
    for power in (1.0, 0.3, 0.0):
        data = mixture(corpora, tmp_path, power=power)
        sizes = np.array([len(source) for source in data.train.sources])
        counts = np.diff(data.train.ends, prepend=0)
        assert np.allclose(counts / counts.sum(), sizes**power / np.sum(sizes**power), atol=1e-3)
        assert len(data.valid) == data.facts["large_valid_rows"] + data.facts["small_valid_rows"]
        assert data.facts["large_train_rows"] == sizes[0] and sizes[0] > 5 * sizes[1]


def test_the_vocabulary_is_amplified(corpora, tmp_path):
    """A small corpus that is to be half of the rows is half of what the tokeniser learns from: its words stay whole."""
    words = dict(tokenizer={"kind": "wordpiece", "size": 95})
    pieces = [
        len(mixture(corpora, tmp_path / str(i), weights=dict(large=1, small=small), **words).tokenizer.encode(SMALL))
        for i, small in enumerate((0.01, 1))
    ]
    assert pieces[1] < pieces[0]


def test_same_again(corpora, tmp_path):
    first, other = (mixture(corpora, tmp_path / name, weights=dict(large=1, small=1)) for name in "ab")
    again = mixture(corpora, tmp_path / "a", weights=dict(large=1, small=1))
    for data in (other, again):
        assert data.fingerprint == first.fingerprint
        assert all(np.array_equal(data.train[i]["tokens"], first.train[i]["tokens"]) for i in range(40))
    assert mixture(corpora, tmp_path / "a", weights=dict(large=1, small=2)).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        (dict(weights=dict(large=1)), "the weight of part 'small' is None"),
        (dict(weights=dict(large=1, smal=1)), "did you mean 'small'"),
        (dict(weights=dict(large=1, small=0)), "the weight of part 'small' is 0"),
        (dict(weights=dict(large=1, small=float("nan"))), "nan"),
        (dict(parts={}), "names no corpus"),
        (dict(parts=dict(own=dict(length=9))), "part 'own' sets 'length', which belongs to the whole mixture"),
        (dict(parts=dict(own=dict(fold="x"))), "'fold'"),
        (dict(packing="streem"), "'streem'"),
    ],
)
def test_what_is_refused(corpora, tmp_path, fields, what):
    with pytest.raises(XfmError, match=what):
        mixture(corpora, tmp_path, **fields)
    with pytest.raises(XfmError, match=what):
        check_data({"kind": "mixture", "parts": corpora, **fields})
