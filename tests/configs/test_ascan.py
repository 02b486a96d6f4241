"""AsCAN's strings of blocks: order and counts, strides, all C and all T, and the products of each stage.

Takes three seconds.
"""

import itertools
import re

import jax
import numpy as np
import pytest

import xfm
from tests.drawn import drawn
from xfm.configs.vision import ascan
from xfm.initial import initial_shapes
from xfm.plan.flops import walk

STRINGS = ("CC", "CCT", "CTCT", "CTTTT")


def letters(stage):
    """The blocks of a stage by the kinds of its sublayers; an attention without an MLP after it is no block."""
    kinds = [sublayer.get("part", sublayer)["kind"] for sublayer in stage["pattern"]] * stage["repeats"]
    text = "".join({"fused_mbconv": "C", "attention": "T", "mlp": "m"}[kind] for kind in kinds)
    assert text.count("T") == text.count("Tm") == text.count("m")
    return text.replace("Tm", "T")


@pytest.mark.parametrize("string", ["".join(s) for n in (1, 2, 3, 4, 6) for s in itertools.product("CT", repeat=n)])
def test_a_string_of_blocks_is_built_in_its_order(string):
    pattern, repeats = ascan.blocks(string, 64, 7)
    assert letters(dict(pattern=pattern, repeats=repeats)) == string


def test_equal_blocks_are_one_compiled_loop():
    assert ascan.blocks("CCCC", 64, 7)[1] == 4 and ascan.blocks("CTTCTT", 64, 7)[1] == 2
    assert ascan.blocks("CCT", 64, 7)[1] == 1


@pytest.mark.parametrize("string", ["", "CCX", "ct"])
def test_other_letters_are_refused(string):
    with pytest.raises(ValueError, match="a string of C and T such as 'CCT'"):
        ascan.blocks(string, 64, 7)


def test_the_share_of_transformers_grows_from_stage_to_stage():
    for strings, _, _ in ascan.SIZES.values():
        share = [s.count("T") / len(s) for s in strings]
        assert share[:2] == [0, 0] and share == sorted(share) and share[-1] > share[2] > 0


def of_stage(i, strings, widths, side):
    """The products of a stage's `down` and blocks for one image, in closed form.

    side: rows and columns of the first stage's grid. A norm and a sum of scores have no products.
    """
    T, D, before = (side // 2**i) ** 2, widths[i], widths[i - 1]
    conv = T * (9 * D * 4 * D + 4 * D * D) + 2 * 4 * D * (D // 4)  # and the gate's two maps, once an image
    attend, mlp = T * 4 * D * D + 2 * T * T * D, T * 8 * D * D
    down = 9 * T * before * D if i else 0
    return down + strings[i].count("C") * conv + strings[i].count("T") * (attend + mlp)


@pytest.mark.parametrize("strings", [STRINGS, ("CC",) * 4, ("TT",) * 4], ids=["mixed", "all C", "all T"])
def test_products_of_each_stage_are_those_in_closed_form(strings):
    widths, side = (32, 64, 96, 160), 16
    model = xfm.build(ascan.network(strings, widths, 4 * side, 10))
    assert list(model.strides().values()) == [(n, n) for n in (4, 8, 16, 32)]
    batch = {"images": jax.ShapeDtypeStruct((1, 4 * side, 4 * side, 3), np.float32)}
    traced = jax.make_jaxpr(lambda v, b: model.apply(v, b)["hidden"])(initial_shapes(model, batch), batch)
    counted = dict.fromkeys(range(4), 0)
    for work in walk(traced.jaxpr):
        if named := re.search(r"stage_(\d)", " ".join(name for name, _ in work.scopes)):
            counted[int(named[1])] += work.times * work.flops // 2
    assert counted == {i: of_stage(i, strings, widths, side) for i in range(4)}


@pytest.mark.parametrize("letter", "CT")
def test_networks_of_one_kind_of_block_run(letter):
    model = xfm.build(ascan.network((letter,) * 4, (8, 8, 8, 16), 32, 3, head=8))
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    params = drawn(model, {"images": images})
    out = jax.jit(model.apply)(params, {"images": images})
    assert [out[f"stage_{i}"].shape for i in range(4)] == [(2, 8, 8, 8), (2, 4, 4, 8), (2, 2, 2, 8), (2, 1, 1, 16)]
    assert out["label"].shape == (2, 3) and np.isfinite(out["label"]).all() and np.std(out["label"]) > 0
