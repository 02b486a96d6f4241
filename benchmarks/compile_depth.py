"""Compile time at several depths: a stack of 48 layers may take at most 1.2 times as long as one of 6 layers.

    python benchmarks/compile_depth.py

BERT-base's layers on 8 rows of 128 tokens: the forward pass, and the gradient of a function of the logits of a masked
language model. Nothing is run. Tracing and compiling are timed separately, with empty caches, alternating between the
depths.
"""

import statistics
import sys
import time

from common import ROOT, record, versions

sys.path.append(str(ROOT))
DEPTHS = (6, 48)
ROUNDS = 5
GOAL = 1.2


def functions(depth):
    """The functions for a stack of `depth` layers: name -> (function, shapes of its arguments)."""
    import jax
    import jax.numpy as jnp

    from xfm import build
    from xfm.configs.text import bert

    network = build(bert.network(depth, 768, 12, vocab=30522, length=512, drop=0.0))
    batch = dict(tokens=jax.ShapeDtypeStruct((8, 128), jnp.int32))
    params = jax.eval_shape(network.init, jax.random.key(0), batch)["params"]

    def forward(params, batch):
        return network.apply({"params": params}, batch)["mlm"]

    def gradient(params, batch):
        return jax.grad(lambda p: jnp.square(forward(p, batch)).mean())(params)

    return {f.__name__: (f, (params, batch)) for f in (forward, gradient)}


def once(function, shapes):
    """The seconds to trace and to compile a function, with empty caches."""
    import jax

    jax.clear_caches()
    start = time.perf_counter()
    lowered = jax.jit(function).lower(*shapes)
    traced = time.perf_counter()
    lowered.compile()
    return traced - start, time.perf_counter() - traced


def main():
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    stacks = {depth: functions(depth) for depth in DEPTHS}
    results = {}
    for name in ("forward", "gradient"):
        times = {depth: [] for depth in DEPTHS}
        for _ in range(ROUNDS + 1):
            for depth in DEPTHS:
                times[depth].append(once(*stacks[depth][name]))
        table = {}
        for depth in DEPTHS:
            trace, compiling = zip(*times[depth][1:], strict=True)  # the first round warms up
            table[depth] = dict(
                trace_s=round(statistics.median(trace), 3),
                compile_s=round(statistics.median(compiling), 3),
                total_s=round(statistics.median(map(sum, times[depth][1:])), 3),
            )
        ratio = round(table[DEPTHS[1]]["total_s"] / table[DEPTHS[0]]["total_s"], 3)
        results[name] = dict(layers=table, ratio=ratio, goal=GOAL, met=ratio <= GOAL)
        print(f"{name:10} {table}  ratio {ratio} (goal {GOAL})", flush=True)
    record("compile_depth", __doc__.splitlines()[0], results, versions())


if __name__ == "__main__":
    main()
