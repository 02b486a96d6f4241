"""Mask samplers: exact counts, what the papers say of their shapes, and that chance is even.

Takes six seconds.
"""

import functools
import math

import jax
import numpy as np
import pytest

from tests.keys import key as hashed
from xfm.errors import XfmError
from xfm.objectives.masks import MASKS, Split, budget, mask_of
from xfm.spec import SpecError

ROWS = 64
# name -> (spec, grid, hidden patches); a new sampler needs an example here
EXAMPLES = {
    "random": (dict(kind="random"), (14, 14), 147),
    "random, odd": (dict(kind="random", rate=0.5), (3, 5), 8),
    "tube": (dict(kind="tube"), (8, 6, 7), 304),
    "units": (dict(kind="units"), (8, 12), 60),
    "units of three": (dict(kind="units", rate=0.5, unit=3), (9, 6), 27),
    "block": (dict(kind="block"), (14, 14), 79),
    "block, oblong": (dict(kind="block", rate=0.3, least=4), (5, 9), 14),
    "multi_block": (dict(kind="multi_block"), (14, 14), 29),
    "multi_block, small": (dict(kind="multi_block", targets=2, visible=0.5), (4, 6), 3),
    "by_loss": (dict(kind="by_loss"), (6, 8), 36),
}


def drawn(spec, grid, seed=1):
    """The split of 64 rows, and the key's number for scores of patches."""
    more = ()
    if spec["kind"] == "by_loss":
        more = (np.random.default_rng(0).normal(size=(ROWS, math.prod(grid))).astype(np.float32), 1.0)
    return jax.device_get(jax.jit(lambda key: mask_of(spec)(key, ROWS, grid, *more))(hashed(seed)))


@functools.cache
def example(name):
    spec, grid, hidden = EXAMPLES[name]
    return drawn(spec, grid), grid, hidden


