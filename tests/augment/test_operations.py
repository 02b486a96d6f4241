"""Augmentation on the device: each operation against Pillow's, and what is random follows from the key alone.

The tolerance is one level (of 255) where Pillow computes in float64 or in integers what is float32 here, so that a
value at the edge between two levels may fall on either side; it is none where whole numbers suffice. Takes twelve
seconds, most of them for compiling.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.augment import OPERATIONS, RECIPES, augment_of, geometry, levels, rand, recipes
from xfm.augment.augment import Augment
from xfm.errors import XfmError
from xfm.spec import SpecError, build

image = pytest.importorskip("PIL.Image")
from PIL import ImageEnhance, ImageFilter, ImageOps  # noqa: E402


@pytest.fixture(scope="module")
def picture():
    """A smooth picture with an edge and some noise, uint8 [21 30 3], whose channels do not reach from 0 to 255."""
    y, x = np.mgrid[:21, :30] / np.array([21, 30]).reshape(2, 1, 1)
    bands = np.stack([0.4 * np.sin(5 * x + 4 * y * k) + 0.45 + 0.1 * (x > y) for k in (1, 2, 3)], -1)
    noise = np.random.default_rng(0).normal(0, 0.05, bands.shape)
    return (np.clip(bands + noise, 0.02, 0.9) * 255).astype(np.uint8)


def table(function):
    return lambda x, amount: levels.looked_up(x, function(x, amount))


POINTWISE = {  # name -> (ours, Pillow's, amounts, tolerance in levels)
    "brightness": (levels.brightness, lambda p, a: ImageEnhance.Brightness(p).enhance(a), (0.1, 0.7, 1.9), 1),
    "contrast": (levels.contrast, lambda p, a: ImageEnhance.Contrast(p).enhance(a), (0.1, 0.7, 1.9), 1),
    "colour": (levels.colour, lambda p, a: ImageEnhance.Color(p).enhance(a), (0.0, 0.7, 1.9), 1),
    "sharpness": (levels.sharpness, lambda p, a: ImageEnhance.Sharpness(p).enhance(a), (0.0, 0.7, 1.9), 1),
    "autocontrast": (table(levels.autocontrast), lambda p, a: ImageOps.autocontrast(p), (0,), 1),
    "equalize": (table(levels.equalize), lambda p, a: ImageOps.equalize(p), (0,), 0),
    "invert": (table(levels.invert), lambda p, a: ImageOps.invert(p), (0,), 0),
    "posterize": (table(levels.posterize), lambda p, a: ImageOps.posterize(p, int(a)), (1, 2, 4, 8), 0),
    "solarize": (table(levels.solarize), lambda p, a: ImageOps.solarize(p, a), (0, 100, 256), 0),
    "grey": (lambda x, a: levels.grey(x) + 0 * x, lambda p, a: p.convert("L").convert("RGB"), (0,), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", POINTWISE)
def test_levels_equal_pillows(name, picture):
    ours, theirs, amounts, most = POINTWISE[name]
    run = jax.jit(ours)
    for amount in amounts:
        want = np.asarray(theirs(image.fromarray(picture), amount), np.float32)
        got = np.asarray(run(picture.astype(np.float32), jnp.float32(amount)))
        assert np.abs(got - want).max() <= most and (np.abs(got - want) > 0).mean() < 0.02, (name, amount)


@pytest.mark.parametrize("flat", [0, 9, 255])
def test_an_image_of_one_colour(flat):
    """Autocontrast and equalising leave it as it is, as Pillow does."""
    x = np.full((5, 6, 3), flat, np.float32)
    for function in (levels.autocontrast, levels.equalize):
        np.testing.assert_array_equal(levels.looked_up(x, function(x, 0)), x)


@pytest.mark.parametrize("name", range(len(rand.MOVES)))
def test_moves_equal_pillows(name, picture):
    """Where all four neighbours are inside: at its edges Pillow's bilinear filter repeats the outermost pixels."""
    H, W = picture.shape[:2]
    run = jax.jit(lambda x, m: levels.rounded(geometry.affine(x, m, jnp.full(3, 7.0))))
    for amount in (-0.8, 0.3, 1.0):
        m = np.asarray(rand.matrix(jnp.int32(name), jnp.float32(amount), H, W), np.float64)
        how = dict(resample=2, fillcolor=(7, 7, 7))
        want = image.fromarray(picture).transform((W, H), image.AFFINE, m.reshape(-1).tolist(), **how)
        error = np.abs(np.asarray(run(picture.astype(np.float32), m.astype(np.float32))) - np.asarray(want, np.float32))
        assert (error > 1).mean() < 0.01, (rand.MOVES[name], amount)  # a pixel on the edge may be outside in float32
    turned = rand.matrix(jnp.int32(0), jnp.float32(1.0), H, W)
    np.testing.assert_allclose(turned @ np.array([W / 2, H / 2, 1]), [W / 2, H / 2], rtol=1e-6)


