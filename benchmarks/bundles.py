"""The speed of the attention kernels on TPUs, estimated from the compiler's output without a TPU.

    python benchmarks/bundles.py                     # all cases; a few minutes
    python benchmarks/bundles.py --cases "v6e H=128" # cases whose names begin with a match of this regex
    python benchmarks/bundles.py --cases ".* Swin" --name windows   # the same, recorded under this name

libtpu compiles for any TPU on any Linux machine, and writes what each unit does in each cycle: one bundle of
instructions per cycle. For each kernel of a case the record has:

    bundles    the length of the loop or block that takes most of the time;  program: of the whole program
    heads, scores    how many heads and scores one iteration computes;  per_head, per_block: bundles for the scores of
                     one head, and for 1024 × 1024 of its scores
    peak       the largest share of the matrix unit's peak that this allows, without memory and waiting
    busy       the share of each unit's slots that are used;  spills: registers that were stored in memory

The peer is splash attention in JAX, in the same run with the same libtpu, blocks of 1024. For short rows it is also
attention compiled by XLA, xfm's form and that of jax.nn. Such a program has many operations, so whole programs are
compared: `forward` and `step` (values and all gradients), on arrays [B T N·H] in the layout that each program prefers.
The same is done for one query over a cache, with keys and values in the layout of the mixer's cache:

    cycles     bundles of all operations, times the iterations of their loops, with all branches taken, per row
    bytes      bytes that the operations read from HBM and write to it, per row;  temporary: memory between operations
    bound      the smallest number of cycles per row, if computation and memory never wait for each other
"""

import argparse
import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from importlib import metadata

from common import record, versions
from tpu_program import BYTES_A_CYCLE, cycles, traffic

TOPOLOGIES = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
FLOP_A_BUNDLE = {"v5e": 2**17, "v5p": 2**17, "v6e": 2**19, "tpu7x": 2**19}
CHIPS = ("v5e", "v6e")  # chips for all cases; the others are only used for the plain ones
LENGTH, ROWS = 2048, 4
# Names of calls of attention with different arguments (see `xfm_call`).
CALLS = ("plain", "packed", "window", "slopes", "buckets", "clip")
RELATIVE = "relative"  # a relative bias with both terms, 512 vectors, heads of 64
SHORT = {"ViT": (197, 12, 64), "Swin": (49, 3, 32), "Swin-B": (49, 4, 32)}
# Swin's second stage, and the third one of Swin-T: their heads are one wide column of lanes, two columns and three
LATER = {"Swin-6": (49, 6, 32), "Swin-8": (49, 8, 32), "Swin-12": (49, 12, 32)}
SHORT |= LATER
CACHES = {"cache": (12, 12, 64), "shared-cache": (32, 8, 128)}  # query heads, key heads, head width
CACHED = 32_768  # positions of a cache
# rows of a whole program: images, windows of 64 images, texts that are being generated
WHOLE = {"ViT": 256, "Swin": 64 * 64, "Swin-B": 64 * 64, "cache": 8, "shared-cache": 8}
WHOLE |= {"Swin-6": 64 * 16, "Swin-8": 64 * 16, "Swin-12": 64 * 4}
ENVIRONMENT = dict(
    TPU_SKIP_MDS_QUERY="1",
    JAX_PLATFORMS="cpu",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
)


def cases() -> list[str]:
    """The names of all cases: chip, head width or shape, call, implementation."""
    plain = [f"{chip} H={H} plain {whose}" for chip in TOPOLOGIES for H in (64, 128) for whose in ("xfm", "splash")]
    own = [f"{chip} H={H} {call} xfm" for chip in CHIPS for H in (64, 128) for call in CALLS]
    own += [f"{chip} H=64 {RELATIVE} xfm" for chip in CHIPS]
    peer = [f"{chip} H={H} {call} splash" for chip in CHIPS for H in (64, 128) for call in ("plain", "packed")]
    short = [f"{chip} {shape} {whose}" for chip in CHIPS for shape, whose in (("ViT", "xfm"), ("ViT", "splash"))]
    whole = [
        f"{chip} {shape} {way} {whose}"
        for chip in (*CHIPS, "v5p") for shape in SHORT if chip in CHIPS or shape != "ViT"
        for way in ("forward", "step") for whose in ("xfm", "xla", "jax.nn")
    ]  # fmt: skip
    caches = [f"{chip} {cache} forward {whose}" for chip in CHIPS for cache in CACHES for whose in ("xfm", "xla")]
    short += [f"{chip} {shape} xfm" for chip in CHIPS for shape in ("Swin", "Swin-B")]
    return list(dict.fromkeys(own + peer + plain + short + whole + caches))


