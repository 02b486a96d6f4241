"""Meshes, the rule tables, and that sharding changes no number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec
from linear_regression import Linear, Rows

from xfm.data import Batches
from xfm.errors import XfmError
from xfm.kernels.attention import Dropout, attention
from xfm.kernels.platform import interpreting
from xfm.parts.linear import linear
from xfm.paths import flatten
from xfm.sharding import (
    RULES,
    batch_sharding,
    fit,
    make_mesh,
    rule_of,
    rules_named,
)
from xfm.train.optimiser import build_optimiser
from xfm.train.state import State, new_state, shard_state, state_sharding
from xfm.train.step import make_step

MESH = dict(data=2, model=4)
eight = pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")

# The vocabulary of parameter paths, inside and outside a stack, with shapes as the parts make them.
SHAPES = {
    "embed/token/embedding": (64, 16),
    "embed/position/table": (32, 16),
    "embed/patch/kernel": (4, 4, 3, 16),
    "embed/patch/bias": (16,),
    "layers/attention_0/part/q/kernel": (2, 16, 4, 8),
    "layers/attention_0/part/k/kernel": (2, 16, 4, 8),
    "layers/attention_0/part/v/kernel": (2, 16, 4, 8),
    "layers/attention_0/part/v/bias": (2, 4, 8),
    "layers/attention_0/part/o/kernel": (2, 4, 8, 16),
    "layers/attention_0/part/o/bias": (2, 16),
    "layers/attention_0/in_norm/scale": (2, 16),
    "layers/glu_1/part/up/kernel": (2, 16, 32),
    "layers/glu_1/part/gate/kernel": (2, 16, 32),
    "layers/glu_1/part/gate/bias": (2, 32),
    "layers/glu_1/part/down/kernel": (2, 32, 16),
    "layers/mamba2_2/part/in/kernel": (2, 16, 64),
    "layers/mamba2_2/part/out/kernel": (2, 32, 16),
    "layers/mamba2_2/part/conv/kernel": (2, 4, 32),
    "layers/mamba2_2/part/A_log": (2, 4),
    "layers/mamba2_2/part/gate": (2, 4),
    "head_lm/table": (64, 16),
    "head/kernel": (16, 8),
    "kernel": (16, 8),
    "cls": (1, 16),
}


@pytest.mark.parametrize("table", RULES)
@pytest.mark.parametrize("path", SHAPES)
def test_every_path_matches_exactly_one_rule(table, path):
    axes = rule_of(path, rules_named(table))
    assert len(axes) <= len(SHAPES[path])
    assert all(axis in (None, "data", "model") for axis in axes)


@eight
@pytest.mark.parametrize("table", ["fsdp", "tensor"])
def test_depth_is_never_cut_and_matrices_are(table):
    mesh = make_mesh(dict(data=2, model=4))
    for path, shape in SHAPES.items():
        spec, notes = fit(path, shape, rule_of(path, rules_named(table)), mesh)
        assert not notes
        if path.startswith("layers/"):
            assert not spec or spec[0] is None, path
        large = path.endswith(("kernel", "embedding", "head_lm/table"))
        if large and (table == "fsdp" or "/part/" in path and "conv" not in path):
            assert any(spec), path
        if path.endswith("/o/kernel"):
            expected = {"fsdp": (None, None, None, "data"), "tensor": (None, "model")}[table]
            assert spec == PartitionSpec(*expected)


def test_no_rule_and_two_rules_are_errors():
    with pytest.raises(XfmError, match="parameter a/b matches no sharding rule"):
        rule_of("a/b", [("c", ())])
    with pytest.raises(XfmError, match=r"parameter a/b matches '\^a' and 'b\$'"):
        rule_of("a/b", [("^a", ()), ("b$", ())])
    with pytest.raises(XfmError, match="'fsp'.*did you mean 'fsdp'"):
        rules_named("fsp")


@eight
def test_axis_that_does_not_divide_is_dropped_and_reported():
    mesh = make_mesh(dict(data=2, model=4))
    spec, notes = fit("embed/token/embedding", (30, 16), ("model", None), mesh)
    assert spec == PartitionSpec()
    assert notes == ["embed/token/embedding (30, 16): axis 'model' (4) does not divide 30; kept whole"]
    spec, notes = fit("a/q/kernel", (8, 16), ("data", "model", None), mesh)
    assert spec == PartitionSpec("model") and "no dimension for axis 'data'" in notes[0]


@eight
def test_mesh_fills_in_what_is_left_and_is_auto():
    mesh = make_mesh(dict(model=2))
    assert dict(mesh.shape) == dict(data=4, model=2)
    assert set(mesh.axis_types) == {AxisType.Auto}
    for bad in (dict(data=3), dict(data=-1, model=-1), dict(data=8, model=8), dict(model=0)):
        with pytest.raises(XfmError, match="does not fit 8 devices"):
            make_mesh(bad)
    with pytest.raises(XfmError, match="no axis 'modle'.*did you mean 'model'"):
        make_mesh(dict(modle=2))


class Network(Linear):
    """Two layers in a stack and a head, with the vocabulary's names, and a teacher in extra."""

    def init(self, rng, batch):
        k = jax.random.split(rng, 4)
        layers = {
            "up": {"kernel": jax.random.normal(k[0], (2, 6, 16)) / 3, "bias": jnp.zeros((2, 16))},
            "down": {"kernel": jax.random.normal(k[1], (2, 16, 6)) / 4},
        }
        params = {"layers": layers, "head": {"kernel": jax.random.normal(k[2], (6, 3)) / 3}}
        return params, {"teacher": jax.tree.map(jnp.array, params), "seen": jnp.int32(0)}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        x = batch["x"]
        for i in range(2):
            layer = jax.tree.map(lambda p, i=i: p[i], params["layers"])
            hidden = jnp.tanh(x @ layer["up"]["kernel"] + layer["up"]["bias"])
            x = x + hidden @ layer["down"]["kernel"]
        loss = ((x @ params["head"]["kernel"] - batch["labels"]) ** 2).mean()
        return loss, {}, {**extra, "seen": extra["seen"] + 1}


