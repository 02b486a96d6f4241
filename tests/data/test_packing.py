"""Packing loses no token, keeps order, and marks what belongs together."""

import time

import numpy as np
import pytest

from xfm.data.packing import best_fit, documents, padding_share, stream

CLS, SEP, PAD = 2, 3, 0


def corpus(seed, count, longest):
    """Documents of ids that are never special; some longer than a row."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, count)
    tokens = np.arange(10, 10 + lengths.sum(), dtype=np.int32)
    return tokens, lengths, np.split(tokens, np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("cls", [CLS, None])
@pytest.mark.parametrize("sep", [SEP, None])
def test_stream_is_the_documents_in_order(cls, sep):
    tokens, lengths, docs = corpus(0, 37, 50)
    rows = stream(tokens, lengths, 16, cls=cls, sep=sep)["tokens"]
    end = [] if sep is None else [sep]
    flat = np.concatenate([[*doc, *end] for doc in docs])
    body = rows if cls is None else rows[:, 1:]
    assert rows.shape[1] == 16 and rows.dtype == np.int32
    assert np.array_equal(body.ravel(), flat[: body.size])
    assert len(flat) - body.size < body.shape[1]  # only the end that fills no row is left out
    assert cls is None or np.all(rows[:, 0] == cls)


@pytest.mark.parametrize("cls", [CLS, None])
@pytest.mark.parametrize("sep", [SEP, None])
@pytest.mark.parametrize("longest", [6, 60])
def test_documents_keep_every_token_once_and_in_order(cls, sep, longest):
    tokens, lengths, docs = corpus(1, 80, longest)
    packed = documents(tokens, lengths, 16, cls=cls, sep=sep, pad=PAD)
    pieces = []
    for row, segments, positions in zip(*packed.values(), strict=True):
        used = int((segments > 0).sum())
        assert np.all(segments[used:] == 0) and np.all(row[used:] == PAD)
        assert np.all(positions[used:] == 0)
        assert np.array_equal(np.unique(segments[:used]), np.arange(1, segments.max() + 1))
        assert np.all(np.diff(segments[:used]) >= 0)
        for s in range(1, segments.max() + 1):
            piece = row[segments == s]
            assert np.array_equal(positions[segments == s], np.arange(len(piece)))
            if cls is not None:
                assert piece[0] == cls
                piece = piece[1:]
            if sep is not None:
                assert piece[-1] == sep
                piece = piece[:-1]
            pieces.append(piece)
    pieces.sort(key=lambda piece: piece[0])
    assert np.array_equal(np.concatenate(pieces), tokens)
    room = 16 - (cls is not None) - (sep is not None)
    assert len(pieces) == sum(-(-len(doc) // room) for doc in docs)
    starts = {doc[0] for doc in docs}
    assert starts <= {piece[0] for piece in pieces}  # no piece holds parts of two documents


def test_best_fit_fills_rows():
    lengths = np.array([5, 7, 3, 1, 8, 8])
    packed = documents(np.ones(32, np.int32), lengths, 8, cls=None, sep=None)
    assert len(packed["tokens"]) == 4 and padding_share(packed) == 0.0
    assert packed["segments"][0].tolist() == [1] * 5 + [2] * 3


def test_each_piece_goes_to_the_row_with_the_least_room_that_suffices():
    sizes, left = np.random.default_rng(3).integers(1, 17, 60), {}
    row, offset, _, count = best_fit(sizes, 16)
    for size, r, start in zip(sizes, row, offset, strict=True):
        assert left.get(r, 16) == 16 - start == min((room for room in left.values() if room >= size), default=16)
        left[r] = 16 - start - size
    assert len(left) == count


def test_padding_share():
    packed = documents(np.ones(6, np.int32), np.array([6]), 8, cls=None, sep=None)
    assert padding_share(packed) == 0.25
    assert padding_share({"tokens": packed["tokens"]}) == 0.0


def test_nothing_gives_no_rows():
    for pack in (stream, documents):
        rows = pack(np.zeros(0, np.int32), np.zeros(0, np.int64), 8, cls=CLS, sep=SEP)
        assert rows["tokens"].shape == (0, 8)


def test_empty_document_is_cls_and_sep():
    packed = documents(np.zeros(0, np.int32), np.array([0]), 4, cls=CLS, sep=SEP)
    assert packed["tokens"].tolist() == [[CLS, SEP, PAD, PAD]]


@pytest.mark.parametrize("pack", [stream, documents])
def test_two_million_tokens_take_a_second(pack):
    tokens, lengths, _ = corpus(2, 20_000, 200)
    begin = time.process_time()
    pack(tokens, lengths, 128, cls=CLS, sep=SEP)
    assert time.process_time() - begin < 1.5
