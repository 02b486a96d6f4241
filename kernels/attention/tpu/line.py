"""A bias that depends on the distance alone, laid out along the diagonals of a block, and its gradient.

A tile of 128 keys by 128 queries holds 255 distances, and all tiles on one diagonal of tiles are equal. So a block of
n by n tiles needs 2 n - 1 tiles, each made of 256 numbers that are rotated by one lane more in every row. They are laid
out once for a column of heads, and all rows of the batch read them.
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from ..bias import Buckets, Slopes
from .plan import LANES, Plan

KEPT = 2**23  # the most bytes of vector memory for tiles that are laid out once


def sizes(plan: Plan) -> tuple[int, int, int]:
    """The number of tiles in a block of queries and in a block of keys, and of groups of 128 distances in a row."""
    q_tiles, k_tiles = (-(-block // LANES) for block in (plan.q_block, plan.k_block))
    return q_tiles, k_tiles, plan.q_blocks * q_tiles + plan.k_blocks * k_tiles


def distances(plan: Plan):
    """[groups 128]: the distance s - t of each number of a line, from the first query given; it falls in a group."""
    q_tiles, _, groups = sizes(plan)
    return LANES * (jnp.arange(groups)[:, None] - (plan.q_blocks * q_tiles - 1)) - jnp.arange(LANES)[None, :]


def _diagonals(block):
    """(index in the block, group in the line) of each diagonal of tiles."""
    q_tiles, k_tiles, _ = sizes(block.plan)
    before = block.plan.q_blocks * q_tiles - 1 - block.place.i * q_tiles + block.place.j * k_tiles
    return [(d, before + d) for d in range(1 - q_tiles, k_tiles)]


def kept(plan: Plan) -> dict:
    """Scratch memory for the tiles of all diagonals of a column of heads; none where there are too many."""
    shape = (plan.heads, sizes(plan)[2] - 1, LANES, LANES)
    return {"tiles": pltpu.VMEM(shape, jnp.float32)} if 4 * math.prod(shape) <= KEPT else {}


def lay_out(plan: Plan, refs: dict) -> None:
    """Fills the memory of `kept`."""

    def one(group, _):
        for g in range(plan.heads):
            refs["tiles"][g, group] = _tile(refs["bias"], g, group)

    jax.lax.fori_loop(0, refs["tiles"].shape[1], one, None)


def laid_out(block, g) -> Float[Array, "s t"]:
    """The bias of head g of the column in this block."""
    q_tiles, k_tiles, _ = sizes(block.plan)
    refs = block.refs
    tiles = {
        d: refs["tiles"][g, group] if "tiles" in refs else _tile(refs["bias"], g, group)
        for d, group in _diagonals(block)
    }
    whole = [jnp.concatenate([tiles[a - c] for c in range(q_tiles)], axis=1) for a in range(k_tiles)]
    return jnp.concatenate(whole, axis=0)[: block.plan.k_block, : block.plan.q_block]


def _tile(lines, g, group) -> Float[Array, "128 128"]:
    """The tile on the diagonal of a group: its numbers and the next group's, rotated by one lane more in each row."""
    ends = jnp.concatenate([lines[g, pl.ds(group + 1, 1)], lines[g, pl.ds(group, 1)]], axis=1)
    rows = jnp.broadcast_to(ends, (LANES, 2 * LANES))
    return pltpu.roll(rows, 0, 1, stride=1, stride_axis=0)[:, LANES:]


def add_gradient(block, g, d_scores: Float[Array, "s t"]) -> None:
    """Adds the sums of d_scores along the diagonals to "d_line" [rows 1 heads groups 128]."""
    q_tiles, k_tiles, _ = sizes(block.plan)
    s, t = d_scores.shape
    d_scores = jnp.pad(d_scores, ((0, k_tiles * LANES - s), (0, q_tiles * LANES - t)))
    nothing = jnp.zeros((LANES, LANES), jnp.float32)
    for d, group in _diagonals(block):
        tiles = [
            d_scores[a * LANES : (a + 1) * LANES, (a - d) * LANES : (a - d + 1) * LANES]
            for a in range(k_tiles)
            if 0 <= a - d < q_tiles
        ]
        rows = jnp.concatenate([nothing, sum(tiles[1:], tiles[0])], axis=1)
        along = _summed_along(rows)
        block.refs["d_line"][block.place.r, 0, g, pl.ds(group + 1, 1)] += along[:, :LANES]
        block.refs["d_line"][block.place.r, 0, g, pl.ds(group, 1)] += along[:, LANES:]


def _summed_along(rows: Float[Array, "128 256"]) -> Float[Array, "1 256"]:
    """The sum of all rows, row r rotated back by r lanes: first over groups of eight rows, then within the eight."""
    wide = 2 * LANES
    eights = sum(pltpu.roll(rows[r : r + 8], (wide - r) % wide, 1) for r in range(0, LANES, 8))
    return sum(pltpu.roll(eights[r : r + 1], (wide - r) % wide, 1) for r in range(8))


def line(bias: Slopes | Buckets, start, plan: Plan) -> Float[Array, "N groups 128"]:
    """The bias's values for all distances, in groups of 128."""
    ahead = distances(plan) - start
    if isinstance(bias, Slopes):
        return -jnp.asarray(bias.slopes, jnp.float32)[:, None, None] * jnp.abs(ahead)
    return jnp.moveaxis(jnp.asarray(bias.table, jnp.float32)[bias.bucket(ahead)], -1, 0)
