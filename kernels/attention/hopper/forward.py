"""Attention on Hopper, forward: FlashAttention's running softmax (Dao 2023), normalised at the end."""

import functools

import jax
import jax.numpy as jnp

from ... import mosaic_gpu as gpu
from .halves import Task, WorkerBlock, launch
from .kernel import Kernel, by_rows
from .plan import ALIGN, ROWS, Call, Tiling
from .scores import dropping, logits, visible


def forward(plan: Call, tiling: Tiling, arrays: dict) -> tuple[jax.Array, jax.Array]:
    """y [B T N H] and log2 of the sum of exponentials [B N Tp], -inf where a query attends to nothing.

    arrays: q, k, v, spans and, where the plan has them, q_ids, k_ids, offset, slopes, wide, seed.
    """
    q, (N, H) = arrays["q"], (plan.heads[0], plan.width)
    keeps, passes = (("q", "q_ids"),), (("k", "k_ids", "wide"), ("v",))
    kernel = Kernel("attention_forward", plan, tiling, arrays, "t", keeps, passes, dict(y="q", lse=None))

    def compute(task: Task):
        turns = Turns(task)
        turns.begin()
        nothing = gpu.full((ROWS, H), 0.0), gpu.full((ROWS,), -jnp.inf, 1), gpu.full((ROWS,), 0.0, 1)
        total, top, weight = task.each(functools.partial(_attend, turns), nothing)
        norm = jnp.where(weight == 0.0, 0.0, 1.0 / (weight * (1.0 - plan.dropout)))
        task.send(y=total * gpu.broadcast(norm, total.shape, 0), lse=top + jnp.log2(weight))
        turns.end()

    T_padded = -(-plan.lengths[0] // ALIGN) * ALIGN
    outputs = dict(
        y=jax.ShapeDtypeStruct(q.shape, q.dtype),
        lse=jax.ShapeDtypeStruct((q.shape[0], N, T_padded), jnp.float32),
    )
    turn = dict(turn=gpu.barrier(2)) if tiling.turns else {}
    found = launch(kernel, *by_rows(kernel), compute, outputs, **turn)
    return found["y"], found["lse"]


def _attend(turns, at: WorkerBlock, carry):
    """The carry (sum of weighted values, greatest score, sum of weights relative to it) after this block."""
    total, top, weight = carry
    at.take("k")
    products = gpu.product(*at.factors("q", "k"), while_waiting=turns.swap)
    at.begun()
    x, factor, _ = logits(at, products)
    x = visible(at, x)
    at.give_back("k")
    higher = jnp.maximum(top, x.max(axis=1) * factor)
    level = jnp.where(higher == -jnp.inf, 0.0, higher)
    decay = jnp.exp2(top - level)
    p = jnp.exp2(x * factor - gpu.broadcast(level, x.shape, 0))
    weight = weight * decay + p.sum(axis=1)
    p = dropping(at)(p).astype(at["q"].dtype)
    total = total * gpu.broadcast(decay, total.shape, 0)
    total, weight, p = gpu.settle(total, weight, p)
    turns.arrive()
    at.take("v")
    turns.wait()
    total = gpu.add_product(total, p, at["v"])
    at.give_back("v")
    return total, higher, weight


class Turns:
    """Lets two workers take turns at the tensor cores: one multiplies while the other does its exponentials.

    Both workers begin and end each tile together. If the first could enter a later tile while the other is in its turn,
    it could wait for keys that the copier withholds until the other frees its slot (`Task.hand_back_earlier`).
    """

    def __init__(self, task: Task):
        self.on = task.worker.kernel.tiling.turns
        self.barrier, self.worker = getattr(task.worker.refs, "turn", None), task.worker.number

    def arrive(self):
        if self.on:
            gpu.arrive(self.barrier)

    def wait(self):
        if self.on:
            gpu.wait(self.barrier)

    def swap(self):
        self.arrive()
        self.wait()

    def begin(self):
        if self.on:
            gpu.when(self.worker == 1)(self.swap)

    def end(self):
        if self.on:
            gpu.when(self.worker == 0)(self.swap)
