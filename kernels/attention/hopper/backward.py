"""Attention on Hopper, backward. Each kernel recomputes scores and owns what it writes, so every sum has a fixed order.

With p the weights, dp = dO vᵀ and delta = sum(dO · O) - d lse (a vector): ds = p · (dp - delta); dv = pᵀ dO,
dk = scale · dsᵀ q, dq = scale · ds k, and the gradient of a bias is ds itself, summed over the scores that share a
number (Dao et al. 2022, appendix B).
"""

import functools

import jax

from ... import mosaic_gpu as gpu
from .halves import Task, WorkerBlock, launch
from .kernel import Kernel, by_rows
from .plan import ROWS, Call, Tiling
from .scores import dropping, score_gradient, weights


def queries(plan: Call, tiling: Tiling, arrays: dict) -> jax.Array:
    """dq. arrays: those of `forward`, with do [B T N H], lse and delta [B N Tp]."""
    keeps, passes = (("q", "do", "lse", "delta", "q_ids"),), (("k", "k_ids", "wide"), ("v",))
    kernel = Kernel("attention_dq", plan, tiling, arrays, "t", keeps, passes, dict(dq="q"))
    at_once = plan.width == 64 or (plan.width == 128 and not plan.work)

    def step(at: WorkerBlock, dq):
        """dq plus the share of a block of keys."""
        at.take("k")
        at.take("v")
        (_, steep), dp = _both(at, at_once)
        at.give_back("v")
        at.begun()
        ds = score_gradient(at, steep, dropping(at)(dp))
        dq = gpu.add_product(dq, ds.astype(arrays["q"].dtype), at["k"])
        at.give_back("k")
        return dq

    def compute(task: Task):
        task.send(dq=task.each(step, gpu.full((ROWS, plan.width), 0.0)) * plan.scale)

    q = arrays["q"]
    return launch(kernel, *by_rows(kernel), compute, dict(dq=jax.ShapeDtypeStruct(q.shape, q.dtype)))["dq"]


def keys_and_values(plan: Call, tiling: Tiling, arrays: dict, wanted: tuple[str, ...] = ("dk", "dv")) -> dict:
    """dk and dv, or one of them (each takes width / 2 registers of every thread). arrays: as for `queries`.

    Blocks are transposed: rows are keys. The query heads that share a head of keys are added one after the other to
    the same sums.
    """
    k, dtype = arrays["k"], arrays["k"].dtype
    keeps, passes = (("k", "v", "k_ids"),), (("q", "lse", "delta", "q_ids", "wide"), ("do",))
    if "dk" not in wanted:
        keeps, passes = (("k", "k_ids"),), (("q", "lse", "q_ids", "wide"), ("do",))
    results = dict(zip(wanted, ("k", "v"), strict=False))
    kernel = Kernel(f"attention_{'_'.join(wanted)}", plan, tiling, arrays, "s", keeps, passes, results)
    at_once = plan.width == 64 or (plan.width == 128 and "dv" not in wanted and plan.work < 2)

    def step(at: WorkerBlock, sums):
        """The wanted sums plus the share of a block of queries."""
        at.take("q")
        at.take("do")
        if "dk" in wanted:
            (p, steep), dp = _both(at, at_once)
        else:
            p, _ = weights(at, gpu.product(*at.factors("q", "k")))
        at.begun()
        dropped, found = dropping(at), {}
        if "dk" in wanted:
            ds = score_gradient(at, steep, dropped(dp)).astype(dtype)
        if "dv" in wanted:
            found["dv"] = gpu.add_product(sums["dv"], dropped(p).astype(dtype), at["do"])
        at.give_back("do")
        if "dk" in wanted:
            found["dk"] = gpu.add_product(sums["dk"], ds, at["q"])
        at.give_back("q")
        return found

    def compute(task: Task):
        sums = task.each(step, {name: gpu.full((ROWS, plan.width), 0.0) for name in wanted})
        factors = dict(dk=plan.scale, dv=1.0 / (1.0 - plan.dropout))
        task.send(**{name: sums[name] * factors[name] for name in wanted})

    outputs = {name: jax.ShapeDtypeStruct(k.shape, dtype) for name in wanted}
    return launch(kernel, *by_rows(kernel), compute, outputs)


def _both(at: WorkerBlock, at_once: bool):
    """(`weights`, dp) of a block; with at_once weights are computed during the product dp, which takes registers for
    both."""
    scores, gradient = at.factors("q", "k"), at.factors("do", "v")
    if at_once:
        return gpu.two_products(scores, gradient, functools.partial(weights, at))
    return weights(at, gpu.product(*scores)), gpu.product(*gradient)
