"""Compiles attention for an H200 that is not there and prints what ptxas said: `python -m tests.kernels.hopper NAME...`

One line of JSON per named case. A process of its own, since the dumps are asked for by environment variables and the
CUDA plugin of JAX loads on a machine without a GPU only where the CPU is the platform. Needs jax[cuda13].
"""

import dataclasses
import json
import os
import pathlib
import re
import sys
import tempfile
import time

TARGET = pathlib.Path(__file__).with_name("h200.txtpb")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Shapes and descriptions of one call, forward and backward."""

    width: int = 64
    dtype: str = "bfloat16"
    length: int = 1000
    heads: tuple[int, int] = (4, 2)
    packed: bool = False
    mask: dict = dataclasses.field(default_factory=dict)
    bias: str | None = None
    cap: float | None = None
    dropout: float = 0.0
    implementation: str = "hopper"


ALL_RULES = dict(order="causal", before=64, after=70, offset=3)
CASES = {
    f"{dtype} {width}": Compiled(width, dtype, length=4096 if width == 256 else 1000)
    for width in (64, 128, 256)
    for dtype in ("bfloat16", "float16")
}
CASES |= {
    f"{name} {width}": Compiled(width, **given)
    for width in (64, 128, 256)
    for name, given in {
        "long": dict(length=8192),
        "odd": dict(length=197),
        "packed window": dict(packed=True, mask=dict(before=64, after=64)),
        "all rules": dict(packed=True, mask=ALL_RULES),
        "slopes": dict(bias="slopes", packed=True),
        "buckets": dict(bias="buckets", packed=True),
        "dense": dict(bias="dense", packed=True),
        "dropout": dict(dropout=0.1, packed=True, mask=ALL_RULES),
        "cap": dict(cap=30.0, packed=True, mask=ALL_RULES),
        "everything": dict(bias="buckets", cap=30.0, dropout=0.1, packed=True, mask=ALL_RULES),
    }.items()
    if width < 256 or given.get("bias") in (None, "slopes")
}
CASES |= {
    f"cudnn {name} {width}": Compiled(width, implementation="cudnn", **given)
    for width in (64, 128)
    for name, given in {
        "full": {},
        "causal": dict(mask=dict(order="causal")),
        "causal window": dict(mask=dict(order="causal", before=64)),
        "dense": dict(bias="dense", heads=(4, 4)),
    }.items()
}


def compile_case(case: Compiled) -> dict:
    """Seconds, and the program's custom calls."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from xfm.kernels.attention import Buckets, Dense, Dropout, Mask, Slopes, Softmax, attention
    from xfm.kernels.platform import compiling_for

    target = "\n".join(line for line in TARGET.read_text().splitlines() if not line.startswith("#"))
    topology = topologies.get_topology_desc(platform="cuda", target_config=target, topology="1x1x1")
    device = jax.sharding.SingleDeviceSharding(topology.devices[0])
    B, T, (N, K), H, dtype = 2, case.length, case.heads, case.width, jnp.dtype(case.dtype)

    def of(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=device)

    bias = dict(
        slopes=Slopes(of((N,), jnp.float32)),
        buckets=Buckets(of((32, N), jnp.float32)),
        dense=Dense(of((B if case.implementation == "cudnn" else 1, N, T, T), dtype)),
    ).get(case.bias)

    def both(q, k, v, dy, segments, seed, bias):
        def forward(q, k, v, bias):
            return attention(
                q,
                k,
                v,
                segments=segments if case.packed else None,
                mask=Mask(**case.mask),
                bias=bias,
                softmax=Softmax(cap=case.cap),
                dropout=Dropout(case.dropout, seed) if case.dropout else None,
                implementation=case.implementation,
            )

        y, back = jax.vjp(forward, q, k, v, bias)
        return y, back(dy)

    q, k = of((B, T, N, H), dtype), of((B, T, K, H), dtype)
    began = time.monotonic()
    with compiling_for("gpu"):
        lowered = jax.jit(both).lower(q, k, k, q, of((B, T), jnp.int32), of((), jnp.uint32), bias)
    text = lowered.compile().as_text()
    return dict(seconds=round(time.monotonic() - began, 1), calls=sorted(set(re.findall(r"__cudnn\$\w+", text))))


def kernels(folder: pathlib.Path) -> dict:
    """What ptxas said of each kernel whose dump is in the folder, which is then empty."""

    def text(name, ending):  # jax 0.12 numbers the files of one kernel differently
        return next(f for f in folder.iterdir() if re.fullmatch(rf"{name}_\d+\.{ending}", f.name)).read_text()

    found = {}
    for name in {re.sub(r"_\d+\.ptxas", "", f.name) for f in folder.glob("*.ptxas")}:
        said, ptx, resources = (text(name, ending) for ending in ("ptxas", "ptx", r"resources\.txt"))
        found[name] = dict(
            architecture=re.search(r"for '(sm_\w+)'", said)[1],
            registers=int(re.search(r"[Uu]sed (\d+) registers", said)[1]),
            spilled=max(int(n) for n in re.findall(r"(\d+) bytes spill", said)),
            warnings=re.findall(r"\(C\d+\)[^\n]*", said),
            shared=int(re.search(r"smem_scratch_bytes=(\d+)", resources)[1]),
            wgmma=ptx.count("wgmma.mma_async"),
            tma=ptx.count("cp.async.bulk.tensor"),
        )
    for file in folder.iterdir():
        file.unlink()
    return found


def main(names):
    with tempfile.TemporaryDirectory() as folder:
        # Read at each compilation, by the compiler itself.
        os.environ.update(MOSAIC_GPU_DUMP_TO=folder, MOSAIC_GPU_DUMP_PTX="1", MOSAIC_GPU_DUMP_PTXAS="1")
        for name in names:
            found = compile_case(CASES[name])
            print(json.dumps(dict(found, name=name, kernels=kernels(pathlib.Path(folder)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))