@pytest.mark.parametrize("filter,number", [("bilinear", 2), ("bicubic", 3)])
def test_a_scaled_part_equals_pillows(filter, number, picture):
    run = jax.jit(lambda x, box: levels.rounded(geometry.scaled(x, (11, 9), box, filter)))
    for top, left, height, width in ((0, 0, 21, 30), (3, 8, 15, 20), (10, 2, 5, 6), (20, 29, 1, 1)):
        part = image.fromarray(picture[top : top + height, left : left + width])
        want = np.asarray(part.resize((9, 11), number), np.float32)
        box = tuple(map(jnp.float32, (top, left, height, width)))
        assert np.abs(np.asarray(run(picture.astype(np.float32), box)) - want).max() <= 1


def test_blur_and_hue(picture):
    """Pillow's Gaussian is three box filters and its HSV has 8 bits, so they are only near."""
    x = picture.astype(np.float32)
    want = np.asarray(image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)), np.float32)
    assert np.abs(np.asarray(jax.jit(geometry.blur)(x, 1.5)) - want)[4:-4, 4:-4].max() < 6
    hsv = np.array(image.fromarray(picture).convert("HSV"))
    hsv[..., 0] += 64
    want = np.asarray(image.fromarray(hsv, "HSV").convert("RGB"), np.float32)
    turned = np.asarray(jax.jit(levels.shifted_hue)(x, jnp.float32(64 / 255)))
    assert np.abs(turned - want).mean() < 2
    np.testing.assert_array_equal(levels.shifted_hue(x, 0.0), x)


