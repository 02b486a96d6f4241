"""Within a network each layer, each loop of a layer and each sublayer draws numbers of its own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.drawn import away
from tests.keys import key as hashed
from tests.parts.examples import EXAMPLES
from xfm.parts import SLOTS
from xfm.spec import schema
from xfm.structures import STRUCTURES

BATCH = {"tokens": jnp.arange(16).reshape(2, 8) % 13}
PARTS = [
    {"kind": kind, **EXAMPLES[slot][kind][0], **{field: 0.5 for field in schema(cls) if "drop" in field}}
    for slot in ("mixer", "ffn")
    for kind, cls in SLOTS[slot].items()
    if any("drop" in field for field in schema(cls))
]
RESIDUALS = [
    {"kind": kind, field: 0.5}
    for kind in ("plain", "scaled")  # of "convolved" a norm hides what is dropped
    for field in ("drop", "drop_path")
]
CONSTANT = dict(kind="mlp", hidden=8)


def constant(shapes):
    """Parameters with which each CONSTANT answers 1, whatever it reads."""
    params = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    for sublayer in params["params"]["layers"].values():
        sublayer["part"]["down"]["bias"] += 1
    return params


def runs(module, pattern, batch=BATCH, numbers=away, **changes):
    """What each run of each sublayer returned: name -> [4, B, T, D], of 2 repeats of 2 loops with one's parameters.

    module: "part" or "skip", whose answers are meant.  numbers: makes parameters of shapes.
    """
    embed = dict(kind="tokens", vocab=13, width=16)
    model = xfm.build(dict(kind="stack", embed=embed, pattern=pattern, repeats=2, loops=2, **changes))
    params = numbers(jax.eval_shape(model.init, jax.random.key(0), batch))["params"]
    params["layers"] = jax.tree.map(lambda a: np.broadcast_to(a[:1], a.shape), params["layers"])

    @jax.jit
    def run(params):
        return model.apply(
            {"params": params},
            batch,
            train=True,
            rngs={"dropout": hashed(5)},
            capture_intermediates=lambda one, _: one.name == module,
        )[1]["intermediates"]["layers"]

    made = {name: sublayer[module]["__call__"][0] for name, sublayer in run(params).items()}
    made = {name: y[0] if isinstance(y, tuple) else y for name, y in made.items()}
    return {name: np.asarray(y).reshape(4, *y.shape[2:]) for name, y in made.items()}


def test_parts_drop_anew_in_each_layer_and_loop():
    """A gate of 0 leaves the stream as it is, so that all runs of a part read the same."""
    made = runs("part", PARTS, residual=dict(kind="scaled", gate=0.0))
    assert len(made) == len(PARTS)
    for name, y in made.items():
        for one, other in itertools.combinations(range(4), 2):
            assert np.abs(y[one] - y[other]).max() > 1e-3 * np.abs(y).max(), f"{name}: runs {one} and {other} are alike"


@pytest.mark.parametrize("residual", RESIDUALS, ids=lambda spec: "-".join(map(str, spec.values())))
def test_residuals_drop_anew_in_each_layer_loop_and_sublayer(residual):
    """Each sublayer adds 1 to each unit, or nothing, or more where others got nothing."""
    batch = {"tokens": jnp.zeros((64, 2), jnp.int32)}
    made = runs("skip", [CONSTANT, CONSTANT], batch, constant, residual=residual)
    streams = np.stack(list(made.values()), axis=1).reshape(8, *batch["tokens"].shape, 16)  # in the order of the runs
    added = np.diff(streams, axis=0)[1:]  # the second run is the first above depth 0, where all rows may be dropped
    dropped = np.abs(added) < 0.5
    assert dropped.any(axis=(1, 2, 3)).all() and not dropped.all(axis=(1, 2, 3)).any()
    for one, other in itertools.combinations(range(len(dropped)), 2):
        alike = (dropped[one] <= dropped[other]).all() or (dropped[other] <= dropped[one]).all()
        assert not alike, f"runs {one} and {other} drop by the same numbers"


def test_layers_start_apart():
    embed = dict(kind="tokens", vocab=13, width=16)
    model = xfm.build(dict(kind="stack", embed=embed, pattern=[CONSTANT, CONSTANT], repeats=2))
    layers = jax.jit(model.init)(hashed(0), BATCH)["params"]["layers"]
    kernels = [layer for sublayer in layers.values() for layer in np.asarray(sublayer["part"]["up"]["kernel"])]
    for one, other in itertools.combinations(kernels, 2):
        assert np.abs(one - other).min() > 0


# Structures that drop something themselves, by kind and field: a small one of each.
SMALL = dict(embed=dict(kind="tokens", vocab=13, width=16), pattern=[CONSTANT])
STRUCTURES_THAT_DROP = {
    ("hourglass", "drop"): dict(SMALL, rate=2, width=2),
    ("nested", "drop"): dict(SMALL, words=2, width=8, inner=[CONSTANT]),
}


def test_what_structures_drop():
    """On differs from off, and two keys differ."""
    fields = {(kind, field) for kind, cls in STRUCTURES.items() for field in schema(cls) if "drop" in field}
    assert fields == set(STRUCTURES_THAT_DROP), "give each structure that drops something an example here"
    for (kind, field), spec in STRUCTURES_THAT_DROP.items():
        model = xfm.build(dict(spec, kind=kind, **{field: 0.5}))
        params = away(jax.eval_shape(model.init, jax.random.key(0), BATCH))

        @jax.jit
        def hidden(keys, model=model, params=params):
            def run(key, train):
                return model.apply(params, BATCH, train=train, rngs={"dropout": key})["hidden"]

            return run(keys[0], False), run(keys[0], True), run(keys[1], True)

        for one, other in itertools.combinations(map(np.asarray, hidden(jax.random.split(hashed(3)))), 2):
            assert np.abs(one - other).max() > 1e-3 * np.abs(one).max(), f"{kind}: {field}"
