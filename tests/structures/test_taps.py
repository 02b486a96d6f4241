"""Taps: the stream after inner layers, out of the compiled loop, which keeps no other layer's for them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import noise, run, shapes
from xfm.spec import SpecError

BATCH = {"tokens": np.arange(22).reshape(2, 11) % 13}


def stack(**changes):
    spec = dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=13, width=16),
        prologue=[dict(kind="mlp", hidden=8)],
        pattern=[dict(kind="attention", heads=2), dict(kind="mlp", hidden=24)],
        repeats=4,
        norm=dict(kind="layernorm"),
        heads=dict(label=dict(kind="classification", classes=3)),
    )
    return xfm.build(spec | changes)


def drawn(model):
    return noise(shapes(model, BATCH)["params"])


def cut(params, repeats):
    """The parameters of the first `repeats` layers."""
    return {**params, "layers": jax.tree.map(lambda a: a[:repeats], params["layers"])}


@pytest.mark.parametrize("remat", ["none", "full"])
def test_a_tap_is_the_stream_of_the_stack_that_ends_there(remat):
    model, bare = stack(taps=(3, 1, 4), remat=remat), stack(remat=remat)
    params = drawn(model)
    out, plain = (run(m, {"params": params}, BATCH) for m in (model, bare))
    assert set(out) - set(plain) == {"layer_1", "layer_3", "layer_4"}
    assert_close({name: out[name] for name in plain}, plain, rtol=1e-6)
    for tap in (1, 3, 4):
        shorter = stack(repeats=tap, norm=None)
        assert_close(out[f"layer_{tap}"], run(shorter, {"params": cut(params, tap)}, BATCH)["hidden"], of=f"tap {tap}")


def test_the_runs_of_looped_layers_are_counted():
    looped, written = stack(repeats=2, loops=2, taps=(1, 3)), stack(taps=(1, 3))
    params = drawn(looped)
    twice = {**params, "layers": jax.tree.map(lambda a: np.repeat(a, 2, axis=0), params["layers"])}
    found, expected = (run(m, {"params": p}, BATCH) for m, p in ((looped, params), (written, twice)))
    assert_close({k: found[k] for k in expected}, expected)


def test_gradients_reach_the_layers_below_a_tap_and_no_other():
    model = stack(taps=(2,))
    gradient = jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, BATCH)["layer_2"]).sum()))(drawn(model))
    up = jnp.abs(gradient["layers"]["mlp_1"]["part"]["up"]["kernel"]).max(axis=(1, 2))
    assert (up[:2] > 0).all() and (up[2:] == 0).all()


def test_the_program_keeps_the_tapped_layers_alone_and_does_not_grow():
    def program(repeats):
        model = stack(repeats=repeats, taps=(2, 4))
        return jax.jit(model.apply).lower({"params": drawn(model)}, BATCH).as_text()

    short, long = program(6), program(24)
    assert len(short.splitlines()) == len(long.splitlines())
    kept = {int(n) for n in re.findall(r"tensor<(\d+)x2x11x16xf32>", long)}
    assert kept and max(kept) == 3  # two taps, and the row that all others write into


def test_texts_without_their_padding_are_laid_back():
    model = stack(taps=(2,))
    params, tokens = drawn(model), BATCH["tokens"]
    segments = jnp.array([[1] * 6 + [0] * 5, [1] * 5 + [0] * 6])
    cells = jnp.array([[[0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15]]])
    padded = run(model, {"params": params}, {"tokens": tokens, "segments": segments})["layer_2"]
    unpadded = run(model, {"params": params}, {"tokens": tokens, "segments": segments, "cells": cells})["layer_2"]
    real = (segments > 0)[..., None]
    assert unpadded.shape == padded.shape
    assert_close(jnp.where(real, unpadded, 0), jnp.where(real, padded, 0))


def test_a_tap_may_be_a_map_of_the_patches_after_the_norm():
    images = dict(images=np.random.default_rng(0).standard_normal((2, 4, 6, 3), np.float32))
    patches = dict(kind="patches", patch=2, width=16, cls=1, registers=2, position=dict(kind="sinusoidal_2d"))

    def model(tapped):
        return stack(embed=patches, taps=(2, 4), tapped=tapped, heads={})

    params = noise(shapes(model("stream"), images)["params"])
    stream, plain, normed = (run(model(t), {"params": params}, images) for t in ("stream", "map", "normed_map"))
    assert plain["layer_2"].shape == (2, 2, 3, 16)
    assert_close(plain["layer_2"].reshape(2, 6, 16), stream["layer_2"][:, 3:])
    assert_close(normed["layer_4"].reshape(2, 6, 16), stream["hidden"][:, 3:])
    assert_close(normed["hidden"], stream["hidden"])


@pytest.mark.parametrize(
    "taps,said",
    [
        ((2, 5), r"a stack of 4 layers \(repeats · loops\) has no layer 5; set taps to 0 … 4"),
        ((-1,), "taps is .-1.; it must be"),
    ],
)
def test_a_tap_that_is_no_layer_is_refused(key, taps, said):
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(stack(taps=list(taps)).init, key, BATCH)
