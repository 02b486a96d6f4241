"""Memory of attention at several lengths: it must grow linearly, forward and backward.

    python benchmarks/attention_memory.py

One row, 12 heads of 64, float32. For each length, the temporary memory that the compiled program allocates (as XLA
reports it), plain and with packing, ALiBi and a window. Then length 16,384 is run, forward and backward, each in a
separate process, whose growth is measured.
"""

import json
import resource
import subprocess
import sys
import time

from common import ROOT, record, versions

sys.path.append(str(ROOT))
LENGTHS = (2048, 4096, 8192, 16384)
HEADS, WIDTH = 12, 64
GROWTH = 1.02  # the most memory at twice the length, relative to twice the memory


def functions(length):
    """The cases of a length: name -> (function of q, k, v and segments, shapes of these)."""
    import jax
    import jax.numpy as jnp

    from xfm.kernels.attention import Mask, Slopes, attention

    slopes = 2.0 ** -jnp.linspace(1, 8, HEADS)
    settings = dict(
        plain=lambda s: {},
        packed=lambda s: dict(segments=s),
        causal=lambda s: dict(segments=s, mask=Mask.causal()),
        alibi=lambda s: dict(segments=s, bias=Slopes(slopes)),
        window=lambda s: dict(segments=s, mask=Mask.window(64, 64)),
    )
    shape = jax.ShapeDtypeStruct((1, length, HEADS, WIDTH), jnp.float32)
    shapes = (shape, shape, shape, jax.ShapeDtypeStruct((1, length), jnp.int32))

    def forward(given):
        return lambda q, k, v, s: attention(q, k, v, **given(s))

    def backward(given):
        def loss(q, k, v, s):
            return jnp.square(attention(q, k, v, **given(s))).sum()

        return jax.grad(loss, argnums=(0, 1, 2))

    return {
        f"{name} {kind.__name__}": (kind(given), shapes)
        for name, given in settings.items()
        for kind in (forward, backward)
    }


def temporary(function, shapes):
    """The bytes that a compiled function needs beside its arguments and results."""
    import jax

    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def run(case):
    """Runs a case once at the longest length; prints how much the process grew, and the seconds."""
    import jax
    import jax.numpy as jnp

    function, shapes = functions(LENGTHS[-1])[case]
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, shapes[0].shape) for key in keys)
    segments = 1 + jnp.arange(LENGTHS[-1])[None] // 4096
    compiled = jax.jit(function).lower(*shapes).compile()
    jax.block_until_ready((q, k, v, segments))
    before = peak()
    start = time.perf_counter()
    finite = all(bool(jnp.isfinite(y).all()) for y in jax.tree.leaves(compiled(q, k, v, segments)))
    seconds = time.perf_counter() - start
    print(json.dumps(dict(grew_mb=round(peak() - before), seconds=round(seconds, 2), finite=finite)))


def peak():
    """The largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    tables = {length: functions(length) for length in LENGTHS}
    results = {}
    for case in tables[LENGTHS[0]]:
        mb = {length: temporary(*tables[length][case]) / 2**20 for length in LENGTHS}
        steps = [mb[b] / mb[a] / 2 for a, b in zip(LENGTHS, LENGTHS[1:], strict=False)]
        results[case] = dict(
            temporary_mb={length: round(value, 2) for length, value in mb.items()},
            growth_per_doubling=[round(2 * step, 2) for step in steps],
            linear=max(steps) <= GROWTH,
        )
        scores = LENGTHS[-1] ** 2 * HEADS * 4 / 2**20
        results[case]["all_scores_would_be_mb"] = round(scores)
        print(f"{case:18} {results[case]}", flush=True)
    for case in ("packed forward", "packed backward"):
        command = [sys.executable, __file__, case]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[case]["run"] = json.loads(answer.splitlines()[-1])
        print(f"{case:18} run at {LENGTHS[-1]}: {results[case]['run']}", flush=True)
    record("attention_memory", __doc__.splitlines()[0], results, versions())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1])
    else:
        main()
