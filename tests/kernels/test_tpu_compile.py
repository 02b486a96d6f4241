"""The TPU kernels compile for chips that are not here, take no memory of their own, and are no slower than recorded.

Needs libtpu, which is no part of the tests' requirements: .ci/run has an environment for it.
"""

import json
import os
import pathlib
import subprocess
import sys
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.kernels.attention import (
    Buckets,
    Dense,
    Dropout,
    GridDecay,
    GridTable,
    Mask,
    Pattern,
    Relative,
    Sigmoid,
    Slopes,
    Softmax,
    attention,
)
from xfm.kernels.platform import compiling_for, spread_over
from xfm.parts.linear import linear

pytest.importorskip("libtpu", reason="libtpu is not installed; pip install -e '.[plan]' brings it")

os.environ.update(
    TPU_SKIP_MDS_QUERY="1",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
)
CHIPS = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", params=CHIPS)
def chip(request):
    return request.param


@pytest.fixture(scope="module")
def array(chip):
    """array(*shape, dtype): what a chip of that kind would be given."""
    from jax.experimental import topologies

    chips = topologies.get_topology_desc(platform="tpu", topology_name=CHIPS[chip])
    sharding = jax.sharding.SingleDeviceSharding(chips.devices[0])
    return lambda *shape, dtype=jnp.bfloat16: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


