"""Attention on a Hopper GPU: xfm's kernels against cuDNN, PyTorch and FlashAttention, bfloat16, in one run.

    python benchmarks/attention_gpu.py            # everything, under 8 minutes
    python benchmarks/attention_gpu.py --tune     # xfm's kernels alone, cut in several ways

First every case is computed at a small size, and values and gradients are compared with the definition in float32; a
wrong implementation is reported and not timed. Then each available implementation is timed, forward alone and forward
with backward, at 16,384 tokens of 2,048 features. Peers that are not installed or refuse a case are reported. Without a
GPU the sizes are tiny and 'xla' replaces the kernels; this only tests the script and measures nothing.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import types

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves memory to the process that runs PyTorch
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from common import ROOT, record, versions

ABOUT = "Attention on a Hopper GPU: xfm's kernels against cuDNN, PyTorch and FlashAttention, bfloat16."
SECONDS = 420  # time limit, after which the remaining cases are reported and not run
CLOSE = 0.012  # relative to the scale of the float32 result; bfloat16 rounds weights and gradients to 2^-9, some twice
TEXT = 320  # mean number of tokens of a packed text
CASES = {
    "64 x 512": dict(width=64, length=512),
    "64 x 1024": dict(width=64, length=1024),
    "64 x 197": dict(width=64, length=197, batch=83),
    "128 x 1024": dict(width=128, length=1024),
    "128 x 4096": dict(width=128, length=4096),
    "128 x 4096 causal": dict(width=128, length=4096, causal=True),
    "64 x 1024 table": dict(width=64, length=1024, table=True),
    "64 x 2048 packed": dict(width=64, length=2048, packed=True),
    "64 x 8192 window": dict(width=64, length=8192, window=64),
}
TORCH = ("torch flash", "torch cudnn", "flash_attn 3", "flash_attn 2")


def sizes(case, tiny, small):
    """B, T, N, H of a case.  small: for the comparison with the definition, which stores all scores."""
    T, H = case["length"], case["width"]
    if tiny or small:
        T = min(T, 64 if tiny else 640)
        return 2, T, 2, H
    return case.get("batch", 16384 // T), T, 2048 // H, H


def operations(case, shape, share):
    """The floating-point operations of the forward pass for the visible scores.  share: their share of all scores."""
    B, T, N, H = shape
    return 4 * B * N * T * T * H * share


def texts(B, T):
    """The segments of rows with several texts and some padding at the end; and the share of scores that are visible."""
    import numpy as np

    rng = np.random.default_rng(0)
    segments = np.zeros((B, T), np.int32)
    for row in segments:
        start, number = 0, 1
        while start < T - TEXT // 8:
            length = int(rng.integers(TEXT // 4, 2 * TEXT))
            row[start : start + length] = number
            start, number = start + length, number + 1
    share = np.mean([(np.bincount(row)[1:] ** 2).sum() for row in segments]) / T**2
    return segments, float(share)


def shared_of(case, shape):
    """The segments of a case, or None; and the share of scores that are visible."""
    B, T, _, _ = shape
    if case.get("packed"):
        return texts(B, T)
    if case.get("window"):
        reach = case["window"]
        return None, sum(min(t + reach, T - 1) - max(t - reach, 0) + 1 for t in range(T)) / T**2
    return None, (T + 1) / (2 * T) if case.get("causal") else 1.0


def kernels_alone():
    """Makes xfm.kernels importable if the rest of xfm, or its dependencies, are not installed."""
    try:
        import xfm.kernels.attention  # noqa: F401
    except ImportError:
        sys.modules["xfm"] = types.ModuleType("xfm")
        sys.modules["xfm"].__path__ = [str(ROOT / "xfm")]
        spec = importlib.util.spec_from_file_location(
            "xfm.kernels", ROOT / "kernels" / "__init__.py", submodule_search_locations=[str(ROOT / "kernels")]
        )
        sys.modules["xfm.kernels"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["xfm.kernels"])


# -- JAX -------------------------------------------------------------------------------------------------------------


def by_xfm(implementation, case, segments, q, k, v, table):
    """xfm's attention for a case."""
    from xfm.kernels.attention import Buckets, Mask, attention

    mask = Mask.causal() if case.get("causal") else Mask.full()
    if case.get("window"):
        mask = Mask.window(case["window"], case["window"])
    bias = Buckets(table) if case.get("table") else None
    return attention(q, k, v, segments=segments, mask=mask, bias=bias, implementation=implementation)


