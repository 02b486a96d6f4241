"""Training steps of vision transformers, compiled for TPUs that are not here: their operations, and no whole attention.

What is traced needs no libtpu and takes twelve seconds. A compilation takes two to three minutes of one core; .ci/run,
which has an environment with libtpu, runs a third of them at a time.
"""

import functools
import os
import re
from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from tests.drawn import shapes
from xfm.configs.vision import swin, vit
from xfm.kernels.platform import compiling_for
from xfm.objectives import build_objective
from xfm.plan.flops import inner, total
from xfm.structures import build
from xfm.train.optimiser import build_optimiser
from xfm.train.state import new_state
from xfm.train.step import make_step

CHIPS = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
ROWS = 8
MODELS = {"ViT-L/16": (vit, "L/16"), "Swin-B": (swin, "B")}
GMACS = {"ViT-L/16": 61.55, "Swin-B": 15.43}  # of one image, forward: timm's networks, counted by PyTorch
TOKENS = (56 * 56, 28 * 28, 14 * 14)  # of Swin's stages; the last one is one window


@functools.cache
def traced(name, stages=None, chip=""):
    """The step for eight images of 224 x 224, for a TPU: forward, backward, clipping and AdamW.

    stages: how many stages of a pyramid are kept, all if None.  chip: of kernels that differ by chip.
    """
    module, variant = MODELS[name]
    c = module.get_config(variant)
    if stages is not None and "stages" in c.model:
        c.model["stages"] = c.model["stages"][:stages]
    c.objective.update(mixup=0.0, cutmix=0.0)
    with compiling_for("tpu", chip=chip):
        objective = build_objective(c, None)
        images = jax.ShapeDtypeStruct((ROWS, 224, 224, 3), jnp.float32)
        batch = dict(images=images, labels=jax.ShapeDtypeStruct((ROWS,), jnp.int32))
        params = shapes(objective.init, batch)[0]
        optimiser = build_optimiser(c.optimiser, lambda _: 1e-4, params, clip=1.0)
        state = shapes(lambda key, batch: new_state(objective, optimiser, key, batch, None), batch)
        return make_step(objective, optimiser), state, batch


@functools.cache
def jaxpr(name):
    step, *given = traced(name)
    with compiling_for("tpu"):
        return step.trace(*given).jaxpr.jaxpr


def compiled(name, chip, stages=None):
    """The step of `traced`, compiled for a chip by libtpu."""
    from jax.experimental import topologies

    os.environ.update(
        TPU_SKIP_MDS_QUERY="1",
        TPU_WORKER_HOSTNAMES="localhost",
        TPU_ACCELERATOR_TYPE="v5litepod-4",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
    )
    device = topologies.get_topology_desc(platform="tpu", topology_name=CHIPS[chip]).devices[0]
    place = jax.sharding.SingleDeviceSharding(device)
    step, *given = traced(name, stages, chip)
    there = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), given)
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with compiling_for("tpu", chip=chip):
            return step.trace(*there).lower(lowering_platforms=("tpu",)).compile()
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def arrays_of(program):
    """The shapes of all arrays in the text of a compiled program."""
    found = re.findall(r"\b(?:f32|bf16|pred|s32)\[([\d,]+)\]", program.as_text())
    return [tuple(map(int, shape.split(","))) for shape in set(found)]


def arrays(program):
    """The shapes of all arrays that the equations of a jaxpr make, of nested ones too."""
    for eqn in program.eqns:
        yield from (var.aval.shape for var in eqn.outvars if hasattr(var.aval, "shape"))
        for sub, _ in inner(eqn):
            yield from arrays(sub)


def wholes(found):
    """Of these shapes, those that have an axis of queries and one of keys over a whole image."""
    return [shape for shape in found if any(count > 1 and size in TOKENS for size, count in Counter(shape).items())]


@pytest.mark.parametrize("name", MODELS)
def test_operations_of_a_step(name):
    """Three times those of the forward pass: the backward pass has two products for each of its."""
    expected = 3 * 2 * GMACS[name] * 1e9 * ROWS
    assert total(jaxpr(name)) == pytest.approx(expected, rel=0.05)


def test_no_window_forms_the_attention_of_a_whole_image():
    found = list(arrays(jaxpr("Swin-B")))
    assert any(49 in shape and max(shape) >= 64 for shape in found), "the windows are not found"
    assert not wholes(found)
    assert wholes([(8, 4, 784, 784)])


@pytest.mark.parametrize("name", MODELS)
def test_the_traced_program_does_not_grow_with_depth(name):
    module, variant = MODELS[name]

    def size(depth):
        spec = module.get_config(variant).model.to_dict()
        if "stages" in spec:
            spec["stages"] = [dict(spec["stages"][0], repeats=depth)]
        else:
            spec["repeats"] = depth
        model = build(spec)
        images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        params = shapes(model, dict(images=images))
        forward = jax.make_jaxpr(lambda p, x: model.apply(p, dict(images=x)))(params, images)
        return sum(1 for _ in arrays(forward.jaxpr))

    assert size(12) == size(2)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_compiles_for_the_chip(name, chip):
    """Of Swin-B the first stage, whose grid is the finest: each stage has kernels of its own and costs as much.

    `benchmarks/steps.py` compiles it whole.
    """
    pytest.importorskip("libtpu", reason="libtpu is not installed; pip install -e '.[plan]' brings it")
    program = compiled(name, chip, stages=1)
    found = arrays_of(program)
    assert found
    if name == "Swin-B":
        assert not wholes(found)
    memory = program.memory_analysis()
    assert memory.argument_size_in_bytes + memory.temp_size_in_bytes < 16e9  # of a v5e, the smallest
