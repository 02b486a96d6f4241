"""Masked image modelling: what the encoder is given, where the loss is, and what the targets are.

Takes fifteen seconds.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import begun, noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_rows import AUTOENCODER, PATCHES, stack
from xfm.configs.vision import mae, spark, vit
from xfm.errors import XfmError
from xfm.evaluators.pictures import reconstructed, side_by_side, unpatchify
from xfm.initial import initial_shapes
from xfm.kernels.platform import compiling_for
from xfm.objectives import build_objective
from xfm.objectives.masks import Split
from xfm.objectives.targets import Codes, Pixels, nearest_code
from xfm.parts.embed.patchify import patchify
from xfm.plan.flops import total

B = 6
DECODER = dict(AUTOENCODER, pattern=[dict(kind="attention", heads=2), dict(kind="mlp", hidden=8)])
IMAGES = np.random.default_rng(0).normal(size=(B, 6, 8, 1)).astype(np.float32)  # twelve patches


def objective(network=DECODER, **fields):
    return build_objective(dict(model=network, objective=dict(kind="masked_images", **fields)), None)


@functools.cache
def mae_of():
    one = objective(mask=dict(kind="random", rate=0.5))
    params = noise(begun(one, {"images": IMAGES})[0], seed=1)
    split = jax.device_get(one.split(IMAGES, hashed(1)))
    run = jax.jit(lambda images, split: one.predicted(params, {"images": images}, split)[0])
    return one, params, split, run


def test_the_loss_is_that_of_hidden_patches_by_normalised_pixels():
    """Each patch by its own mean and unbiased deviation (He et al. 2022, section 3), written out by loops."""
    one, params, _, run = mae_of()
    choose, _, _ = jax.random.split(hashed(4), 3)
    split = jax.device_get(one.split(IMAGES, choose))
    predicted, losses = np.asarray(run(IMAGES, split), np.float64), []
    for row in range(B):
        for k, number in enumerate(split.hidden[row]):
            i, j = divmod(number, 4)
            pixels = IMAGES[row, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].astype(np.float64).ravel()
            wanted = (pixels - pixels.mean()) / np.sqrt(pixels.var(ddof=1) + 1e-6)
            losses.append(((predicted[row, k] - wanted) ** 2).mean())
    loss, metrics, _ = jax.jit(lambda p: one.loss(p, {}, {"images": IMAGES}, hashed(4)))(params)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5) and metrics["loss"][1] == B * 6


def test_predictions_depend_on_visible_patches_alone():
    """Exactly: hidden pixels may be NaN. And each visible patch has a part in it."""
    _, _, split, run = mae_of()
    before = np.asarray(run(IMAGES, split))
    for row, number in ((2, split.hidden[2, 3]), (2, split.visible[2, 1])):
        changed, (i, j) = IMAGES.copy(), divmod(number, 4)
        changed[row, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = np.nan if number in split.hidden[2] else 3.0
        after = np.asarray(run(changed, split))
        if number in split.hidden[2]:
            np.testing.assert_array_equal(after, before)
        else:
            assert np.abs(after[2] - before[2]).min() > 0
            np.testing.assert_array_equal(np.delete(after, 2, 0), np.delete(before, 2, 0))


def test_the_order_of_patches_does_not_matter_where_positions_say_which_they_are():
    _, _, split, run = mae_of()
    turned = Split(split.visible[:, ::-1], split.hidden[:, ::-1])
    np.testing.assert_allclose(run(IMAGES, turned)[:, ::-1], run(IMAGES, split), atol=2e-5)


def test_without_a_mask_the_network_is_its_encoder():
    """On whole images, by the parameters of the same names: a network without a decoder needs no others."""
    one, params, _, _ = mae_of()
    encoder = xfm.build({**{k: v for k, v in DECODER.items() if k != "decoder"}, "kind": "stack"})
    own = {name: p for name, p in params.items() if name != "decoder"}
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, dict(shapes(encoder, {"images": IMAGES})["params"]))
    whole = jax.jit(lambda p: one.model.apply({"params": p}, {"images": IMAGES}))(params)
    alone = jax.jit(lambda p: encoder.apply({"params": p}, {"images": IMAGES}))(own)
    assert whole.keys() == alone.keys() and np.array_equal(whole["hidden"], alone["hidden"])


def test_simmim_reads_mask_tokens_and_counts_hidden_pixels():
    """Xie et al. 2022, section 3.4: the mean absolute difference of hidden pixels, from an image that a head makes."""
    network = stack(dict(PATCHES, cls=0, mask="token"), pixels=dict(kind="pixels", stride=2, channels=1))
    one = objective(
        network, shown="tokens", mask=dict(kind="units", rate=0.5), target=dict(kind="pixels", distance="absolute")
    )
    params = noise(begun(one, {"images": IMAGES})[0], seed=1)
    images = np.concatenate([IMAGES, IMAGES[:, :2]], 1)
    choose, _, _ = jax.random.split(hashed(4), 3)
    hidden = np.asarray(one.split(images, choose).mask(16)).reshape(B, 4, 4)
    given = {"images": images, "hidden": hidden.reshape(B, 16)}
    made = jax.jit(lambda p: one.model.apply({"params": p}, given)["pixels"])(params)
    apart = np.abs(made - images)[hidden.repeat(2, 1).repeat(2, 2)]
    loss, metrics, _ = jax.jit(lambda p: one.loss(p, {}, {"images": images}, hashed(4)))(params)
    assert float(loss) == pytest.approx(apart.mean(), rel=1e-5) and metrics["loss"][1] == B * 8
    blank = np.where(hidden.repeat(2, 1).repeat(2, 2)[..., None], 9, images).astype(np.float32)
    same = jax.jit(lambda p: one.model.apply({"params": p}, {**given, "images": blank})["pixels"])(params)
    np.testing.assert_array_equal(same, made)


CONVNEXT = spark.network((1, 1), (4, 8), patch=1, doublings=1, width=8, channels=1, scale=None)
CONVNEXT["heads"]["pixels"]["norm"] = dict(kind="layernorm")
CONVNEXT["embed"]["stem"] |= dict(size=3, margin=1)  # patches that overlap


@functools.cache
def sparse():
    """The objective for a small ConvNeXt, whose padding is what is hidden, its outputs for a batch, and a division."""
    one = objective(CONVNEXT, shown="padding", mask=dict(kind="units", rate=0.6))
    params = noise(begun(one, {"images": IMAGES})[0], seed=1)
    run = jax.jit(lambda batch: one.model.apply({"params": params}, batch))
    return one, run, jax.device_get(one.split(IMAGES, hashed(1)))


def test_hidden_pixels_reach_no_feature():
    """Tian et al. 2023, section 3.1, exactly: hidden pixels may be NaN. And visible ones reach their neighbours."""
    one, run, split = sparse()
    before = run({"images": IMAGES, **one.given({"images": IMAGES}, split)})
    hidden = np.asarray(split.mask(48)).reshape(B, 6, 8)
    assert (hidden.reshape(B, 3, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(B, 12, 4).std(-1) == 0).all()
    assert not np.asarray(before["stage_0"])[hidden].any() and np.isfinite(before["pixels"]).all()
    blank = np.where(hidden[..., None], np.nan, IMAGES)
    after = run({"images": blank, **one.given({"images": blank}, split)})
    jax.tree.map(np.testing.assert_array_equal, after, before)
    changed = np.where(hidden[..., None], IMAGES, 2 * IMAGES)
    after = run({"images": changed, **one.given({"images": changed}, split)})
    assert (np.abs(np.asarray(after["stage_0"] - before["stage_0"])).max(-1) > 0).tolist() == (~hidden).tolist()


def test_with_nothing_hidden_the_network_is_the_dense_one():
    _, run, _ = sparse()
    whole = run({"images": IMAGES})
    jax.tree.map(assert_close, run({"images": IMAGES, "segments": np.ones((B, 48), np.int32)}), whole)


def test_pixels_are_normalised_by_windows_of_patches():
    """Those of 2 x 2 patches of 1 x 2 pixels as those of patches of 2 x 4."""
    small = Pixels(scale="patch", window=2).of({}, jnp.asarray(IMAGES), (1, 2))
    large = Pixels(scale="patch").of({}, jnp.asarray(IMAGES), (2, 4))
    np.testing.assert_array_equal(unpatchify(small, (1, 2), (6, 4)), unpatchify(large, (2, 4), (3, 2)))


def test_codes_are_found_by_k_means_and_then_stay():
    """Of patches around three points each code ends at one of them, and its number is then the point's."""
    points = np.array([[0, 0, 0, 0], [9, 0, 9, 0], [0, 9, 0, 9.0]])
    rng, target = np.random.default_rng(0), Codes(codes=3, until=40)
    which = rng.integers(0, 3, (8, 12))
    x = points[which] + 0.3 * rng.normal(size=(8, 12, 4))
    images = np.asarray(unpatchify(jnp.asarray(x, jnp.float32), (2, 2), (3, 4)))
    step = jax.jit(lambda state, i: target.updated(state, images, (2, 2), jnp.ones(8), i, hashed(8)))
    state = target.start(hashed(0), images, (2, 2))
    for i in range(40):
        state = step(state, i)
    codes = np.asarray(state["codes"])
    order = np.abs(codes[:, None] - points).sum(-1).argmin(0)
    assert sorted(order) == [0, 1, 2] and np.abs(codes[order] - points).max() < 0.4
    assert (np.asarray(target.of(state, images, (2, 2))) == order[which]).all()
    assert all(np.array_equal(step(state, 40)[name], state[name]) for name in state)
    assert nearest_code(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0], [1.0, 1.9], [5.0, 5.0]])).tolist() == [1]