def by_cudnn(case, segments, q, k, v, table):
    """Attention of jax.nn with cuDNN, with dense masks and biases for cases that it has no other arguments for."""
    import jax
    import jax.numpy as jnp

    T = q.shape[1]
    mask = bias = None
    if segments is not None:
        mask = (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]
        mask = mask[:, None]
    if case.get("window"):
        ahead = jnp.arange(T)[None, :] - jnp.arange(T)[:, None]
        mask = (jnp.abs(ahead) <= case["window"])[None, None]
    if case.get("table"):
        from xfm.kernels.attention import Buckets

        buckets = Buckets(table)
        ahead = jnp.arange(T)[None, :] - jnp.arange(T)[:, None]
        bias = table[buckets.bucket(ahead)].transpose(2, 0, 1)[None].astype(q.dtype)
    causal = bool(case.get("causal"))
    return jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask, is_causal=causal, implementation="cudnn")


def jax_calls(case, shape, attend, dtype):
    """Functions without arguments, forward -> y and both -> (y, gradients), and the segments.

    All implementations get the same random arrays.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    B, T, N, H = shape
    rng = np.random.default_rng(1)
    q, k, v, dy = (jnp.asarray(rng.normal(size=(B, T, N, H)), jnp.bfloat16).astype(dtype) for _ in range(4))
    table = jnp.asarray(rng.normal(size=(32, N)), jnp.float32)
    segments = shared_of(case, shape)[0]
    segments = None if segments is None else jnp.asarray(segments)
    if segments is not None:
        dy = jnp.where((segments > 0)[:, :, None, None], dy, 0)

    def forward(q, k, v, table, segments):
        return attend(case, segments, q, k, v, table)

    def both(q, k, v, table, dy, segments):
        y, back = jax.vjp(lambda *learned: forward(*learned, segments), q, k, v, table)
        gradients = back(dy)
        return y, gradients if case.get("table") else gradients[:3]

    forward, both = jax.jit(forward), jax.jit(both)
    return (lambda: forward(q, k, v, table, segments)), (lambda: both(q, k, v, table, dy, segments)), segments


def difference(case, shape, attend, dtype):
    """The largest error of values and gradients against the definition in float32, each relative to its scale."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    _, both, segments = jax_calls(case, shape, attend, dtype)
    _, defined, _ = jax_calls(case, shape, functools.partial(by_xfm, "naive"), jnp.float32)
    real = 1.0 if segments is None else np.asarray(segments > 0, np.float32)[:, :, None, None]
    errors = []
    for a, e in zip(jax.tree.leaves(both()), jax.tree.leaves(defined()), strict=True):
        a, e = (np.asarray(x, np.float32) for x in (a, e))
        weight = real if a.ndim == 4 else 1.0  # peers' results at padding are not defined
        errors.append(float((np.abs(a - e) * weight).max() / np.abs(e).max()))
    return max(errors) if np.isfinite(errors).all() else float("nan")


def seconds_of(call, wait, times):
    """The median of five measurements, each the mean of `times` consecutive calls; and these measurements."""
    for _ in range(2):
        wait(call())
    found = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            last = call()
        wait(last)
        found.append((time.perf_counter() - began) / times)
    return statistics.median(found), found


def measured(forward, both, wait, times):
    """The times of one implementation of one case, in microseconds, with the five measurements of each."""
    alone, every_alone = seconds_of(forward, wait, times)
    together, every_together = seconds_of(both, wait, times)
    every = dict(forward=[round(1e6 * s, 1) for s in every_alone], both=[round(1e6 * s, 1) for s in every_together])
    return dict(forward_us=round(1e6 * alone, 1), both_us=round(1e6 * together, 1), every_us=every)


