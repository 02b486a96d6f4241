"""What each `drop` of a part does: on differs from off, keys differ, the mean is kept, and so is the rate.

Layers and loops are asked of the parts within a stack in tests/structures/test_drops.py, microbatches of the step in
tests/train/test_step.py. The rates of moving averages are asked for here too.
"""

import dataclasses
import functools
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.parts.cases import OF_IMAGES, case_of
from tests.parts.examples import EXAMPLES
from xfm.fields import Rate
from xfm.parts import SLOTS
from xfm.paths import flatten
from xfm.sown import STATISTICS
from xfm.spec import build, schema

KEYS, RATE = 256, 0.4
DROPS = [
    pytest.param(slot, kind, field, id=f"{slot}-{kind}-{field}")
    for slot, table in SLOTS.items()
    for kind, cls in table.items()
    for field in schema(cls)
    if "drop" in field
]
AVERAGES = [("norm", "batchnorm"), ("norm", "progressive")]
# What makes an answer linear in what is dropped.
LINEAR = {
    ("pool", "dense", "drop"): dict(activation="identity"),
    ("residual", "activated", "drop"): dict(activation="identity"),
    ("residual", "activated", "drop_path"): dict(activation="identity"),
    ("mixer", "wavemix", "drop"): dict(norm=dict(kind="batchnorm")),
    ("head", "ffn", "drop"): dict(ffn=dict(kind="mlp", hidden=24, activation="identity"), norm=None),
}
# Where a norm or a softmax follows, the answer is all but linear in what is dropped if that is small: regexes of the
# parameters that are multiplied by LITTLE for this, and for the residual what the sublayer made.
LITTLE = 0.02
CURVED = {
    ("residual", "convolved", "drop"): "^conv/",
    ("head", "enhanced_mlm", "drop"): "/(o|down)/",
    ("head", "latent_queries", "drop"): "(^|/)(o|down)/",
    ("mixer", "disentangled", "position_drop"): "^position/table$",
    ("mixer", "relative", "position_drop"): "^r/kernel$",
}


@pytest.mark.parametrize("slot,kind,field", DROPS)
def test_drop(slot, kind, field):
    spec = EXAMPLES[slot][kind][0] | {"drop": 0.0} | LINEAR.get((slot, kind, field), {}) | {field: RATE}
    one = case_of(slot, kind, spec)
    *given, ctx = one.inputs

    @jax.jit
    def answers(params, given):
        def answer(key, train):
            here = ctx.replace(train=train, depth=jnp.float32(1.0))
            return counted(one, one.apply(params, *given, here, rngs={"dropout": key}))

        keys = jax.random.split(hashed(11), KEYS)
        return answer(keys[0], False), jax.vmap(functools.partial(answer, train=True))(keys)

    off, on = jax.tree.map(lambda a: np.asarray(a, np.float64), answers(one.params, given))
    scale = np.abs(off).max()
    assert np.abs(on[0] - off).max() > 0.01 * scale, "nothing is dropped"
    assert np.abs(on[0] - on[1]).max() > 0.01 * scale, "two keys drop alike"
    if regex := CURVED.get((slot, kind, field)):
        given = [given[0], LITTLE * given[1]] if slot == "residual" else given
        small = answers(with_little(one.params, regex), given)
        off, on = jax.tree.map(lambda a: np.asarray(a, np.float64), small)
        scale = np.abs(off).max()
    error = on.std(axis=0) / np.sqrt(KEYS)
    far = np.abs(on.mean(axis=0) - off) / (error + 1e-5 * scale)
    assert far.max() < 6 and np.sqrt(np.mean(far**2)) < 1.3, "the mean moves"


def with_little(params, regex):
    """The parameters, those that the regex finds multiplied by LITTLE."""
    flat = flatten(params["params"])
    assert any(re.search(regex, path) for path in flat), f"{regex} is found in none of {', '.join(flat)}"
    return {"params": unflatten_dict({p: LITTLE * a if re.search(regex, p) else a for p, a in flat.items()}, sep="/")}


def counted(one, y):
    """The answer, with zeros for padding."""
    if one.slot in ("pool", "head") or one.kind in OF_IMAGES:
        return y
    real = one.inputs[-1].segments > 0
    real = jnp.pad(real, ((0, 0), (0, y.shape[1] - real.shape[1])), constant_values=True)
    return jnp.where(real[..., None], y, 0)


@pytest.mark.parametrize("slot,kind,field", [one for one in DROPS if one.values[0] == "residual"])
def test_what_a_residual_drops(slot, kind, field):
    """Single units, or of `drop_path` whole rows, at the rate times the depth."""
    if kind == "convolved":
        pytest.skip("a norm hides what is dropped")
    one = case_of(slot, kind, LINEAR.get((slot, kind, field), {}) | {field: RATE})
    ctx, y = one.inputs[-1].replace(segments=None, train=True, depth=jnp.float32(0.5)), jnp.ones((2000, 3, 2))
    out = np.asarray(one.apply(one.params, 0 * y, y, ctx, rngs={"dropout": jax.random.key(3)}))
    rate = RATE / 2 if field == "drop_path" else RATE
    assert set(np.unique(out.round(5))) == {0.0, np.float32(1 / (1 - rate)).round(5)}
    alike = (out == out[:, :1, :1]).all(axis=(1, 2))
    dropped = out[:, 0, 0] == 0 if field == "drop_path" else out == 0
    assert alike.all() == (field == "drop_path")
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)


def test_every_rate_of_a_part_drops_something():
    """So that none escapes this suite by its name; the other rates are those of moving averages."""
    for slot, table in SLOTS.items():
        for kind, cls in table.items():
            rates = {f.name for f in dataclasses.fields(cls) if Rate in (f.type, *typing.get_args(f.type))}
            averages = {"momentum"} if (slot, kind) in AVERAGES else set()
            assert rates == {name for name in schema(cls) if "drop" in name} | averages, f"{slot} '{kind}'"


@pytest.mark.parametrize("slot,kind", AVERAGES)
def test_what_an_average_keeps(slot, kind):
    """An update keeps the share `momentum` of the moving mean and variance."""
    spec, x = EXAMPLES[slot][kind][-1], np.random.default_rng(0).normal(2.0, 3.0, (3, 5, 4))
    part = build(SLOTS[slot], dict(spec, kind=kind, momentum=0.75))
    params = noise(shapes(part, jnp.asarray(x, jnp.float32)), 0.5)
    sown = jax.jit(lambda x: part.apply(params, x, mutable=[STATISTICS])[1])(jnp.asarray(x, jnp.float32))
    old, new = flatten(params["params"]), flatten(sown[STATISTICS])
    for name, seen in dict(mean=x.mean((0, 1)), variance=x.var((0, 1), ddof=1)).items():
        path = next(path for path in old if path.split("/")[-1] == name)
        assert_close(new[f"{path}/0"], 0.75 * np.asarray(old[path], np.float64) + 0.25 * seen)
