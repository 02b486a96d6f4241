"""Stages over ever coarser grids: each compiled once, features by name, depth over all of them, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.keys import key as hashed
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import SpecError, build
from xfm.structures.sublayer import Sublayer

NORM = dict(kind="layernorm")
MLP = dict(kind="mlp", hidden=24)
ATTENTION = dict(kind="attention", heads=2, position=dict(kind="relative_grid", size=4))
WINDOWED = dict(kind="windowed", mixer=ATTENTION, window=4, shift=2)
DOWN = dict(kind="patch_merging", width=24)
BATCH = {"images": np.random.default_rng(3).standard_normal((2, 8, 8, 1), np.float32)}
EMBED = dict(kind="patches", patch=1, width=16, cls=0)


def pyramid(**changes):
    spec = dict(
        kind="pyramid",
        embed=EMBED,
        stages=[
            dict(pattern=[WINDOWED, MLP], repeats=2),
            dict(down=DOWN, pattern=[ATTENTION, MLP]),
            dict(down=dict(kind="pool"), pattern=[MLP], norms={"out": NORM}, residual=dict(kind="scaled", gate=0.5)),
        ],
        norms={"in": NORM},
        norm=NORM,
        heads=dict(label=dict(kind="classification", classes=3, pool=dict(kind="mean"))),
    )
    return xfm.build(spec | changes)


def drawn(model):
    return noise(shapes(model, BATCH)["params"])


def written_out(model, params):
    """The stream after each stage: every sublayer by itself, on what the one before it gives."""
    x, ctx = build(SLOTS["embed"], model.embed).apply({"params": params["embed"]}, BATCH, Context())
    found = []
    for i, stage in enumerate(model.stages):
        own = params.get(f"stage_{i}", {})
        if "down" in stage:
            x, ctx = build(SLOTS["down"], stage["down"]).apply({"params": own.get("down", {})}, x, ctx)
        norms, residual = stage.get("norms", model.norms), stage.get("residual", model.residual)
        for repeat in range(stage.get("repeats", 1)):
            for j, part in enumerate(stage["pattern"]):
                one = jax.tree.map(lambda a, repeat=repeat: a[repeat], own["layers"][f"{part['kind']}_{j}"])
                x, _ = Sublayer(part, norms, residual).apply({"params": one}, x, ctx)
        found.append(x)
    return found


def test_stages_are_what_their_parts_make_one_after_the_other():
    model = pyramid()
    params = drawn(model)
    out, expected = jax.jit(lambda p: (model.apply({"params": p}, BATCH), written_out(model, p)))(params)
    assert [out[f"stage_{i}"].shape for i in range(3)] == [(2, 8, 8, 16), (2, 4, 4, 24), (2, 2, 2, 24)]
    assert_close([out[f"stage_{i}"].reshape(x.shape) for i, x in enumerate(expected)], expected)
    assert set(out) == {"hidden", "stage_0", "stage_1", "stage_2", "label"}
    assert out["hidden"].shape == (2, 4, 24) and out["label"].shape == (2, 3)


def test_stages_without_layers_are_their_downs():
    conv = dict(kind="strided_conv", width=24)
    model = pyramid(
        stages=[dict(pattern=[]), dict(down=conv, pattern=()), dict(pattern=[MLP]), dict(down=DOWN, pattern=())]
    )
    params = drawn(model)
    out = jax.jit(model.apply)({"params": params}, BATCH)
    for i, x in enumerate(written_out(model, params)):
        assert_close(out[f"stage_{i}"].reshape(x.shape), x)
    assert params["stage_1"].keys() == params["stage_3"].keys() == {"down"} and "stage_0" not in params
    assert [one.path for one in model.sublayers()] == ["stage_2/layers/mlp_0"]


def test_heads_read_the_features_of_all_stages():
    head = dict(kind="all_mlp", classes=5, width=8)
    model = pyramid(heads=dict(mask=head))
    params = drawn(model)
    out = jax.jit(lambda p: model.apply({"params": p}, BATCH))(params)
    maps = {f"{i}": out[f"stage_{i}"] for i in range(3)}
    alone = build(SLOTS["head"], head)
    run = jax.jit(lambda p, x, features: alone.apply({"params": p}, x, Context(grid=(2, 2), features=features)))
    assert out["mask"].shape == (2, 8, 8, 5)
    assert_close(out["mask"], run(params["head_mask"], out["hidden"], maps))


def test_chosen_features_have_norms_of_their_own():
    model = pyramid(features=["stage_0", "stage_2"], feature_norm=dict(kind="layernorm", eps=1e-5))
    params = drawn(model)
    out, plain = jax.jit(lambda p: (model.apply({"params": p}, BATCH), pyramid().apply({"params": p}, BATCH)))(params)
    assert set(out) == {"hidden", "stage_0", "stage_2", "label"}
    for name in ("stage_0", "stage_2"):
        x, own = np.asarray(plain[name], np.float64), params[f"{name}_norm"]
        normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        assert_close(out[name], normed * own["scale"] + own["bias"])
    assert_close(out["label"], plain["label"])


def test_strides_are_those_of_the_maps():
    model = pyramid(embed=dict(EMBED, patch=(1, 2)), features=("stage_0", "stage_2"))
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), BATCH))[0]
    assert model.strides() == {"stage_0": (1, 2), "stage_2": (4, 8)}
    for name, (rows, columns) in model.strides().items():
        assert out[name].shape[1:3] == (8 // rows, 8 // columns)
    with pytest.raises(SpecError, match="has no features 'stage_3'; choose from stage_0, stage_1, stage_2"):
        pyramid(features=("stage_3",)).strides()


def test_padding_is_zero_in_features():
    """In the right half, which is padding, features are zeros, whatever the layers leave there."""
    segments = np.broadcast_to(np.arange(8) < 4, (2, 8, 8)).astype(np.int32).reshape(2, 64)
    out = jax.jit(lambda p: pyramid().apply({"params": p}, {**BATCH, "segments": segments}))(drawn(pyramid()))
    for i, side in enumerate((8, 4, 2)):
        assert not np.asarray(out[f"stage_{i}"])[:, :, side // 2 :].any() and np.asarray(out[f"stage_{i}"]).any()


def test_the_norm_of_a_stage_is_read_by_the_next_and_seen_in_the_features():
    stages = [dict(pattern=[MLP], norm=NORM), dict(down=DOWN, pattern=[MLP])]
    model = pyramid(stages=stages, norm=None)
    params = drawn(model)
    out = jax.jit(lambda p: model.apply({"params": p}, BATCH))(params)
    assert "norm" in params["stage_0"] and "norm" not in params["stage_1"]
    flat = jax.tree.map(jnp.zeros_like, params["stage_0"]["norm"])
    silent = model.apply({"params": params | {"stage_0": params["stage_0"] | {"norm": flat}}}, BATCH)
    assert not silent["stage_0"].any() and out["stage_0"].any()
    assert jnp.ptp(silent["stage_1"], axis=(1, 2)).max() < 1e-6 < jnp.ptp(out["stage_1"], axis=(1, 2)).max()


def test_remat_changes_nothing():
    params = drawn(pyramid())

    def gradient(remat):
        model = pyramid(remat=remat)
        return jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, BATCH)["label"]).mean()))(params)

    assert_close(gradient("full"), gradient("none"), rtol=1e-6)


@pytest.mark.parametrize("between", [[], [dict(pattern=())]])
def test_depth_runs_over_all_stages(between):
    """The rate of stochastic depth grows evenly from the network's first layer to its last, across the stages."""
    two = dict(pattern=[MLP], repeats=2)
    model = pyramid(residual=dict(kind="plain", drop_path=0.9), stages=[*between, two, *between, two, *between])
    rates = []
    original = jax.random.bernoulli

    def noted(key, p, shape):
        jax.debug.callback(lambda p: rates.append(float(p)), p, ordered=True)
        return original(key, p, shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.random, "bernoulli", noted)
        how = dict(train=True, rngs={"dropout": hashed(0)})
        jax.jit(lambda params: model.apply({"params": params}, BATCH, **how))(drawn(model))
        jax.effects_barrier()
    np.testing.assert_allclose(rates, 1 - 0.9 * np.arange(4) / 3, rtol=1e-6)


