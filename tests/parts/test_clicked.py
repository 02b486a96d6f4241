"""Clicks beside an image change nothing before they are trained, and then only patches near them. Takes one second."""

import jax
import numpy as np

from tests.close import assert_close
from tests.parts.cases import case
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import build


def test_a_new_map_of_clicks_leaves_the_features_as_they_are():
    one = case("embed", "clicked", 0)
    batch, ctx = one.inputs
    alone = build(SLOTS["embed"], one.spec["embed"])
    fresh = dict(one.params["params"], clicks=jax.tree.map(np.zeros_like, one.params["params"]["clicks"]))

    def both(p, batch):
        return one.apply({"params": p}, batch, ctx), alone.apply({"params": p["embed"]}, batch, ctx)[0]

    run = jax.jit(both)
    given, expected = run(fresh, batch)
    assert_close(given, expected, rtol=0)
    none = {"images": batch["images"]}
    given, expected = run(fresh, none)
    assert_close(given, expected, rtol=0)
    unbiased = dict(one.params["params"], clicks={**one.params["params"]["clicks"], "bias": np.zeros(16, np.float32)})
    given, expected = run(unbiased, {**batch, "mask": 0 * batch["mask"]})
    moved = np.abs(given - expected).max(-1) > 0
    assert not moved[2].any() and not moved[:, :2].any()  # no click, and no patch
    assert moved[0, 2:].reshape(3, 4).tolist() == [[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 1]]


def test_its_width_and_rows_are_those_of_the_image_and_the_clicks():
    embed = build(SLOTS["embed"], case("embed", "clicked", 0).spec)
    assert (embed.width, embed.lead, embed.step()) == (16, 2, (2, 2))
    assert set(embed.row()) == {"images", "clicks"} and Context().grid is None
