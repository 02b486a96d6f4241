"""Matrix products on one CPU core: XLA's libraries and number formats against PyTorch, and BERT-base as a whole.

    python benchmarks/products_cpu.py [--peer PYTHON_WITH_TORCH]

The products are those of two layers of BERT-base for 1,024 tokens, without anything between them, so `products` of a
side is a floor for every network on it. `forward_128` is BERT-base for 8 rows of 128 tokens. Each case is a process of
one thread, timed in processor seconds (the fastest of five calls), so that other programs change the figures little.
Rates are in GFLOP/s (integer operations for int8).
"""

import argparse
import json
import os
import subprocess
import sys
import time

from common import ROOT, record, versions

ROWS, WIDTH, LAYERS = 1024, 768, 2
YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
ONEDNN = "--xla_cpu_experimental_onednn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
# name: (side, what runs, number format, XLA's flags, whether freed memory is kept as `xfm` on the command line does)
CASES = {
    "peer products float32": ("peer", "products", "float32", "", False),
    "xla products float32": ("xfm", "products", "float32", "", False),
    "xla products float32, YNNPACK": ("xfm", "products", "float32", YNN, False),
    "xla products float32, oneDNN": ("xfm", "products", "float32", ONEDNN, False),
    "xla products float32, XNNPACK": ("xfm", "products", "float32", "--xla_cpu_use_xnnpack=true", False),
    "peer products bfloat16": ("peer", "products", "bfloat16", "", False),
    "xla products bfloat16": ("xfm", "products", "bfloat16", "", False),
    "xla products bfloat16, YNNPACK": ("xfm", "products", "bfloat16", YNN, False),
    "xla products int8": ("xfm", "products", "int8", "", False),
    "peer forward_128": ("peer", "forward", "float32", "", False),
    "xfm forward_128": ("xfm", "forward", "float32", "", False),
    "xfm forward_128, memory kept": ("xfm", "forward", "float32", "", True),
}


def operations(what: str) -> float:
    """Multiplications and additions of one call."""
    products = 2 * ROWS * 12 * WIDTH**2
    return LAYERS * products if what == "products" else 12 * (products + 4 * 8 * 128**2 * WIDTH)


def peer(what, dtype):
    import torch
    from transformers import BertConfig, BertModel

    torch.set_num_threads(1)
    if what == "forward":
        model = BertModel(BertConfig(), add_pooling_layer=False).eval()
        ids = torch.randint(5, 30_000, (8, 128))
        return torch.inference_mode()(lambda: model(ids))
    x, square, up, down = (torch.ones(shape, dtype=getattr(torch, dtype)) for shape in shapes())
    return torch.inference_mode()(lambda: layers(x, square, up, down, torch.matmul))


def xla(what, dtype):
    import jax
    import jax.numpy as jnp
    import numpy as np

    sys.path.append(str(ROOT))
    if what == "forward":
        import xfm

        model = xfm.build({**xfm.load_config("text/bert:base").model.to_dict(), "heads": {}})
        batch = {"tokens": np.random.default_rng(0).integers(5, 30_000, (8, 128))}
        like = jax.eval_shape(lambda: model.init(jax.random.key(0), batch))
        weights = jax.tree.map(lambda x: jnp.full(x.shape, 0.01), like)
        run = jax.jit(lambda weights: model.apply(weights, batch)["hidden"])
        return lambda: run(weights).block_until_ready()

    def product(a, b):
        made = jnp.int32 if dtype == "int8" else dtype
        return jnp.matmul(a, b, preferred_element_type=made).astype(dtype)

    arrays = [jnp.ones(shape, dtype) for shape in shapes()]
    run = jax.jit(lambda *arrays: layers(*arrays, product))
    return lambda: run(*arrays).block_until_ready()


def shapes():
    return (ROWS, WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)


def layers(x, square, up, down, product):
    for _ in range(LAYERS):
        for _ in range(4):
            x = product(x, square)
        x = product(product(x, up), down)
    return x


def measure(side, what, dtype, keep):
    """Prints the processor seconds of five calls after a first one."""
    if keep:
        import runpy

        assert runpy.run_path(str(ROOT / "xfm" / "memory.py"))["reuse_pages"](10**6)
    call, seconds = (peer if side == "peer" else xla)(what, dtype), []
    call()
    for _ in range(5):
        before = time.process_time()
        call()
        seconds.append(time.process_time() - before)
    print(json.dumps(dict(seconds=seconds, versions=versions())))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--peer", default=sys.executable, help="a Python that has PyTorch and transformers")
    arguments.add_argument("--case", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.case:
        side, what, dtype, _, keep = CASES[given.case]
        return measure(side, what, dtype, keep)
    results, found = {}, {}
    for name, (side, what, _, flags, _) in CASES.items():
        python = given.peer if side == "peer" else sys.executable
        environment = {**os.environ, "XLA_FLAGS": f"{ONE_THREAD} {flags}", "OMP_NUM_THREADS": "1"}
        run = subprocess.run([python, __file__, "--case", name], env=environment, capture_output=True, text=True)
        if run.returncode:
            print(f"{name:34} failed: {(run.stderr.strip().splitlines() or ['no message'])[-1]}", flush=True)
            results[name] = dict(failed=True)
            continue
        answer = json.loads(run.stdout.splitlines()[-1])
        found[side] = answer["versions"]
        rate = operations(what) / min(answer["seconds"]) / 1e9
        results[name] = dict(gflops=round(rate, 1), seconds=[round(s, 4) for s in answer["seconds"]])
        print(f"{name:34} {1000 * min(answer['seconds']):8.1f} ms   {rate:6.1f} GFLOP/s", flush=True)
    record("products_cpu", __doc__.splitlines()[0], results, found)


if __name__ == "__main__":
    main()