def reason(error):
    """An error in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def jax_side(cases, tiny, until):
    """The results of JAX: case -> implementation -> record, or the reason why there is none."""
    import jax
    import jax.numpy as jnp

    dtype = jnp.float32 if tiny else jnp.bfloat16
    names = ("xla",) if tiny else ("hopper",)
    implementations = {f"xfm {name}": functools.partial(by_xfm, name) for name in names}
    if not tiny:
        implementations["cudnn"] = by_cudnn
    results = {}
    for name, case in cases.items():
        results[name] = {}
        for implementation, attend in implementations.items():
            if time.monotonic() > until:
                results[name][implementation] = dict(missing="out of time")
                continue
            try:
                error = difference(case, sizes(case, tiny, small=True), attend, dtype)
                if not error < CLOSE:
                    results[name][implementation] = dict(missing=f"WRONG: differs by {error:.1e}", difference=error)
                    continue
                forward, both, _ = jax_calls(case, sizes(case, tiny, small=False), attend, dtype)
                times = 2 if tiny else 30
                found = measured(forward, both, jax.block_until_ready, times)
                results[name][implementation] = dict(found, difference=error)
            except Exception as problem:  # a peer that fails must not end the run
                results[name][implementation] = dict(missing=reason(problem))
            result = results[name][implementation]
            print(f"  {name:20} {implementation:14} {result.get('missing') or result['forward_us']}", flush=True)
    return results


def tuned(cases, until):
    """The times of xfm's kernels on the plain cases with other tilings than the module chooses."""
    import dataclasses
    import importlib

    import jax
    import jax.numpy as jnp

    module = importlib.import_module("xfm.kernels.attention.hopper.entry")
    chosen = module.tilings
    ways = {
        "as chosen": {},
        "without turns": dict(forward=dict(turns=False)),
        "three workers": dict(forward=dict(workers=3, turns=False)),
        "three stages": {kernel: dict(stages=3) for kernel in ("forward", "dq", "dkv")},
        "a block per tile": {kernel: dict(slots=1, blocks=None) for kernel in ("forward", "dq", "dkv")},
        "blocks that walk": {kernel: dict(slots=2, blocks=132) for kernel in ("forward", "dq", "dkv")},
        "64 columns": dict(forward=dict(columns=64)),
        "128 columns in dq": dict(dq=dict(columns=128)),
    }
    results = {}
    for name, case in cases.items():
        if set(case) & {"table", "packed", "window", "causal"}:
            continue
        for way, changes in ways.items():
            if time.monotonic() > until:
                return results

            def other(plan, changes=changes):
                found = chosen(plan)
                return found | {k: dataclasses.replace(found[k], **change) for k, change in changes.items()}

            module.tilings = other
            jax.clear_caches()
            try:
                shape = sizes(case, False, small=False)
                forward, both, _ = jax_calls(case, shape, functools.partial(by_xfm, "hopper"), jnp.bfloat16)
                found = measured(forward, both, jax.block_until_ready, 30)
            except Exception as problem:
                found = dict(missing=reason(problem))
            module.tilings = chosen
            results[f"{name}, {way}"] = found
            print(f"  {name:20} {way:20} {found.get('missing') or (found['forward_us'], found['both_us'])}", flush=True)
    return results


# -- PyTorch and FlashAttention, in a separate process ---------------------------------------------------------------


def torch_attend(name):
    """A peer's function from q, k, v [B T N H] and causal to y. Raises ImportError if the peer is not installed."""
    if name.startswith("torch"):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        backend = dict(flash=SDPBackend.FLASH_ATTENTION, cudnn=SDPBackend.CUDNN_ATTENTION)[name.split()[1]]

        def attend(q, k, v, causal):
            with sdpa_kernel(backend):
                heads_first = (a.transpose(1, 2) for a in (q, k, v))
                return scaled_dot_product_attention(*heads_first, is_causal=causal).transpose(1, 2)

        return attend
    if name == "flash_attn 3":
        from flash_attn_interface import flash_attn_func
    else:
        from flash_attn import flash_attn_func

    def attend(q, k, v, causal):
        y = flash_attn_func(q, k, v, causal=causal)
        return y[0] if isinstance(y, tuple) else y

    return attend