EXAMPLES = {
    "flip": {}, "random_resized_crop": dict(size=(7, 9)), "simple_crop": dict(size=12, pad=3),
    "window": dict(size=(5, 7)), "rand_augment": {},
    "colour_jitter": dict(hue=0.1), "grey": dict(chance=0.5), "solarize": dict(chance=0.5), "blur": {},
    "one_of": dict(ops=[dict(kind="grey", chance=1.0), dict(kind="solarize", chance=1.0)]), "erase": dict(chance=0.7),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_differ_and_follow_from_their_key(kind, channels, picture):
    """A kind without an example fails. Rows differ; the same keys give the same bits; levels stay whole."""
    op = build(OPERATIONS, dict(kind=kind, **EXAMPLES[kind]))
    x = picture[..., :channels].astype(np.float32)
    rows = np.stack([x] * 12)
    run = jax.jit(jax.vmap(lambda x, key: op(x, key, jnp.int32(3))))
    first = np.asarray(run(rows, jax.random.split(jax.random.key(0), 12)))
    assert first.shape[-1] == channels and np.isfinite(first).all()
    differing = [not np.array_equal(one, first[0]) for one in first]
    assert any(differing) or (kind in ("grey",) and channels == 1)
    np.testing.assert_array_equal(first, run(rows, jax.random.split(jax.random.key(0), 12)))
    if not hasattr(op, "values"):
        np.testing.assert_array_equal(first, np.round(first))
        assert first.min() >= 0 and first.max() <= 255


def test_rand_augment_draws_every_operation_and_ramps(picture):
    """At magnitude 0 without deviation, only those that have no strength change anything; the ramp leads there."""
    x = picture.astype(np.float32)
    op = dataclasses.replace(build(OPERATIONS, dict(kind="rand_augment")), ramp=100, deviation=0.0, chance=1.0, count=1)
    run = jax.jit(jax.vmap(lambda key, step: op(x, key, step), in_axes=(0, None)))
    keys = jax.random.split(jax.random.key(1), 60)
    still = [np.abs(np.asarray(one) - x).mean() for one in run(keys, jnp.int32(0))]
    moved = [np.abs(np.asarray(one) - x).mean() for one in run(keys, jnp.int32(100))]
    assert np.mean(still) < np.mean(moved) and np.sum(np.array(still) < 1e-3) > 20 > np.sum(np.array(moved) < 1e-3)
    each = jax.jit(jax.vmap(lambda name: rand.applied(x, name, jnp.float32(0.9), jnp.float32(1.0), jnp.zeros(3))))
    changed = np.abs(np.asarray(each(jnp.arange(len(rand.OPS)))) - x).mean((1, 2, 3))
    assert changed.min() > 0.1 and len({round(float(one), 3) for one in changed}) == len(rand.OPS)


def config(**augment):
    return dict(augment=augment, data=dict(kind="images", mean=0.25, std=0.5))


def test_a_batch(picture):
    """Normalised by the data's mean and deviation, which are given back; other arrays stay; views have their names."""
    values = ((picture / 255 - 0.25) / 0.5).astype(np.float32)
    batch = {"images": np.stack([values, values]), "labels": np.arange(2)}
    plain = augment_of(config(ops=[dict(kind="flip", chance=0.0)]))
    made = jax.jit(plain)(batch, jax.random.key(0), 0)
    np.testing.assert_allclose(made["images"], batch["images"], atol=1e-6)
    np.testing.assert_array_equal(made["labels"], batch["labels"])
    views = augment_of(config(views=recipes.dino(local=2, size=16, small=8)))
    shapes = jax.eval_shape(views, batch, jax.random.key(0), 0)
    assert {name: x.shape[1] for name, x in shapes.items() if name != "labels"} == {
        "images": 16, "global_1/images": 16, "local_0/images": 8, "local_1/images": 8,
    }  # fmt: skip
    erased = augment_of(config(ops=[dict(kind="erase", chance=1.0, fill="mean")]))
    changed = np.asarray(jax.jit(erased)(batch, jax.random.key(1), 0)["images"])
    assert (changed == 0).any() and (changed != 0).any()
    assert augment_of(config()) is None
    with pytest.raises(XfmError, match="config.augment changes images, and this data has labels; leave it out"):
        plain({"labels": np.arange(2)}, jax.random.key(0), 0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_built(name):
    Augment(ops=RECIPES[name]).check()


@pytest.mark.parametrize(
    "augment,said",
    [
        (dict(ops=[dict(kind="blurr")]), "has no kind 'blurr'"),
        (dict(ops=[dict(kind="erase"), dict(kind="flip")]), "erase, stands before one on levels; put it last"),
        (dict(ops=[dict(kind="flip")], views={"images": [dict(kind="flip")]}), "either ops or views"),
        (dict(op=[]), "no field 'op'"),
    ],
)
def test_refused(augment, said):
    with pytest.raises(SpecError, match=said):
        augment_of(config(**augment))


def test_a_window_is_a_part_of_the_image_pixel_by_pixel(picture):
    """Of each place in turn; rows that show the same place hold the same bits."""
    x = picture.astype(np.float32)
    op = build(OPERATIONS, dict(kind="window", size=(5, 7)))
    made = np.asarray(jax.jit(jax.vmap(lambda key: op(x, key, 0)))(jax.random.split(jax.random.key(0), 12)))
    parts = np.lib.stride_tricks.sliding_window_view(x, (5, 7), (0, 1)).transpose(0, 1, 3, 4, 2)
    assert all((parts == one).all((2, 3, 4)).any() for one in made)
    with pytest.raises(SpecError, match="a window of 99 x 99 pixels is larger than"):
        build(OPERATIONS, dict(kind="window", size=99))(x, jax.random.key(0), 0)