OBJECTIVE, BATCHES = Network(), Batches(Rows(64, 1), 16, 0)


@functools.cache
def optimiser():
    params = jax.eval_shape(lambda: OBJECTIVE.init(jax.random.key(0), BATCHES.rows(0))[0])
    return build_optimiser(dict(kind="adamw"), optax.constant_schedule(0.01), params, clip=1.0)


@functools.cache
def beginning(table=None):
    """A compiled function that makes the first state, and its sharding by a table; without one, on one device."""

    def begin():
        return new_state(OBJECTIVE, optimiser(), jax.random.key(0), BATCHES.rows(0), 0.9)

    if table is None:
        return jax.jit(begin), None
    sharding, _ = state_sharding(jax.eval_shape(begin), make_mesh(MESH), rules_named(table))
    return jax.jit(begin, out_shardings=sharding), sharding


@functools.cache
def unsharded(accumulate):
    """The parameters after three steps on one device, and the last loss."""
    one = make_step(OBJECTIVE, optimiser(), accumulate=accumulate, ema=0.9)
    state = beginning()[0]()
    for i in range(3):
        state, metrics = one(state, BATCHES.rows(i))
    return state.params, metrics["loss"]


@eight
@pytest.mark.parametrize("table", ["fsdp", "tensor"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_sharded_equals_unsharded(table, accumulate):
    alone, loss = unsharded(accumulate)
    begin, sharding = beginning(table)
    spread = begin()
    many = make_step(OBJECTIVE, optimiser(), accumulate=accumulate, ema=0.9, sharding=sharding)
    for i in range(3):
        spread, metrics = many(spread, jax.device_put(BATCHES.rows(i), batch_sharding(make_mesh(MESH))))
    np.testing.assert_allclose(loss, metrics["loss"], rtol=2e-6)
    for (path, x), y in zip(flatten(alone).items(), jax.tree.leaves(spread.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6, err_msg=path)
    assert jax.tree.map(lambda x: x.sharding, spread) == sharding


@eight
def test_state_follows_its_parameters():
    state = shard_state(beginning()[0](), make_mesh(MESH), rules_named("tensor"))
    assert isinstance(state, State)
    cut = {path for path, x in flatten(state).items() if not x.sharding.is_fully_replicated}
    names = ("layers/down/kernel", "layers/up/bias", "layers/up/kernel")
    moments = [path for path in flatten(state) if path.startswith("opt_state")]
    for name in names:
        assert {f"params/{name}", f"ema/{name}", f"extra/teacher/{name}"} <= cut
        assert 2 == sum(path in cut for path in moments if path.endswith(name))  # mu and nu
    assert len(cut) == 5 * len(names)


class Attending(Linear):
    """One attention layer by the kernel for TPU."""

    def init(self, rng, batch):
        k = jax.random.split(rng, 4)
        shapes = dict(q=(8, 4, 16), k=(8, 4, 16), v=(8, 4, 16), o=(4, 16, 8))
        kernels = {n: {"kernel": jax.random.normal(r, s) / 4} for r, (n, s) in zip(k, shapes.items(), strict=True)}
        return {"layers": kernels}, {}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        q, k, v = (linear(batch["x"], params["layers"][name]["kernel"]) for name in "qkv")
        dropout = Dropout.of(0.3, rng)
        y = attention(q, k, v, segments=batch["segments"], dropout=dropout, implementation="tpu")
        y = linear(y, params["layers"]["o"]["kernel"], 2)
        return ((y - batch["x"]) ** 2).mean(), {}, extra


@functools.cache
def attended():
    """(objective, optimiser, batch, function that makes the first state)."""
    rng = np.random.default_rng(0)
    batch = dict(x=rng.normal(size=(4, 12, 8)).astype(np.float32), segments=np.ones((4, 12), np.int32))
    batch["segments"][:, 9:] = 0
    objective, optimiser = Attending(), optax.sgd(0.1)
    return objective, optimiser, batch, lambda: new_state(objective, optimiser, jax.random.key(0), batch, None)


@functools.cache
def attended_alone():
    """The parameters after a step on one device, and the loss."""
    objective, optimiser, batch, begin = attended()
    with interpreting("tpu"):
        state, metrics = make_step(objective, optimiser)(jax.jit(begin)(), batch)
    return state.params, metrics["loss"]


@eight
@pytest.mark.parametrize("table", ["fsdp", "tensor"])
def test_a_kernel_written_by_hand_is_spread_by_the_step(table):
    objective, optimiser, batch, begin = attended()
    alone, loss = attended_alone()
    mesh = make_mesh(MESH)
    sharding, _ = state_sharding(jax.eval_shape(begin), mesh, rules_named(table))
    with interpreting("tpu", devices=8):
        step = make_step(objective, optimiser, sharding=sharding)
        many, metrics = step(jax.jit(begin, out_shardings=sharding)(), jax.device_put(batch, batch_sharding(mesh)))
    np.testing.assert_allclose(loss, metrics["loss"], rtol=2e-6)
    for (path, x), y in zip(flatten(alone).items(), jax.tree.leaves(many.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6, err_msg=path)