def compile_case(name: str) -> None:
    """Compiles forward and backward of a case, so that the compiler writes its dumps."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    chip, shape, *rest = name.split()
    whose = rest[-1]
    if shape in SHORT:
        (T, N, H), B, call = SHORT[shape], 64, shape
    else:
        H, T, B, call = int(shape[2:]), LENGTH, ROWS, rest[0]
        N = 12 if H == 64 else 8
    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[chip]).devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    segments = array(B, T, dtype=jnp.int32) if call == "packed" else None
    attend, shape, learned = (xfm_call if whose == "xfm" else splash_call)(call, B, T, N, H, chip)

    def loss(q, k, v, learned, segments):
        return attend(q, k, v, learned, segments).astype(jnp.float32).sum()

    learned = jax.tree.map(lambda a: array(*a.shape, dtype=a.dtype), learned)
    gradient = jax.grad(loss, argnums=(0, 1, 2, 3), allow_int=True)
    jax.jit(gradient).lower(*3 * (array(*shape),), learned, segments).compile()


def compile_whole(name: str) -> dict:
    """Compiles a whole program; returns the temporary memory that it needs."""
    import jax
    from jax.experimental import topologies

    chip, shape, way, whose = name.split()
    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[chip]).devices[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    made = (
        of_a_cache(chip, shape, whose, sharding)
        if shape in CACHES
        else of_short_rows(chip, shape, way, whose, sharding)
    )
    return dict(temporary=made.compile().memory_analysis().temp_size_in_bytes)


def of_short_rows(chip, shape, way, whose, sharding):
    """The lowered program of attention over short rows."""
    import jax
    import jax.numpy as jnp
    from jax.experimental.layout import Format, Layout

    (T, N, H), B, liked = SHORT[shape], WHOLE[shape], Format(Layout.AUTO, sharding)
    sizes = (shape, B, T, N, H)
    attend, _, learned = jax_nn_call(*sizes) if whose == "jax.nn" else xfm_call(*sizes, chip, whose)
    q = jax.ShapeDtypeStruct((B, T, N * H), jnp.bfloat16)

    def forward(q, k, v, learned):
        return attend(*(a.reshape(B, T, N, H) for a in (q, k, v)), learned, None).reshape(q.shape)

    def step(q, k, v, learned, dy):
        y, back = jax.vjp(forward, q, k, v, learned)
        return y, back(dy)

    learned = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), learned)
    run, given = (forward, (q, q, q, learned)) if way == "forward" else (step, (q, q, q, learned, q))
    return jax.jit(run, in_shardings=liked, out_shardings=liked).lower(*given)


def of_a_cache(chip, cache, whose, sharding):
    """The lowered program of one query that attends to the filled part of a cache."""
    import jax
    import jax.numpy as jnp

    from xfm.kernels.attention import Mask, attention
    from xfm.kernels.platform import compiling_for

    (N, K, H), B = CACHES[cache], WHOLE[cache]
    q, k = (jax.ShapeDtypeStruct((B, *shape, H), jnp.bfloat16, sharding=sharding) for shape in ((1, N), (CACHED, K)))

    def forward(q, k, v, position):
        mask = Mask.causal() & Mask(offset=position)
        with compiling_for("tpu", chip=chip):
            return attention(q, k, v, mask=mask, implementation="tpu" if whose == "xfm" else whose)

    return jax.jit(forward).lower(q, k, k, jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding))


def jax_nn_call(call, B, T, N, H):
    """Attention of jax.nn, which needs a table of distances expanded to a bias for all pairs of tokens."""
    import jax
    import jax.numpy as jnp

    learned, tokens = learned_of(call, B, T, N, H), jnp.arange(T)

    def attend(q, k, v, learned, segments):
        bias = None
        if learned is not None:
            bias = jax.vmap(lambda n: learned.block(0, n, tokens, tokens))(jnp.arange(N))[None].astype(q.dtype)
        return jax.nn.dot_product_attention(q, k, v, bias=bias, implementation="xla")

    return attend, None, learned


def learned_of(call, B, T, N, H):
    """The learned bias of a case, or None."""
    import jax.numpy as jnp

    from xfm.kernels.attention import Buckets, GridTable, Relative, Slopes

    return {
        "slopes": Slopes(jnp.ones(N)),
        "buckets": Buckets(jnp.ones((32, N))),
        RELATIVE: Relative(
            *2 * (jnp.ones((B, T, N, H), jnp.bfloat16),),
            *2 * (jnp.ones((512, N, H), jnp.bfloat16),),
            jnp.clip(jnp.arange(1 - T, T), -256, 255) + 256,
        ),
        "Swin": GridTable(jnp.ones((13, 13, N)), (7, 7)),
    }.get("Swin" if call in SHORT and call.startswith("Swin") else call)


def xfm_call(call, B, T, N, H, chip, whose="xfm"):
    """xfm's attention for a call: (function, shape of its arrays, learned bias)."""
    from xfm.kernels.attention import Mask, Softmax, attention
    from xfm.kernels.platform import compiling_for

    implementation = "tpu" if whose == "xfm" else whose
    # a window of which every block of 1024 has a part, so that all blocks are computed as in the plain case
    mask = Mask.window(1500, 1500) if call == "window" else Mask.full()
    softmax = Softmax(clip=(-0.03, 1.1)) if call == "clip" else "softmax"

    def attend(q, k, v, learned, segments):
        given = dict(segments=segments, mask=mask, bias=learned, softmax=softmax)
        with compiling_for("tpu", chip=chip):
            return attention(q, k, v, implementation=implementation, **given)

    return attend, (B, T, N, H), learned_of(call, B, T, N, H)