def test_distances_and_baselines():
    rows = [dict(images=image) for image in IMAGES]
    data = type("Data", (), dict(train=rows, valid=rows))
    squared = Pixels().baseline(data, (2, 2))["mean pixel"]
    assert squared == pytest.approx(IMAGES.var(), rel=1e-5)
    absolute = Pixels(distance="absolute").baseline(data, (2, 2))["mean pixel"]
    assert absolute == pytest.approx(np.abs(IMAGES - np.median(IMAGES)).mean(), rel=1e-5)
    assert Pixels(scale="patch").baseline(data, (2, 2))["mean pixel"] == pytest.approx(0.75, rel=1e-4)
    by_position = Pixels().baseline(data, (2, 2))["mean image"]
    assert by_position == pytest.approx(IMAGES.var(0).mean(), rel=1e-5)
    assert Codes(codes=10).baseline(data, (2, 2))["chance"] == pytest.approx(np.log(10))
    smooth = Pixels(distance="smooth").measured(jnp.array([[[0.5, 3.0]]]), jnp.zeros((1, 1, 2)))["loss"]
    assert smooth.tolist() == [[(0.125 + 2.5) / 2]]


def test_reconstructions_use_what_is_visible():
    """With normalised pixels 0 a hidden patch becomes the mean of the visible patches' means; the rest is as it was."""
    split = Split(np.array([[0, 5, 6]]), np.array([[1, 2, 3, 4, 7, 8, 9, 10, 11]]))
    x = np.asarray(patchify(jnp.asarray(IMAGES[:1]), (2, 2)), np.float64)
    for predicted, wanted in ((0.0, x[0, [0, 5, 6]].mean()), (2.0, None)):
        given = jnp.full((1, 9, 4), predicted)
        made = np.asarray(patchify(reconstructed(jnp.asarray(IMAGES[:1]), given, split, (2, 2), "patch"), (2, 2)))
        np.testing.assert_allclose(made[0, [0, 5, 6]], x[0, [0, 5, 6]], rtol=1e-6)
        spread = np.sqrt(x[0, [0, 5, 6]].var(-1, ddof=1) + 1e-6).mean()
        wanted = x[0, [0, 5, 6]].mean() + 2 * spread if wanted is None else wanted
        np.testing.assert_allclose(made[0, split.hidden[0]], wanted, rtol=1e-4)
    raw = reconstructed(jnp.asarray(IMAGES[:1]), jnp.full((1, 9, 4), 7.0), split, (2, 2), "image")
    assert (np.asarray(patchify(raw, (2, 2)))[0, split.hidden[0]] == 7).all()
    picture = side_by_side(IMAGES[:2], IMAGES[:2])
    assert picture.dtype == np.uint8 and (picture.min(), picture.max()) == (0, 255)
    height, width = (side // 2 - 2 for side in picture.shape[:2])  # two rows, two columns, each in a frame of one pixel
    times = height // IMAGES.shape[1]
    assert times > 1 and (height, width) == (times * IMAGES.shape[1], times * IMAGES.shape[2])
    inside = picture[1 : 1 + height, 1 : 1 + width]
    np.testing.assert_array_equal(inside, inside[::times, ::times].repeat(times, 0).repeat(times, 1))


def flops(spec, batch):
    model = xfm.build(spec)
    params = initial_shapes(model, {"images": batch["images"]})["params"]
    with compiling_for("cpu"):
        return total(jax.make_jaxpr(lambda p, b: model.apply({"params": p}, b))(params, batch).jaxpr)


@pytest.mark.parametrize("name,both", [("B", 0.58), ("L", 0.36), ("H14", 0.31)])
def test_the_encoder_costs_a_quarter(name, both):
    """Of the FLOPs of the same ViT on whole images; with the decoder as in the reference, 0.557, 0.337 and 0.290."""
    layers, width, heads, patch = mae.SIZES[name]
    patches = (224 // patch) ** 2
    images = {"images": jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)}
    numbers = {
        k: jax.ShapeDtypeStruct((1, n), jnp.int32)
        for k, n in (("visible", patches // 4), ("predicted", patches - patches // 4))
    }
    plain = vit.network(layers, width, heads, patch=patch, size=224, classes=0, activation="gelu") | {"heads": {}}
    spec = mae.network(layers, width, heads, patch, size=224)
    whole = flops(plain, images)
    encoder = flops(plain, {**images, "visible": numbers["visible"]})
    assert 0.24 < encoder / whole < 0.27
    assert both - 0.03 < flops(spec, {**images, **numbers}) / whole < both


def test_what_does_not_fit_is_refused():
    with pytest.raises(XfmError, match="needs a network with a head 'patches'"):
        jax.eval_shape(
            lambda: objective(stack(PATCHES)).loss(
                *begun(objective(stack(PATCHES)), {"images": IMAGES}), {"images": IMAGES}, hashed(0)
            )
        )
    with pytest.raises(XfmError, match="cannot use the mask 'multi_block'"):
        objective(mask=dict(kind="multi_block"))
    with pytest.raises(XfmError, match="has no kind 'pixel' .did you mean 'pixels'"):
        objective(target=dict(kind="pixel"))
    with pytest.raises(XfmError, match="hides squares of 1 x 1 pixels, and a token of the last stage has 2 x 2"):
        objective(CONVNEXT, shown="padding")
    with pytest.raises(XfmError, match="window=2 is of scale 'patch', and scale is 'image'"):
        objective(target=dict(kind="pixels", window=2))
    with pytest.raises(XfmError, match="windows of .4, 4. pixels do not divide images of .6, 8."):
        Pixels(scale="patch", window=2).of({}, jnp.asarray(IMAGES), (2, 2))
    with pytest.raises(XfmError, match="does not divide images into patches"):
        objective(stack()).model.patch  # noqa: B018
