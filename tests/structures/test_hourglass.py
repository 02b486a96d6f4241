"""The hourglass: where its coarse positions are, that packed texts do not meet, and a row that is cut as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import noise, run, shapes
from xfm.errors import XfmError
from xfm.kernels.conv import neighbours
from xfm.spec import SpecError
from xfm.structures.coarse import slots, windows

NORM = dict(kind="layernorm")
ATTENTION, MLP = dict(kind="attention", heads=2), dict(kind="mlp", hidden=24)
SPEC = dict(
    kind="hourglass",
    embed=dict(kind="hashed", width=16, hashes=4, buckets=23, norm=NORM, position=dict(kind="learned", length=32)),
    before=[dict(kind="attention", heads=2, sight=dict(kind="block_local", block=5)), MLP],
    pattern=[ATTENTION, MLP],
    repeats=2,
    after=[ATTENTION, MLP],
    rate=3,
    norms={"out": NORM},
    heads=dict(tags=dict(kind="tagging", classes=3), pooled=dict(kind="vector", pool=dict(kind="dense"))),
    coarse=("pooled",),
)
SEGMENTS = jnp.array([[1] * 7 + [2] * 11 + [3] * 2 + [0] * 3, [4] * 4 + [0] * 2 + [4] * 9 + [7] * 3 + [2] * 5])


def made(segments=None, seed=0, **changes):
    model = xfm.build(SPEC | changes)
    tokens = np.random.default_rng(seed).integers(0, 0x110000, (2, 23), np.int32)
    batch = {"tokens": tokens} if segments is None else {"tokens": tokens, "segments": segments}
    return model, noise(shapes(model, batch)), batch


def runs(row):
    """[first, end) of each text of a row."""
    cuts = [0, *(np.flatnonzero(np.diff(row)) + 1), len(row)]
    return [(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True) if row[a] > 0]


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_slots_and_windows_equal_loops(rate):
    x = np.random.default_rng(0).standard_normal((2, 23, 4), np.float32)

    @jax.jit
    def both(x, segments):
        where = slots(segments, rate)
        return where, windows(x, where, rate)

    where, seen = jax.tree.map(np.asarray, both(x, SEGMENTS))
    for b, row in enumerate(np.asarray(SEGMENTS)):
        slot = 0
        for first, end in runs(row):
            count = max((end - first) // rate, 1)
            for place in range(count):
                assert where.segments[b, slot + place] == row[first] and where.position[b, slot + place] == place
                window = x[b, first + rate * (place - 1) : first + rate * place] if place else np.zeros((rate, 4))
                np.testing.assert_array_equal(seen[b, slot + place], window)
            reads = [min(1 + t // rate, count - 1) for t in range(end - first)]
            assert where.of[b, first:end].tolist() == [slot + place for place in reads]
            slot += count
        assert not where.segments[b, slot:].any() and slot <= where.at.shape[1] == 23 // rate


@pytest.mark.parametrize("width", [1, 4, 5])
def test_neighbours_equal_loops(width):
    x, segments = np.random.default_rng(0).standard_normal((2, 23, 4), np.float32), np.asarray(SEGMENTS)
    filled = np.where((segments > 0)[..., None], x, np.nan)
    seen = jax.jit(lambda x: neighbours(x, width, segments=segments, before=(width - 1) // 2))(filled)
    seen = np.asarray(seen)
    for b, t, w in np.ndindex(2, 23, width):
        s = t + w - (width - 1) // 2
        own = 0 <= s < 23 and segments[b, s] == segments[b, t] > 0
        np.testing.assert_array_equal(seen[b, t, w], x[b, s] if own else 0)


def test_packed_equals_separate():
    model, params, batch = made()
    packed = np.array([[1] * 9 + [2] * 9 + [3] * 2 + [0] * 3] * 2)
    out = run(model, params, {**batch, "segments": packed})
    texts = np.concatenate([batch["tokens"][:1, :9], batch["tokens"][:1, 9:18]])
    alone = run(model, params, {"tokens": texts})
    assert_close(out["hidden"][0, :18].reshape(2, 9, -1), alone["hidden"])
    assert_close(out["pooled"][0], alone["pooled"][0])  # of the row's first text


def test_padding_reaches_nobody():
    model, params, batch = made(SEGMENTS)
    real = np.asarray(SEGMENTS > 0)
    other = {**batch, "tokens": jnp.where(SEGMENTS > 0, batch["tokens"], 999)}
    np.testing.assert_array_equal(run(model, params, other)["hidden"][real], run(model, params, batch)["hidden"][real])


def test_a_row_without_room_for_a_text_is_nan():
    """Short texts have a coarse position each, and these rows need more of them than there are."""
    model, params, batch = made(SEGMENTS)
    short = jnp.array([[1, 2, 3, 4, 5, 6, 7, *[8] * 3, *[0] * 13], [*[1] * 17, 2, 3, 4, 5, 6, 7]])
    hidden = run(model, params, {**batch, "segments": short})["hidden"]
    assert np.isnan(hidden).all(axis=(1, 2)).tolist() == [True, True]
    enough = short.at[0, 6].set(0).at[1, 17:].set(2)
    hidden = run(model, params, {**batch, "segments": enough})["hidden"]
    assert np.isfinite(hidden).all()


def test_without_padding_both_cuts_are_one():
    model, params, batch = made(SEGMENTS)
    batch = {**batch, "segments": jnp.ones((2, 23), jnp.int32)}
    rows = xfm.build(SPEC | {"cut": "row"})
    assert_close(run(rows, params, batch), run(model, params, batch))


def test_a_row_cut_whole_takes_one_text():
    model, params, batch = made(SEGMENTS, cut="row")
    with pytest.raises(XfmError, match="row 0 holds several texts, .* one text a row; set cut='text'"):
        model.apply(params, batch)
    assert np.isnan(run(model, params, batch)["hidden"]).all()


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(cut="half"), "cut is 'half'; it must be 'text' or 'row'"),
        (dict(rate=1), "a rate of 2 or more"),
        (dict(embed=dict(kind="hashed", width=16, hashes=3)), "1 to 16 hashes that divide its width of 16, not 3"),
        (dict(before=[dict(kind="attention", heads=3)]), "a width of 16 does not divide among 3 heads"),
    ],
)
def test_bad_specs(changes, said):
    with pytest.raises(SpecError, match=said):
        made(**changes)