def splash_call(call, B, T, N, H, chip):
    """Splash attention for a call: (function, shape of its arrays, None)."""
    import jax
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    T = -(-T // 128) * 128
    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    blocks = splash.BlockSizes(**{f"block_{name}": min(T, 1024) for name in names})
    mask = masks.MultiHeadMask([masks.FullMask((T, T))] * N)
    kernel = splash.make_splash_mha(mask=mask, head_shards=1, q_seq_shards=1, block_sizes=blocks)

    def attend(q, k, v, learned, segments):
        if segments is None:
            return jax.vmap(kernel)(q, k, v)
        return jax.vmap(lambda q, k, v, s: kernel(q, k, v, splash.SegmentIds(s, s)))(q, k, v, segments)

    return attend, (B, N, T, H), None


def bundles(folder: str) -> dict[str, dict]:
    """The figures of each attention kernel whose dumps are in a folder, by the kernel's name."""
    found = {}
    for table in sorted(glob.glob(f"{folder}/*final_hlo-static-per-bundle-utilization.txt")):
        name = re.match(r"\d+-(.*?)-\d+-final_hlo", os.path.basename(table))[1]
        kernel = re.search(r"attention_(?:forward|backward|denominator)|splash_mha_(?:fwd|dkv|dq)", name)
        if kernel is None:
            continue
        lines = pathlib.Path(table).read_text().split("\n")
        units, capacity = [unit.strip() for unit in lines[1].split(",")], [int(n) for n in lines[2].split()]
        uses = [[int(n) for n in line.split()] for line in lines[4:] if line.strip()]
        (program,) = [f for f in glob.glob(f"{folder}/*-final_bundles.txt") if f"-{name}-" in f and "schedule" not in f]
        first, last = _body(_regions(program))
        rows = uses[first : last + 1]
        total = {unit: sum(row[i] for row in rows) for i, unit in enumerate(units)}
        busy = {unit: round(total[unit] / (c * len(rows)), 3) for unit, c in zip(units, capacity, strict=True)}
        found[kernel[0]] = dict(
            bundles=len(rows),
            program=len(uses),
            spills=total["VSTORE:SPILL"],
            busy={unit: share for unit, share in busy.items() if share and ":" not in unit},
        )
    return found


def _regions(program: str) -> list[tuple[int, int]]:
    """The first and last bundle of each region of a program, the largest first."""
    started, regions, address = {}, [], 0
    for line in open(program):
        at = re.match(r"\s*(0x[0-9a-f]+|0)\s+(?:\w\w)?\s*:", line)
        address = int(at[1], 16) if at else address
        for kind, number in re.findall(r"(Start|End) region (\d+)", line):
            if kind == "Start":
                started[number] = address
            elif number in started:
                regions.append((started[number], address))
    return sorted(regions, key=lambda region: region[0] - region[1])


def _body(regions: list[tuple[int, int]]) -> tuple[int, int]:
    """The largest region without a nested region of more than 0.3 of its length: where most of the time is spent."""
    for first, last in regions:
        inside = [r for r in regions if first <= r[0] and r[1] <= last and r != (first, last)]
        if not any(b - a > 0.3 * (last - first) for a, b in inside):
            return first, last
    raise ValueError("a program without regions")


def measured(name: str) -> dict[str, dict]:
    """The figures of a case, which is compiled in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        child = subprocess.run(
            [sys.executable, __file__, "--compile", name],
            env=os.environ | ENVIRONMENT | {"LIBTPU_INIT_ARGS": arguments},
            capture_output=True,
            text=True,
        )
        if child.returncode:
            raise SystemExit(f"{name} does not compile:\n{child.stderr[-3000:]}")
        if _is_whole(name):
            return {"program": _by_row(name, json.loads(child.stdout.splitlines()[-1]), folder)}
        kernels = bundles(folder)
    for kernel, numbers in kernels.items():
        numbers |= _shares(name, kernel, numbers["bundles"])
    return kernels


def _is_whole(name: str) -> bool:
    return {"forward", "step"} & set(name.split()) != set()


def _by_row(name: str, more: dict, folder: str) -> dict:
    """The figures of a whole program, and `more`, per row of its batch."""
    chip, shape, *_ = name.split()
    length, moved = cycles(folder), traffic(folder)
    totals = dict(cycles=length, bytes=moved, **more, bound=max(length, moved / BYTES_A_CYCLE[chip]))
    return {what: round(total / WHOLE[shape]) for what, total in totals.items()}


def _shares(name: str, kernel: str, length: int) -> dict:
    """The bundles per 1024 × 1024 scores of a head, and the share of the peak that they allow."""
    chip, shape, *_, whose = name.split()
    T, N, H = SHORT.get(shape, (LENGTH, 12 if shape == "H=64" else 8, 0))
    H = H or int(shape[2:])
    if whose == "xfm":
        from xfm.kernels.attention.mask import Mask
        from xfm.kernels.attention.tpu.plan import plan

        B, bias = 64 if shape in SHORT else ROWS, "plane" if shape.startswith("Swin") else "none"
        bias = RELATIVE if RELATIVE in name else bias
        cut = plan((B, T, N, H), (B, T, N, H), Mask.full(), bias)
        heads, scores = cut.heads * cut.together, cut.q_block * cut.k_block
    else:
        heads, scores = 1, min(-(-T // 128) * 128, 1024) ** 2
    # Products per block, with 2 · H operations per score: two forward and five backward (in splash's two passes four
    # and three). Clipped weights need one more, and one for the denominators; each relative term one and three more.
    products = {
        "attention_denominator": 1,
        "attention_forward": 4 if RELATIVE in name else 3 if "clip" in name else 2,
        "attention_backward": 11 if RELATIVE in name else 5,
        "splash_mha_fwd": 2,
        "splash_mha_dkv": 4,
        "splash_mha_dq": 3,
    }
    flop = products[kernel] * 2 * H * scores * heads
    return dict(
        heads=heads,
        scores=scores,
        per_head=round(length / heads, 1),
        per_block=round(length / heads / scores * 2**20),
        peak=round(flop / length / FLOP_A_BUNDLE[chip], 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default="", help="only cases whose names begin with a match of this regex")
    parser.add_argument("--name", help="records the chosen cases under this name")
    parser.add_argument("--json", action="store_true", help="print the numbers and nothing else")
    parser.add_argument("--compile", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compile:
        return print(json.dumps((compile_whole if _is_whole(options.compile) else compile_case)(options.compile)))
    results = {}
    for name in cases():
        if not re.match(options.cases, name):
            continue
        results[name] = measured(name)
        for kernel, n in results[name].items() if not options.json else ():
            if kernel == "program":
                print(f"{name:28} " + "  ".join(f"{what} {number}" for what, number in n.items()), flush=True)
                continue
            print(
                f"{name:28} {kernel:18} {n['bundles']:6} bundles {n['per_head']:8} a head "
                f"{n['per_block']:6} a block  peak {n['peak']:.0%}  matrix unit {n['busy'].get('MATMUL', 0):.0%}  "
                f"spills {n['spills']}",
                flush=True,
            )
    if options.json:
        print(json.dumps(results))
    elif options.name or not options.cases:
        record(options.name or "bundles", __doc__.strip(), results, versions() | {"libtpu": metadata.version("libtpu")})


if __name__ == "__main__":
    main()
