"""EfficientTrain's curriculum: low-frequency crops against NumPy's transforms, and its stages. Takes six seconds."""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, shapes
from xfm.augment.frequency import crop_matrix, low_frequencies
from xfm.configs.vision import efficient_train
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.spec import SpecError

IMAGES = np.random.default_rng(0).normal(size=(2, 12, 10, 3)).astype(np.float32)


@pytest.mark.parametrize("band", [10, 8, 7, 1])
def test_equals_the_cropped_spectrum(band):
    """The centre of the shifted transform, transformed back and scaled by the ratio of areas; the mean stays."""
    spectrum = np.fft.fftshift(np.fft.fft2(IMAGES, axes=(1, 2)), axes=(1, 2))
    top, left = 6 - band // 2, 5 - band // 2
    centre = np.fft.ifftshift(spectrum[:, top : top + band, left : left + band], axes=(1, 2))
    expected = np.fft.ifft2(centre, axes=(1, 2)).real * band**2 / 120
    made = low_frequencies(IMAGES, band)
    assert_close(made, expected)
    assert_close(np.asarray(made).mean((1, 2)), IMAGES.mean((1, 2)))


def test_the_whole_band_is_the_identity():
    np.testing.assert_allclose(crop_matrix(9, 9), np.eye(9), atol=1e-12)
    square = IMAGES[:, :10]
    assert low_frequencies(square, 10) is square


NETWORK = dict(
    kind="stack", embed=dict(kind="patches", patch=2, width=8, cls=0), pattern=[dict(kind="mlp", hidden=8)],
    heads=dict(label=dict(kind="classification", classes=3, pool=dict(kind="mean"))),
)  # fmt: skip


def built(stages, **fields):
    objective = dict(kind="curriculum", objective=dict(kind="classification", classes=3), stages=stages, **fields)
    return build_objective(dict(model=NETWORK, objective=objective), None)


def test_each_step_computes_its_stage():
    """The loss is that of the objective inside on images of the stage's side; evaluation sees whole images."""
    one = built([(0, 4), (5, 6), (9, 8)])
    batch = {"images": IMAGES[:, :8, :8], "labels": np.array([0, 2])}
    params, key = noise(shapes(one, batch)[0], seed=1), jax.random.key(0)
    loss = jax.jit(lambda step: one.loss(params, {}, batch, key, step=step)[:2])
    for step, side in ((0, 4), (4, 4), (5, 6), (9, 8), (90, 8)):
        small = {**batch, "images": low_frequencies(batch["images"], side)}
        found, metrics = loss(step)
        assert one.side(step) == side == float(metrics["side"][0])
        assert_close(found, one.inner.loss(params, {}, small, key)[0])
    whole = one.loss(params, {}, batch, key, train=False)
    assert_close(whole[0], one.inner.loss(params, {}, batch, key, train=False)[0])
    assert "side" not in whole[1]
    with pytest.raises(XfmError, match=r"a stage has a side of 9, and images have \(8, 8\); lower it"):
        built([(0, 9)]).loss(params, {}, batch, key)


@pytest.mark.parametrize("stages", [[], [(1, 4)], [(0, 4), (0, 8)], [(0, 4), (9, 8), (5, 8)]])
def test_refused(stages):
    with pytest.raises(SpecError, match="stages are pairs .first step, side. from step 0 on"):
        built(stages)


def test_the_paper_s_schedule():
    """Sides of 160, 192 and 224 in 60, 20 and 20 % of the epochs, RandAugment's magnitude rising to 9 at the end."""
    c = efficient_train.get_config("deit_S")
    epoch = 1_281_167 // 1024
    starts = [(start // epoch, side) for start, side in c.objective.stages]
    assert starts == [(0, 160), (180, 192), (240, 224)]
    (rand,) = [op for op in c.augment.ops if op["kind"] == "rand_augment"]
    assert (rand["magnitude"], rand["ramp"]) == (9.0, c.steps)
    spent = sum(side**2 * n for side, n in ((160, 180), (192, 60), (224, 60))) / (224**2 * 300)
    assert spent == pytest.approx(0.653, abs=1e-3)  # of the patches, and of all that is linear in them