def test_every_sampler_has_an_example():
    assert {spec["kind"] for spec, *_ in EXAMPLES.values()} == set(MASKS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_counts_are_exact_and_nothing_is_both_hidden_and_visible(name):
    split, grid, hidden = example(name)
    T = math.prod(grid)
    assert split.hidden.shape[-1] == hidden and split.hidden.shape[0] == ROWS
    real = np.ones(split.visible.shape, bool) if split.real is None else split.real
    for row in range(ROWS):
        seen = split.visible[row][real[row]]
        assert len(set(seen)) == len(seen) and not set(seen) & set(split.hidden[row].ravel())
        assert (np.diff(seen) > 0).all() and (np.diff(split.hidden[row], axis=-1) > 0).all()
        assert min(seen.min(), split.hidden[row].min()) >= 0 and max(seen.max(), split.hidden[row].max()) < T
        if split.hidden.ndim == 2:
            assert len(seen) + hidden == T
    mask = np.asarray(split.mask(T))
    assert all(set(np.flatnonzero(mask[i])) == set(split.hidden[i].ravel()) for i in range(ROWS))
    assert len({mask[i].tobytes() for i in range(ROWS)}) > 14, "rows are masked alike"


@pytest.mark.parametrize("name", ["random", "tube", "units", "by_loss"])
def test_patches_are_hidden_equally_often(name):
    """Over rows of independent masks each patch is hidden at the rate; 4.5 standard deviations of a binomial."""
    split, grid, hidden = example(name)
    T = math.prod(grid)
    often = split.mask(T).mean(0)
    rate = hidden / T
    assert np.abs(often - rate).max() < 4.5 * math.sqrt(rate * (1 - rate) / ROWS)


def test_tubes_are_the_same_patches_of_every_frame():
    split, (t, h, w), hidden = example("tube")
    frames = np.asarray(split.mask(t * h * w)).reshape(ROWS, t, h * w)
    assert (frames == frames[:, :1]).all() and (frames[:, 0].sum(1) == hidden // t).all()
    with pytest.raises(XfmError, match=r"this mask is of images, and the grid \(2, 4, 4\) is of videos"):
        mask_of(dict(kind="units"))(hashed(0), 1, (2, 4, 4))


def test_units_are_hidden_whole():
    split, (h, w), _ = example("units of three")
    squares = np.asarray(split.mask(h * w)).reshape(ROWS, h // 3, 3, w // 3, 3)
    assert (squares.any((2, 4)) == squares.all((2, 4))).all()
    with pytest.raises(XfmError, match="squares of 3 x 3 patches do not divide a grid of 8 x 9"):
        mask_of(dict(kind="units", unit=3))(hashed(0), 1, (8, 9))


def neighbours(mask):
    """The share of neighbouring pairs of which both or none are hidden."""
    return np.mean([(mask[:, 1:] == mask[:, :-1]).mean(), (mask[:, :, 1:] == mask[:, :, :-1]).mean()])


def test_blocks_are_blocks():
    """Neighbours agree far more often than in a random mask of the same count, and every block has a part of 16."""
    masks = {name: np.asarray(drawn(spec, (14, 14), 5).mask(196)).reshape(ROWS, 14, 14)
             for name, spec in (("block", dict(kind="block")), ("random", dict(kind="random", rate=0.4)))}  # fmt: skip
    assert neighbours(masks["random"]) < 0.56 and neighbours(masks["block"]) > 0.8
    middle, corner = masks["block"][:, 5:9, 5:9].mean(), masks["block"][:, [0, 0, -1, -1], [0, -1, 0, -1]].mean()
    assert middle > 2 * corner, "rectangles cover the middle of a grid more often than its corners"


def test_targets_are_rectangles_of_the_paper_and_the_context_avoids_them():
    """Their first rows are whole and of one width, whose ratio to the height is within the paper's bounds."""
    split, (h, w), K = example("multi_block")
    sides = []
    for one in split.hidden.reshape(-1, K):
        rows, columns = np.divmod(one, w)
        starts = [columns[rows == r] for r in np.unique(rows)]
        assert all((np.diff(c) == 1).all() for c in starts) and (np.diff(np.unique(rows)) == 1).all()
        assert {(c[0], len(c)) for c in starts[:-1]} == {(starts[0][0], len(starts[0]))}
        sides.append(len(starts[0]))
    # From what 29 patches need in 7 rows, √(0.15 · 196 · 1.5), to √(0.2 · 196 / 0.75).
    assert min(sides) == 5 and max(sides) == 7
    assert split.real.all(1).mean() > 0.5, "most rows have a whole context"
    assert split.visible.shape == (ROWS, math.floor(0.4 * h * w))


def test_a_context_that_is_too_small_says_so():
    split = drawn(dict(kind="multi_block", visible=0.9), (14, 14))
    assert not split.real.all(1).any()
    assert (split.visible[~split.real] == 0).all() and 0.2 < split.real.mean() < 0.7


def test_by_loss_goes_from_random_to_the_hardest():
    """Wang et al. 2023, section 3.3: uniform at first; at the end the hardest patches fill the set share."""
    scores = np.random.default_rng(0).normal(size=(ROWS, 48)).astype(np.float32)
    spec = dict(kind="by_loss", rate=0.75, hard=(0.0, 1.0))
    hidden = {t: np.asarray(mask_of(spec)(hashed(3), ROWS, (6, 8), scores, t).mask(48)) for t in (0.0, 0.5, 1.0, 7.0)}
    rank = (-scores).argsort(1).argsort(1)
    assert (hidden[1.0] == (rank < 36)).all() and (hidden[7.0] == hidden[1.0]).all()
    assert hidden[0.5][rank < 18].all() and 0.5 < hidden[0.5][rank >= 18].mean() < 0.7
    plain = np.asarray(mask_of(dict(kind="random"))(hashed(3), ROWS, (6, 8)).mask(48))
    assert (hidden[0.0] == plain).all()


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(SpecError, match="mask of images"):
        mask_of(dict(kind="randon"))
    with pytest.raises(SpecError, match="rate is 1.0; it must be"):
        mask_of(dict(kind="random", rate=1.0))
    with pytest.raises(XfmError, match="a rate of 0.9 hides 4 of 4 patches"):
        budget(0.9, 4)
    with pytest.raises(
        XfmError, match="this objective cannot use the mask 'multi_block'; choose random, tube, units, block,"
    ):
        mask_of(dict(kind="multi_block"), "multi_block")
    assert Split(np.zeros((1, 1), int), np.array([[[1], [2]]])).mask(4).tolist() == [[False, True, True, False]]