def torch_side(cases, until):
    """The results of PyTorch and FlashAttention: case -> implementation -> record, or the reason why there is none."""
    import torch

    results = {}
    for name, case in cases.items():
        results[name] = {}
        for implementation in TORCH:
            if set(case) & {"table", "packed", "window"}:
                continue  # they would need dense masks or biases, as cuDNN in JAX does
            try:
                if time.monotonic() > until:
                    raise TimeoutError("out of time")
                attend, causal = torch_attend(implementation), bool(case.get("causal"))
                B, T, N, H = sizes(case, False, small=False)
                q, k, v, dy = (torch.randn(B, T, N, H, device="cuda", dtype=torch.bfloat16) for _ in range(4))
                learned = [a.requires_grad_() for a in (q, k, v)]

                def forward(attend=attend, q=q, k=k, v=v, causal=causal):
                    with torch.no_grad():
                        return attend(q, k, v, causal)

                def both(attend=attend, learned=learned, dy=dy, causal=causal):
                    return torch.autograd.grad(attend(*learned, causal), learned, dy)

                found = measured(forward, both, lambda _: torch.cuda.synchronize(), 30)
                results[name][implementation] = found
            except Exception as problem:
                results[name][implementation] = dict(missing=reason(problem))
    return results


# -- both ------------------------------------------------------------------------------------------------------------


def table_of(results, cases, tiny):
    """The lines of a table: times, TFLOP/s (backward has 2.5 times the operations of forward), and ratios to xfm."""
    lines = [f"{'case':20} {'':14} {'fwd us':>9} {'TFLOP/s':>8} {'bwd us':>9} {'TFLOP/s':>8} {'of xfm':>13}  error"]
    for name, case in cases.items():
        shape = sizes(case, tiny, small=False)
        work = operations(case, shape, shared_of(case, shape)[1])
        ours = next((r for n, r in results[name].items() if n.startswith("xfm") and "missing" not in r), None)
        for implementation, r in results[name].items():
            if "missing" in r:
                lines.append(f"{name:20} {implementation:14} {r['missing']}")
                continue
            backward = max(r["both_us"] - r["forward_us"], 1e-9)
            ratios = ""
            if ours is not None:
                ratios = f"{r['forward_us'] / ours['forward_us']:6.2f} {r['both_us'] / ours['both_us']:6.2f}"
            r["tflops"] = [round(work / r["forward_us"] / 1e6, 1), round(2.5 * work / backward / 1e6, 1)]
            error = f"{r['difference']:.1e}" if "difference" in r else ""
            lines.append(
                f"{name:20} {implementation:14} {r['forward_us']:9.1f} {r['tflops'][0]:8.1f} {backward:9.1f} "
                f"{r['tflops'][1]:8.1f} {ratios:>13}  {error}"
            )
    return lines


def main():
    arguments = argparse.ArgumentParser(description=ABOUT)
    arguments.add_argument("--cases", help="only cases whose name contains this text")
    arguments.add_argument("--seconds", type=float, default=SECONDS, help="time limit; remaining cases are not run")
    arguments.add_argument("--tune", action="store_true", help="only xfm's kernels, with several tilings")
    arguments.add_argument("--side", choices=["torch"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    cases = {name: case for name, case in CASES.items() if given.cases is None or given.cases in name}
    began = time.monotonic()
    if given.side:
        print(json.dumps(torch_side(cases, began + given.seconds)))
        return
    if not cases:
        arguments.error(f"no case has {given.cases!r} in its name; there are {', '.join(CASES)}")

    kernels_alone()
    import jax

    tiny = jax.default_backend() != "gpu"
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}" + (": no GPU, tiny sizes" if tiny else ""))
    if given.tune:
        if tiny:
            arguments.error("--tune needs a GPU")
        record("attention_gpu_tune", ABOUT, tuned(cases, began + given.seconds), {"xfm": versions()})
        return
    results = jax_side(cases, tiny, began + 0.75 * given.seconds)
    if not tiny:
        left = max(10.0, began + given.seconds - time.monotonic())
        command = [sys.executable, __file__, "--side", "torch", "--seconds", str(left)]
        command += ["--cases", given.cases] if given.cases else []
        try:
            peer = subprocess.run(command, capture_output=True, text=True, timeout=left + 30)
            of_torch = json.loads(peer.stdout.strip().splitlines()[-1])
        except Exception as problem:
            print(f"PyTorch's side has no result: {reason(problem)}")
            of_torch = {}
        for name, found in of_torch.items():
            results[name] |= found
    print("\n".join(table_of(results, cases, tiny)))
    if not tiny:
        about = dict(gpu=jax.devices()[0].device_kind, cases=results)
        record("attention_gpu", ABOUT, about, {"xfm": versions()})
    wrong = [f"{c} {n}" for c, found in results.items() for n, r in found.items() if "WRONG" in r.get("missing", "")]
    if wrong:
        raise SystemExit(f"differs from the definition: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
