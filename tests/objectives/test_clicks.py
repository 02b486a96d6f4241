"""Simulated clicks against SciPy and by hand, and the loss by its formula. Takes six seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from tests.close import assert_close
from xfm.errors import XfmError
from xfm.objectives.clicks import at_size, normalised_focal, overlap
from xfm.objectives.simulated_clicks import (
    Target,
    border,
    drawn_click,
    drawn_target,
    eroded,
    farthest_click,
    first_clicks,
    keys_of,
    squared_distances,
)

SHARES = (0.5, 0.9, 0.97, 0.99, 1.0, 0.0)  # of pixels inside, of one image each


def inside(seed=0, size=(23, 31)):
    return np.random.default_rng(seed).random((len(SHARES), *size)) < np.reshape(SHARES, (-1, 1, 1))


def test_distances_are_scipys():
    """Pixels around the image are outside."""
    expected = [ndimage.distance_transform_edt(np.pad(one, 1))[1:-1, 1:-1] ** 2 for one in inside()]
    assert np.array_equal(jax.jit(squared_distances)(inside()), np.rint(expected))


def test_erosion_and_border_are_scipys():
    square, every = np.ones((3, 3)), inside(1, (40, 30))
    expected = [ndimage.binary_erosion(one, square, 3, border_value=1) for one in every]
    assert np.array_equal(jax.jit(eroded)(every), expected) and np.any(expected)
    small = np.zeros((2, 40, 30), bool)
    small[0, 5:15, 6:20], small[1, 38:, 3] = True, True
    expected = [ndimage.binary_dilation(one, square, int(np.ceil(0.1 * np.sqrt(one.sum())))) & ~one for one in small]
    assert np.array_equal(jax.jit(border)(small), expected)


def target_of(wanted, counts=None):
    counts = np.ones_like(wanted) if counts is None else counts
    return Target(wanted, counts & ~wanted & False, counts, jnp.ones(len(wanted), jnp.int32))


def test_the_next_click_falls_in_the_largest_error():
    """Row 0 misses a square of 5 x 5 and has one of 3 x 3 too many, row 1 the reverse, row 2 none; row 3 has a large
    error that does not count. A pixel that is clicked already is left out."""
    wanted, predicted = np.zeros((2, 4, 16, 16), bool)
    counts = np.ones_like(wanted)
    wanted[0, 2:7, 3:8], predicted[0, 10:13, 10:13] = True, True
    predicted[1, 2:7, 3:8], wanted[1, 10:13, 10:13] = True, True
    wanted[2, 4:9, 4:9] = predicted[2, 4:9, 4:9] = True
    wanted[3, :8, :8], counts[3, :8, :8], predicted[3, 12, 12] = True, False, True
    target, clicked = target_of(wanted, counts), np.zeros_like(wanted)
    step = jax.jit(farthest_click)
    assert step(predicted, target, clicked).tolist() == [[4, 5, 1], [4, 5, -1], [0, 0, 0], [12, 12, -1]]
    clicked[0, 4, 5] = True
    assert step(predicted, target, clicked)[0].tolist() == [
        11,
        11,
        -1,
    ]  # both are of depth 2 now, and the tie is negative
    clicked[0, 11, 11] = True
    assert step(predicted, target, clicked)[0].tolist() == [3, 4, 1]  # the first of depth 2 in row-major order

    draw = jax.jit(lambda key: drawn_click(keys_of(key, jnp.arange(4)), predicted, target))
    found = np.stack([draw(jax.random.key(i)) for i in range(60)])
    seen = {tuple(click) for click in found[:, 0].tolist()}
    assert seen == {(row, column, 1) for row in (3, 4, 5) for column in (4, 5, 6)}  # deeper than 3 / 2
    assert {tuple(click) for click in found[:, 1].tolist()} == {(*at, -1) for *at, _ in seen}
    assert not found[:, 2].any() and (found[:, 3] == [12, 12, -1]).all()


def test_objects_and_first_clicks_are_drawn():
    labels = np.zeros((3, 24, 24), np.int32)
    labels[0, 2:14, 2:14], labels[0, 16:22, 16:22], labels[0, 20:, :3], labels[0, 0, 0] = 3, 5, 9, 1
    labels[1, 4:12, 4:12] = 2
    labels[2, 3, 3] = 7
    points, share = 6, 0.5

    @jax.jit
    def draw(key):
        choose, begin = jax.random.split(key)
        target = drawn_target(keys_of(choose, jnp.arange(3)), labels, least=4, ignore=9)
        return target, first_clicks(keys_of(begin, jnp.arange(3)), target, points, share)

    numbers, strays, counted, on_edges = [], [], [], []
    for i in range(120):
        target, clicks = jax.device_get(draw(jax.random.key(i)))
        numbers.append(target.number)
        assert np.array_equal(target.wanted, (labels == target.number[:, None, None]) & (labels > 0) & (labels != 7))
        assert np.array_equal(target.counts, labels != 9) and not clicks[2, :points].any()
        for row in range(2):
            on, off = clicks[row, :points], clicks[row, points:]
            assert on[0, 2] == 1 and set(on[:, 2]) <= {0, 1} and set(off[:, 2]) <= {0, -1}
            for click in clicks[row][clicks[row, :, 2] != 0]:
                assert target.wanted[row, click[0], click[1]] == (click[2] == 1)
                strays.append(labels[row, click[0], click[1]] == 9)
            counted.append(((on[:, 2] != 0).sum(), (off[:, 2] != 0).sum()))
        if target.number[0] == 3:  # the one object that is still large enough after erosion
            edge = target.wanted[0] & ~ndimage.binary_erosion(target.wanted[0], np.ones((3, 3)))
            on_edges += [edge[row, column] for row, column, sign in clicks[0, :points] if sign]
    assert {n.tolist()[0] for n in numbers} == {3, 5} and {tuple(n[1:]) for n in numbers} == {(2, 0)}
    assert 0.35 < np.mean([n[0] == 3 for n in numbers]) < 0.65 and not any(strays)
    on, off = np.mean(counted, 0)
    expected = 0.5 ** np.arange(7)
    assert on == pytest.approx(1 + expected[:6] @ np.arange(6) / expected[:6].sum(), abs=0.3)
    assert off == pytest.approx(expected @ np.arange(7) / expected.sum(), abs=0.3)
    assert 0 < np.mean(on_edges) < 0.12  # a tenth of 44 / 144


def test_the_loss_is_the_normalised_focal_loss():
    """The formula of the paper's program in float64, whose scale is held fixed for the gradient."""
    rng = np.random.default_rng(0)
    logits, wanted, counts = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)) < 0.4, rng.random((3, 4, 5)) < 0.8
    counts[2] = False  # an image of which nothing is known loses nothing

    def factors(logits):
        right = np.where(wanted, 1, -1) * logits
        truth = 1 / (1 + np.exp(-right))
        return np.where(counts, (1 - truth) ** 2, 0), np.log(truth)

    def losses(logits, scale):
        focal, log = factors(logits)
        weight = np.where(wanted, 0.3, 0.7)
        return -(weight * focal * scale * log).sum((1, 2)) / np.maximum(counts.sum((1, 2)), 1)

    scale = (counts.sum((1, 2)) / (factors(logits)[0].sum((1, 2)) + 1e-12))[:, None, None]

    def ours(logits):
        found = normalised_focal(logits, wanted, counts, 0.3, 2.0)
        return found.sum(), found

    slopes, found = jax.jit(jax.grad(ours, has_aux=True))(jnp.float32(logits))
    assert_close(found, losses(logits, scale).astype(np.float32))
    step = 1e-5
    expected = np.zeros_like(logits)
    for at in np.ndindex(logits.shape):
        moved = np.zeros_like(logits)
        moved[at] = step
        expected[at] = (losses(logits + moved, scale) - losses(logits - moved, scale)).sum() / (2 * step)
    assert_close(slopes, expected.astype(np.float32), rtol=3e-5)  # of a gradient


def test_overlap_and_corners():
    predicted, wanted = np.array([[[1, 1, 0, 1]]], bool), np.array([[[0, 1, 1, 1]]], bool)
    assert overlap(predicted, wanted, np.array([[[1, 1, 1, 0]]], bool)).tolist() == pytest.approx([1 / 3])
    found = at_size(jnp.float32([[[[0.0], [2.0], [8.0]]]]), (1, 5))
    assert found.tolist() == [[[0.0, 1.0, 2.0, 5.0, 8.0]]]
    with pytest.raises(XfmError, match="one number for each position, .* set its classes to 1"):
        at_size(jnp.zeros((1, 2, 2, 3)), (4, 4))
