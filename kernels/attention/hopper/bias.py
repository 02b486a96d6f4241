"""Attention on Hopper, backward for a bias: the sums of ds over the scores that share a number of it, in a fixed order.

A dense bias of one row for the whole batch gets, for each block of scores, the sum over rows. A bias that depends on
key - query alone gets the sum over rows and over the blocks along a diagonal, [rows, columns] each, whose diagonals are
summed afterwards (`blocks.diagonals`).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from ... import mosaic_gpu as gpu
from .halves import Task, WorkerBlock, launch
from .kernel import Kernel, Tile, TileIndex, span, unravel
from .plan import ROWS, Call, Tiling
from .scores import dropping, score_gradient, weights


def bands(lengths: tuple[int, int], tiling: Tiling) -> tuple[int, int, int]:
    """(bands, ratio, shift) for a bias of key - query: block (i, j) of queries and keys is in band j - ratio·i + shift,
    whose scores are at key - query = columns · (band - shift) + c - r."""
    parts, blocks = _cut(lengths, tiling)
    ratio = tiling.rows // tiling.columns
    shift = (parts - 1) * ratio
    return blocks + shift, ratio, shift


def biases(plan: Call, tiling: Tiling, arrays: dict, share: int) -> jax.Array:
    """Sums of ds, each over `share` rows of the batch: [B / share, N, blocks, rows, columns] in float32.

    blocks: for a line the bands; for a dense bias, blocks of queries by blocks of keys. arrays: as for `queries`.
    """
    passes = (("q", "do", "lse", "delta", "q_ids", "k", "v", "k_ids", "wide"),)
    kernel = Kernel("attention_dbias", plan, tiling, arrays, "t", (), passes)
    blocks = _cut(plan.lengths, tiling) if plan.bias == "dense" else bands(plan.lengths, tiling)[:1]
    sizes = arrays["q"].shape[0] // share, plan.heads[0], *blocks

    def step(at: WorkerBlock, total):
        at.take("q")
        _, steep = weights(at, gpu.product(*at.factors("q", "k")))
        ds = score_gradient(at, steep, dropping(at)(gpu.product(*at.factors("do", "v"))))
        at.give_back("q")
        return total + ds

    def compute(task: Task):
        rows = gpu.ds(task.worker.number * ROWS, ROWS)
        total = task.each(step, gpu.full(kernel.shape, 0.0))
        task.worker.refs.sums.at[task.tile.index, rows, :][...] = total

    of_tile = tiling.rows, tiling.columns
    outputs = dict(sums=jax.ShapeDtypeStruct((math.prod(sizes), *of_tile), jnp.float32))
    tile_at = functools.partial(_tile_at, kernel, share, sizes)
    sums = launch(kernel, math.prod(sizes), tile_at, compute, outputs)["sums"]
    return sums.reshape(*sizes[:2], math.prod(blocks), *of_tile)


def _cut(lengths, tiling) -> tuple[int, int]:
    """The number of blocks of queries and of keys."""
    return -(-lengths[0] // tiling.rows), -(-lengths[1] // tiling.columns)


def _tile_at(kernel: Kernel, share: int, sizes: tuple[int, ...], refs, index) -> Tile:
    """The scores of one sum: a block, or the blocks along a diagonal, in each of `share` rows of the batch."""
    plan, tiling = kernel.plan, kernel.tiling
    group, n, *which = unravel(index, *sizes[1:])
    _, ratio, shift = bands(plan.lengths, tiling)
    if plan.bias == "dense":
        low, j = which
        ahead, high = j - ratio * low, low + 1
    else:
        parts, blocks = _cut(plan.lengths, tiling)
        ahead = which[0] - shift  # of blocks: keys minus ratio times queries
        low = lax.div(jnp.maximum(-ahead, 0) + (ratio - 1), jnp.int32(ratio))
        high = jnp.minimum(parts, lax.div(blocks - 1 - ahead + ratio, jnp.int32(ratio)))
    tile = TileIndex(None, n, lax.div(n, jnp.int32(plan.group)), None)

    def block(number):
        b, i = group * share + lax.div(number, high - low), low + lax.rem(number, high - low)
        j = ahead + ratio * i
        first, whole, ragged, last = span(refs, b, i)
        place = tile._replace(b=b, row=i * tiling.rows, column=j * tiling.columns, whole=(whole <= j) & (j < ragged))
        return place, (first <= j) & (j < last)

    return Tile(index, tile, (high - low) * share, block)
