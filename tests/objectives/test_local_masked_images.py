"""LocalMIM: histograms of gradients, the loss of each level, and which layers a level trains. Takes six seconds."""

import functools

import jax
import numpy as np
import pytest

from tests.drawn import begun, noise
from tests.keys import key as hashed
from tests.objectives.test_masked_images import IMAGES
from tests.objectives.test_rows import LEVELS, OF_LAYERS
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.gradients import histograms
from xfm.objectives.masks import split_of
from xfm.paths import flatten

B, HIDDEN = 6, 5
IMAGES = np.concatenate([IMAGES, IMAGES[:, :2]], 1)  # 4 x 4 patches


def hog(image, cell, bins):
    """By loops over the pixels, in float64: [cells, cells, C * bins]."""
    height, width, C = image.shape
    x = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    out = np.zeros((height // cell, width // cell, C, bins))
    for i, j, c in np.ndindex(height, width, C):
        around = x[i : i + 3, j : j + 3, c]
        a, b = around[:, 0] - around[:, 2], around[0] - around[2]  # exactly 0 across a mirrored border
        a, b = a[0] + 2 * a[1] + a[2], b[0] + 2 * b[1] + b[2]
        out[i // cell, j // cell, c, int(np.floor(np.arctan2(a, b) / np.pi * bins)) % bins] += np.hypot(a, b)
    length = np.linalg.norm(out, axis=-1, keepdims=True)
    return (out / np.where(length > 0, length, 1)).reshape(*out.shape[:2], -1)


@pytest.mark.parametrize("cell,bins", [(2, 9), (4, 5), (1, 3)])
def test_histograms_of_gradients(cell, bins):
    """Of three colours, one of which is constant and has zeros."""
    images = np.random.default_rng(1).normal(size=(2, 8, 12, 3)).astype(np.float32)
    images[..., 1] = 0.7
    got = histograms(images, cell, bins)
    np.testing.assert_allclose(got, [hog(image, cell, bins) for image in images], atol=1e-5)
    assert not np.asarray(got[..., bins : 2 * bins]).any()
    with pytest.raises(XfmError, match="cells of 5 x 5 pixels do not divide an image of 8 x 12"):
        histograms(images, 5, bins)


def objective(**fields):
    spec = dict(kind="local_masked_images", mask=dict(kind="random", rate=HIDDEN / 16), levels=LEVELS)
    return build_objective(dict(model=OF_LAYERS, objective=spec | fields), None)


@functools.cache
def local():
    one = objective()
    return one, noise(begun(one, {"images": IMAGES})[0], seed=1)


def test_each_level_by_loops_and_their_weighted_sum():
    """Fine tiles of hidden patches, and windows by the share of them that is hidden."""
    one, params = local()
    choose, _ = jax.random.split(hashed(4))
    split = jax.device_get(split_of(one.mask, (2, 2), IMAGES, choose))
    given = {"images": IMAGES, "visible": split.visible, "predicted": split.hidden}
    out = jax.jit(lambda p: one.model.apply({"params": p}, given))(params)
    fine, coarse = [], []
    for row in range(B):
        hidden, numbers = set(split.hidden[row].tolist()), [*split.visible[row], *split.hidden[row]]
        made = {name: dict(zip(numbers, np.asarray(out[name][row]), strict=True)) for name in LEVELS}
        pixels, windows = hog(IMAGES[row], 1, 3), hog(IMAGES[row], 4, 3)
        for n in hidden:
            i, j = 2 * (n // 4), 2 * (n % 4)
            fine.append(((made["finer"][n].reshape(2, 2, 3) - pixels[i : i + 2, j : j + 2]) ** 2).mean())
        for i, j in np.ndindex(2, 2):
            inside = [4 * (2 * i + a) + 2 * j + b for a in (0, 1) for b in (0, 1)]
            apart = (np.mean([made["patches"][n] for n in inside], 0) - windows[i, j]) ** 2
            coarse.append((apart.mean() * len(hidden & set(inside)) / 4, len(hidden & set(inside)) / 4))
    losses = dict(finer=np.mean(fine), patches=sum(a for a, _ in coarse) / sum(b for _, b in coarse))
    loss, metrics, _ = jax.jit(lambda p: one.loss(p, {}, {"images": IMAGES}, hashed(4)))(params)
    for name, wanted in losses.items():
        total, count = metrics[f"loss/{name}"]
        assert float(total / count) == pytest.approx(wanted, rel=1e-5)
    assert float(loss) == pytest.approx(0.5 * losses["finer"] + losses["patches"], rel=1e-5)


def test_the_lowest_level_alone_trains_the_layers_up_to_its_own():
    """And its own decoder; of the layers above, the last norm and the other decoder no parameter has a gradient."""
    _, params = local()
    one = objective(levels=dict(LEVELS, patches=dict(LEVELS["patches"], weight=0.0)))
    slopes = flatten(jax.jit(jax.grad(lambda p: one.loss(p, {}, {"images": IMAGES}, hashed(4))[0]))(params))
    for path, leaf in slopes.items():
        leaf = np.asarray(leaf)
        if path.startswith("layers/"):
            assert leaf[0].any() and not leaf[1].any(), path
        elif not path.endswith("k/bias"):
            assert leaf.any() == path.startswith(("embed/", "decoder_layer_1/")), path


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        XfmError, match="levels.patches: a level's target keeps nothing between steps, and 'codes' does"
    ):
        objective(levels=dict(patches=dict(target=dict(kind="codes", codes=3))))
    with pytest.raises(XfmError, match="windows of 3 x 3 patches do not divide a grid of 4 x 4"):
        run(objective(levels=dict(patches=dict(LEVELS["patches"], merge=3))))
    with pytest.raises(XfmError, match="cells of 4 pixels do not divide a patch of 2 x 2"):
        run(objective(levels=dict(finer=dict(target=dict(kind="hog", cell=4)))))
    for network, message in (
        (dict(OF_LAYERS, taps=()), "reads 'layer_1', and there are hidden, patches; set taps"),
        (dict(OF_LAYERS, beside=dict(layer_1=OF_LAYERS["decoder"])), "decoder_layer_1 has a head 'patches'"),
    ):
        with pytest.raises(XfmError, match=message):
            run(build_objective(dict(model=network, objective=dict(kind="local_masked_images", levels=LEVELS)), None))


def run(one):
    def traced(images):
        params, extra = one.init(jax.random.key(0), {"images": images})
        return one.loss(params, extra, {"images": images}, jax.random.key(1))[0]

    jax.eval_shape(traced, IMAGES)
