"""The relative bias on TPU: products of queries and keys with vectors of distances, skewed into place, and back.

A tile of 128 queries or keys meets, against a block of n of the others, n + 127 distances. Their vectors stand next to
each other in a table laid out by distance, so that one product with a window of it gives all numbers of the tile, those
of each distance in a column of their own. Rotating each row one lane further than the row before puts the numbers of
each pair in their places (Dai et al. 2019, appendix B, do so by reshaping). Terms of queries are transposed after that.

The way back must rotate each row one lane less than the row before, which the hardware does not; so rows are turned
around before, by a product with ones along the other diagonal, which transposes on the way what is to be transposed.
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from . import tpu_block  # which imports this too
from .bias import Relative
from .tpu_line import sizes
from .tpu_plan import LANES, Plan

TERMS = {"of_key": "relative_q", "of_query": "relative_k"}  # a table, and what it meets
AXES = {"of_key": "n--", "of_query": "n--", "relative_k": "b-n-", "relative_q": "b-n-"}  # cut over several chips
GRADIENTS = tuple(f"d_{name}" for name in sorted(AXES))


def numbers(bias: Relative, plan: Plan) -> dict:
    """ "relative_q" and "relative_k" [B T|S N H'], and the tables "of_key" and "of_query" laid out [N H' distances].

    Distances ascend along a table of queries and descend along one of keys, from where all blocks are whole tiles.
    What a missing term would meet is missing. H' is such that columns of heads are whole columns of lanes.
    """
    q_tiles, k_tiles, groups = sizes(plan)
    place = jnp.arange(LANES * groups)
    distances = dict(
        of_key=LANES * plan.q_blocks * q_tiles - 1 - place, of_query=place - LANES * plan.k_blocks * k_tiles + 1
    )
    tables = {name: getattr(bias, name) for name in TERMS if getattr(bias, name) is not None}
    narrow = all(a.dtype == jnp.bfloat16 for a in (bias.q, bias.k, *tables.values()))
    dtype = jnp.bfloat16 if narrow else jnp.float32
    unit = math.gcd(plan.H, LANES)

    def widened(a):
        return jnp.pad(a, ((0, 0),) * (a.ndim - 1) + ((0, -a.shape[-1] % unit),))

    found = {}
    for name, table in tables.items():
        rows = jnp.asarray(bias.rows)[jnp.clip(distances[name] + plan.S - 1, 0, plan.T + plan.S - 2)]
        found[name] = widened(jnp.asarray(table, jnp.float32)[rows]).transpose(1, 2, 0)
        found[TERMS[name]] = widened(jnp.asarray(getattr(bias, TERMS[name][-1]))).astype(dtype)
    return found


def operands(numbers: dict, plan: Plan) -> dict:
    """The same as the kernels read them: heads side by side, tables [columns heads·H' distances]."""
    found = {name: a.reshape(*a.shape[:2], -1) for name, a in numbers.items() if name in TERMS.values()}
    for name in TERMS.keys() & numbers.keys():
        table = numbers[name].astype(found[TERMS[name]].dtype)
        found[name] = table.reshape(plan.columns, -1, table.shape[-1])
    return found


def gradients(operands: dict, plan: Plan) -> tuple[dict, dict]:
    """What a backward pass writes, in the shapes of the operands, and the sums it keeps, [heads·H' tokens]."""
    outputs, scratch = {}, {}
    tokens = dict(relative_q=plan.q_blocks * _rows(plan.q_block), relative_k=_rows(plan.k_block))
    for table, vectors in TERMS.items():
        if table in operands:
            outputs[f"d_{table}"] = jax.ShapeDtypeStruct(operands[table].shape, jnp.float32)
            outputs[f"d_{vectors}"] = jax.ShapeDtypeStruct(operands[vectors].shape, operands[vectors].dtype)
            width = operands[vectors].shape[2] // plan.columns
            scratch[f"d_{vectors}_sum"] = pltpu.VMEM((width, tokens[vectors]), jnp.float32)
    return outputs, scratch


def laid_out(block, head) -> Float[Array, "s t"]:
    """The bias of that head."""
    s, t = block.plan.k_block, block.plan.q_block
    found = []
    if "of_query" in block.refs:
        tiles = [_skewed(tile, block.refs["of_query"][at]) for tile, at in _meetings(block, head, "of_query")]
        found.append(jnp.concatenate(tiles, axis=0)[:s, :t])
    if "of_key" in block.refs:
        tiles = [_skewed(tile, block.refs["of_key"][at]).T for tile, at in _meetings(block, head, "of_key")]
        found.append(jnp.concatenate(tiles, axis=1)[:s, :t])
    return sum(found[1:], found[0])


def add_gradients(block, head, d_scores: Float[Array, "s t"]) -> list[Float[Array, "H' tokens"]]:
    """Adds to the gradients of the tables, and gives the block's share of those of what met them, as TERMS go.

    Of each tile of tokens the last stands first; `_in_order` turns them back.
    """
    q_tiles, k_tiles, _ = sizes(block.plan)
    found = []
    for name, axis, others in (("of_key", 1, k_tiles), ("of_query", 0, q_tiles)):
        if name not in block.refs:
            continue
        vectors = []
        for number, (tile, at) in enumerate(_meetings(block, head, name)):
            back = _turning(len(tile), tile.dtype)
            first = number * LANES
            part = jax.lax.slice_in_dim(d_scores, first, min(first + LANES, d_scores.shape[axis]), axis=axis)
            part = _up_to(part, len(tile), axis).astype(tile.dtype)
            turned = _up_to(tpu_block.dot(back, part, 1, axis), (others + 1) * LANES, 1)
            along = pltpu.roll(turned, LANES - len(tile), 1, stride=1, stride_axis=0).astype(tile.dtype)
            vectors.append(tpu_block.dot(block.refs[name][at], along, 1, 1))
            tile = tpu_block.dot(back, tile, 1, 0).T.astype(tile.dtype)
            block.refs[f"d_{name}"][at] += tpu_block.dot(tile, along, 1, 0)
        found.append(jnp.concatenate(vectors, axis=1))
    return found


def add(block, head, found: list) -> None:
    """Adds what `add_gradients` gave to the sums of a row of several blocks."""
    plan = block.plan
    for name, a in zip((name for name in TERMS if name in block.refs), found, strict=True):
        at = block.place.i * plan.q_block if name == "of_key" and plan.q_blocks > 1 else 0
        at = at if isinstance(at, int) else pl.multiple_of(at, LANES)
        own = slice(head.g * a.shape[0], (head.g + 1) * a.shape[0])
        block.refs[f"d_{TERMS[name]}_sum"][own, pl.ds(at, a.shape[1])] += a


def write(refs: dict, r, name: str) -> None:
    """Writes the sum of that name, if there is one."""
    if name in refs:
        refs[name][r] = _in_order(refs[f"{name}_sum"][...], refs[name].shape[1]).astype(refs[name].dtype)


def write_whole(block, found: list) -> None:
    """Writes what `add_gradients` gave, of all heads, where a row is done at once."""
    for name, a in zip((name for name in TERMS if name in block.refs), found, strict=True):
        ref = block.refs[f"d_{TERMS[name]}"]
        ref[block.place.r] = _in_order(a, ref.shape[1]).astype(ref.dtype)


def clear(refs: dict, *names: str) -> None:
    """Sets to 0 those that there are."""
    for name in names:
        if name in refs:
            refs[name][...] = jnp.zeros_like(refs[name])


def _in_order(turned: Float[Array, "width tokens"], length: int) -> Float[Array, "length width"]:
    """What `add_gradients` gave, with tokens in order."""
    tiles = [turned[:, first : first + LANES] for first in range(0, turned.shape[1], LANES)]
    tiles = [tpu_block.dot(_turning(tile.shape[1], jnp.float32), tile, 1, 1) for tile in tiles]
    return jnp.concatenate(tiles, axis=0)[:length]


def _meetings(block, head, name):
    """Each tile of the vectors of a head, [n H'], and where the window of the table that it meets is."""
    plan, place = block.plan, block.place
    q_tiles, k_tiles, _ = sizes(plan)
    vectors = block.refs[TERMS[name]][place.r]
    width = vectors.shape[1] // plan.heads
    own = slice(head.g * width, (head.g + 1) * width)
    vectors = vectors[:, own]
    if name == "of_key":
        real, others = block.real_queries(), k_tiles
        before = place.j * k_tiles - place.i * q_tiles + plan.q_blocks * q_tiles - 1
    else:
        real, others = block.real_keys(), q_tiles
        before = place.i * q_tiles - place.j * k_tiles + plan.k_blocks * k_tiles - 1
    vectors = vectors if real is None else jnp.where(real, vectors, 0)
    vectors = _up_to(vectors, _rows(len(vectors)), 0)
    found = []
    for number, first in enumerate(range(0, len(vectors), LANES)):
        start = LANES * (before - number)
        start = start if isinstance(start, int) else pl.multiple_of(start, LANES)
        found.append((vectors[first : first + LANES], (0, own, pl.ds(start, (others + 1) * LANES))))
    return found


def _skewed(tile: Float[Array, "n H"], window: Float[Array, "H m+128"]) -> Float[Array, "n m"]:
    """[r, c] = tile[r] · window[:, 127 - r + c]."""
    return pltpu.roll(tpu_block.dot(tile, window, 1, 0), 1, 1, stride=1, stride_axis=0)[:, LANES:]


def _turning(n: int, dtype) -> Float[Array, "n n"]:
    """Ones along the other diagonal."""
    return (tpu_block.iota((n, n), 0) + tpu_block.iota((n, n), 1) == n - 1).astype(dtype)


def _rows(n: int) -> int:
    """n in whole registers of bfloat16."""
    return -(-n // 16) * 16


def _up_to(a, length: int, axis: int):
    """Zeros after it, so that the axis is that long."""
    return jnp.pad(a, [(0, length - a.shape[axis] if axis == i else 0) for i in range(a.ndim)])