def test_compiled_program_does_not_grow_with_depth():
    def lines(depth):
        model = pyramid(stages=[dict(pattern=[WINDOWED, MLP], repeats=depth), dict(down=DOWN, pattern=[MLP])])
        return len(jax.jit(model.apply).lower({"params": drawn(model)}, BATCH).as_text().splitlines())

    assert lines(24) == lines(3)


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(stages=[]), "stages is .*; it must be a list"),
        (dict(stages=[dict(repeats=2)]), "structure 'stage 0' needs pattern"),
        (dict(stages=[dict(pattern=[MLP], repeat=2)]), "'stage 0' has no field 'repeat' .did you mean 'repeats'"),
        (dict(stages=[dict(kind="stack", pattern=[MLP])]), "stage 0 of a pyramid is a mapping with a 'pattern' and no"),
        (dict(stages=[dict(pattern=[MLP], down=dict(kind="merging"))]), "slot 'down' has no kind 'merging'"),
        (dict(stages=[dict(pattern=[MLP], down=dict(kind="pool", size=3))]), "which do not fill a grid of 8 x 8"),
        (dict(stages=[dict(pattern=[MLP], down=dict(kind="pool"))] * 4), "which do not fill a grid of 1 x 1"),
        (dict(embed=dict(EMBED, cls=1)), "with embed.cls=0"),
        (dict(remat="everything"), "no remat 'everything'; there are none, full, dots"),
        (dict(repeats=3), "structure 'pyramid' has no field 'repeats'"),
    ],
)
def test_bad_specs(key, changes, said):
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(pyramid(**changes).init, key, BATCH)