@pytest.fixture(autouse=True)
def no_cache():
    """What is compiled for a chip that is not here cannot be read back."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def ones(*shape):
    return jnp.ones(shape)


def relative(B, T, N, H, dtype=jnp.bfloat16):
    """Both terms of 512 vectors, which distances share as those of DeBERTa do."""
    rows = np.clip(np.arange(1 - T, T), -256, 255) + 256
    q, table = jnp.ones((B, T, N, H), dtype), jnp.ones((512, N, H), dtype)
    return Relative(q, q, table, table, jnp.asarray(rows))


CLIPPED = Softmax(clip=(-0.03, 1.1))
# B, T, N, H and what else attention is given; K, S, dtype and "segments" apart.
CALLS = {
    "plain": (4, 1024, 12, 64, dict()),
    "128 wide, packed": (2, 2048, 8, 128, dict(segments=True)),
    "80 wide": (2, 257, 16, 80, dict()),
    "256 wide, grouped": (2, 1000, 4, 256, dict(K=2, segments=True)),
    "float32": (1, 1024, 2, 64, dict(dtype=jnp.float32, segments=True)),
    "197 patches": (16, 197, 12, 64, dict()),
    "windows of 49": (256, 49, 3, 32, dict(bias=GridTable(ones(13, 13, 3), (7, 7)))),
    "75 windows of 49": (75, 49, 4, 32, dict(bias=GridTable(ones(13, 13, 4), (7, 7)))),
    "shifted windows of 49": (128, 49, 6, 32, dict(bias=GridTable(ones(13, 13, 6), (7, 7)), segments=True)),
    "one query": (8, 1, 8, 128, dict(S=4096, mask=Mask.causal() & Mask(offset=jnp.int32(7)), segments=True)),
    "one key": (8, 300, 4, 64, dict(S=1)),
    "window": (1, 8192, 2, 64, dict(mask=Mask.window(64, 64), segments=True)),
    "causal, prefix": (1, 2048, 2, 64, dict(mask=Mask.causal(jnp.ones((1, 2048), bool)))),
    "everyone": (1, 2048, 2, 64, dict(mask=Mask.window(128, 128, jnp.ones((1, 2048), bool)), segments=True)),
    "pattern": (1, 2048, 2, 64, dict(mask=Mask(pattern=Pattern(64, jnp.ones((2, 32, 32), bool))))),
    "slopes": (1, 2048, 2, 64, dict(bias=Slopes(ones(2)), segments=True)),
    "buckets": (2, 197, 12, 64, dict(bias=Buckets(ones(32, 12)))),
    "decay": (1, 784, 2, 64, dict(bias=GridDecay(ones(2), (28, 28)))),
    "dense": (8, 197, 12, 64, dict(bias=Dense(ones(1, 12, 197, 197)))),
    "dense, 1,024 tokens": (2, 1024, 12, 64, dict(bias=Dense(ones(1, 12, 1024, 1024)), dtype=jnp.float32)),
    "dense, 1,500 tokens": (2, 1500, 2, 64, dict(bias=Dense(ones(1, 1, 1500, 1500)), segments=True)),
    "dense, 2,048 tokens and heads of 16": (1, 2048, 16, 16, dict(bias=Dense(ones(1, 16, 2048, 2048)))),
    "dense, 2,048 tokens": (1, 2048, 2, 64, dict(bias=Dense(ones(1, 2, 2048, 2048)), dtype=jnp.float32)),
    "577 tokens": (4, 577, 12, 64, dict(bias=Dense(ones(1, 12, 577, 577)))),
    "576 patches and one": (4, 577, 12, 64, dict(bias=GridTable(ones(47, 47, 12), (24, 24), 1, ones(3, 12)))),
    "576 patches": (4, 576, 12, 64, dict(bias=GridTable(ones(47, 47, 12), (24, 24)))),
    "relative": (1, 2048, 2, 64, dict(bias=relative(1, 2048, 2, 64), segments=True)),
    "relative, 512 tokens": (8, 512, 12, 64, dict(bias=relative(8, 512, 12, 64))),
    "relative, 197 tokens": (8, 197, 3, 128, dict(bias=relative(8, 197, 3, 32, jnp.float32), dtype=jnp.float32)),
    "relative, 3,000 tokens": (1, 3000, 2, 128, dict(bias=relative(1, 3000, 2, 128, jnp.float32), dtype=jnp.float32)),
    "relative, 8,192 tokens": (2, 8192, 4, 64, dict(bias=relative(2, 8192, 4, 64))),
    "dropout and cap": (1, 1024, 2, 64, dict(dropout=Dropout(0.1, jnp.uint32(3)), softmax=Softmax(cap=30.0))),
    "sigmoid": (1, 1024, 2, 64, dict(softmax=Sigmoid(shift=ones(2)))),
    "clip": (1, 2048, 2, 64, dict(softmax=CLIPPED, segments=True)),
    "clip, 197 patches": (16, 197, 12, 64, dict(softmax=CLIPPED, dropout=Dropout(0.1, jnp.uint32(3)))),
    "20,000 tokens": (1, 20_000, 1, 128, dict()),
}


@pytest.mark.parametrize("name", CALLS)
def test_forward_and_backward_compile(chip, array, name):
    B, T, N, H, given = CALLS[name]
    given = dict(given)
    S, K, dtype = given.pop("S", T), given.pop("K", N), given.pop("dtype", jnp.bfloat16)
    packed = given.pop("segments", False)
    segments = (array(B, T, dtype=jnp.int32), array(B, S, dtype=jnp.int32)) if packed else None
    leaves, tree = jax.tree.flatten(given)
    arrays = [isinstance(leaf, jax.Array) for leaf in leaves]
    learned = [i for i, leaf in enumerate(leaves) if arrays[i] and jnp.issubdtype(leaf.dtype, jnp.floating)]

    def loss(q, k, v, numbers, segments, others):
        filled = dict(zip(learned, numbers, strict=True)) | dict(others)
        given = jax.tree.unflatten(tree, [filled.get(i, leaf) for i, leaf in enumerate(leaves)])
        return attention(q, k, v, segments=segments, implementation="tpu", **given).astype(jnp.float32).sum()

    abstract = [array(*leaf.shape, dtype=leaf.dtype) if arrays[i] else leaf for i, leaf in enumerate(leaves)]
    others = {i: abstract[i] for i in range(len(leaves)) if arrays[i] and i not in learned}
    with compiling_for("tpu", chip=chip):
        jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3))).lower(
            array(B, T, N, H, dtype=dtype),
            array(B, S, K, H, dtype=dtype),
            array(B, S, K, H, dtype=dtype),
            [abstract[i] for i in learned],
            segments,
            others,
        ).compile()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("H", [64, 128])
def test_a_mixer_copies_nothing_and_keeps_only_what_it_must(chip, array, H, packed):
    """Forward, with its projections: q, k, v and y, and the logarithms of the sums; no copy in another layout.

    Of packed rows the codes of segments too; that padding is zeroed copies nothing, forward or backward.
    """
    B, T, D = 16, 1024, 1024
    if chip == "tpu7x":
        pytest.skip("its parameters' layout has tiles of 16 rows, so that XLA copies what comes from outside")

    def mixer(x, q, k, v, o, bias, segments):
        q, k, v = (linear(x, kernel, bias=bias) for kernel in (q, k, v))
        return linear(attention(q, k, v, segments=segments), o, 2)

    def loss(*arrays):
        return mixer(*arrays).astype(jnp.float32).sum()

    weights = [array(D, D // H, H)] * 3 + [array(D // H, H, D), array(D // H, H)]
    given = (array(B, T, D), *weights, array(B, T, dtype=jnp.int32) if packed else None)

    def compiled(run):
        with compiling_for("tpu", chip=chip):
            program = jax.jit(run).lower(*given).compile()
        assert not [line for line in program.as_text().split("\n") if "copy(" in line and f"[{B},{T}" in line]
        return program

    kept, sums, codes = 4 * B * T * D * 2, B * T * 8 * (D // max(H, 128)) * 4, 2 * B * T * 128 * 2
    assert compiled(mixer).memory_analysis().temp_size_in_bytes <= kept + 2 * sums + packed * codes
    compiled(jax.grad(loss, argnums=tuple(range(6))))


def test_four_chips_take_their_own_rows_and_heads():
    """Nothing is sent between them but sums of gradients, of the keys' heads and of the slopes."""
    from jax.experimental import topologies

    chips = topologies.get_topology_desc(platform="tpu", topology_name=CHIPS["v5e"]).devices
    mesh = jax.sharding.Mesh(np.array(chips).reshape(2, 2), ("data", "model"))

    def array(spec, *shape, dtype=jnp.bfloat16):
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def loss(q, k, v, segments, slopes):
        return attention(q, k, v, segments=segments, bias=Slopes(slopes)).astype(jnp.float32).sum()

    q = array(("data", None, "model"), 4, 1024, 4, 128)
    segments, slopes = array(("data",), 4, 1024, dtype=jnp.int32), array(("model",), 4, dtype=jnp.float32)
    with compiling_for("tpu"), spread_over(mesh):
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 4))).lower(q, q, q, segments, slopes).compile()
    program = compiled.as_text()
    assert "attention_backward" in program
    assert not any(word in program for word in ("all-gather(", "all-to-all(", "collective-permute("))
    assert compiled.output_shardings[0].spec == q.sharding.spec


RECORDED = sorted((BENCHMARKS / "results").glob("bundles-*.json"))[-1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        f"{chip} H={H} {call} xfm"
        for chip in ("v5e", "v6e")
        for H in (64, 128)
        for call in ("plain", "packed", "slopes")
    ],
)
def test_no_slower_than_recorded(case):
    """Bundles of the kernels' inner blocks, at most 3 % above the last record's, by the libtpu it is from."""
    record = json.loads(RECORDED[0].read_text())
    if metadata.version("libtpu") != record["versions"]["libtpu"]:
        pytest.skip(f"recorded with libtpu {record['versions']['libtpu']}, here is {metadata.version('libtpu')}")
    output = subprocess.run(
        [sys.executable, BENCHMARKS / "bundles.py", "--cases", case, "--json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    now = json.loads(output)[case]
    for kernel, before in record["results"][case].items():
        assert now[kernel]["bundles"] <= 1.03 * before["bundles"], f"{case}, {kernel}"
