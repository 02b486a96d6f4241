"""Towers: what runs, by what they are compared, and what is refused. Takes three seconds."""

import jax
import numpy as np
import pytest

import xfm
from tests.drawn import drawn, run
from tests.keys import key
from tests.structures.examples import EMBED, MLP
from xfm.errors import XfmError
from xfm.spec import SpecError

TEXT = dict(kind="stack", embed=EMBED, pattern=[MLP], heads=dict(embeds=dict(kind="vector")))
IMAGE = dict(
    kind="stack", embed=dict(kind="patches", patch=2, width=8), pattern=[MLP], heads=dict(embeds=dict(kind="vector"))
)
TOWERS = dict(kind="towers", towers=dict(vision=IMAGE, text=TEXT), vectors=dict(text="embeds", vision="embeds"))
BOTH = ("text", "vision")
BATCH = {
    "text/tokens": np.arange(15).reshape(3, 5) % 7,
    "vision/images": np.random.default_rng(0).standard_normal((2, 4, 4, 1), np.float32),
}


@pytest.fixture(scope="module")
def made():
    model = xfm.build(TOWERS | dict(scale=5.0, bias=-2.0))
    return model, drawn(model, BATCH)


def test_cosines_are_scaled_and_shifted(made):
    model, variables = made
    out = run(model, variables, BATCH)
    one, other = (np.asarray(out[f"{name}/embeds"], np.float64) for name in ("text", "vision"))
    cosine = np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in other] for a in one])
    p = variables["params"]
    expected = np.exp(float(p["log_scale"])) * cosine + float(p["bias"])
    np.testing.assert_allclose(out["vision/similarity"], expected, rtol=1e-5, atol=1e-5)
    assert out["vision/similarity"].shape == (3, 2)  # texts by images, in the order of the towers' names


def test_scale_and_bias_start_as_they_are_set():
    def begun(model):  # of the compiled program only these two numbers are left
        return jax.jit(lambda: {k: x for k, x in model.init(key(0), BATCH)["params"].items() if k not in BOTH})()

    found = begun(xfm.build(TOWERS | dict(scale=5.0, bias=-2.0)))
    assert float(found["bias"]) == -2.0 and float(found["log_scale"]) == pytest.approx(np.log(5.0))
    assert begun(xfm.build(TOWERS)).keys() == {"log_scale"}


@pytest.mark.parametrize("name", BOTH)
def test_a_tower_runs_alone_and_gives_the_same(made, name):
    model, variables = made
    alone = run(model, variables, {key: x for key, x in BATCH.items() if key.startswith(name)})
    assert {key.partition("/")[0] for key in alone} == {name} and "vision/similarity" not in alone
    np.testing.assert_array_equal(alone[f"{name}/vector"], run(model, variables, BATCH)[f"{name}/vector"])


def test_what_it_says_of_its_rows_and_ids(made):
    model, _ = made
    assert model.row(4).keys() == {"text/tokens", "vision/images"} and model.prefixes == ("text", "vision")
    assert model.ids()["text/tokens"] == (0, 7) and (model.vocab, model.most()) == (7, 10)


def test_refused(made):
    model, variables = made
    with pytest.raises(XfmError, match=r"prefixes text, vision \(as in text/…\); this batch has tokens"):
        model.apply(variables, {"tokens": BATCH["text/tokens"]})
    with pytest.raises(SpecError, match="needs a head 'pooled' of its tower 'text', whose outputs are hidden, emb"):
        xfm.build(TOWERS | dict(vectors=dict(text="pooled", vision="embeds"))).apply(variables, BATCH)
