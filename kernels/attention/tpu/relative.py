"""The relative bias on TPU: products of queries and keys with vectors of distances, shifted to their tokens, and back.

A tile of 128 queries or keys has n + 127 distances from a block of n of the others. Their vectors are adjacent in a
table laid out by distance, so that one product with a window of it gives all numbers of the tile, and the numbers of
each token must then be shifted by its index in the tile (Dai et al. 2019, appendix B, reshape for that).

Keys are along sublanes. A key's numbers are shifted along lanes and a query's along sublanes, which is cheaper than a
transposition: a gather rotates within each register, and each number is then taken from this register or the next. A
query's numbers are shifted by whole registers before that, chosen bit by bit. The backward pass shifts the other way.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from ..bias import Relative
from .line import sizes
from .ops import dot, iota
from .plan import LANES, Plan

TERMS = {"of_key": "relative_q", "of_query": "relative_k"}  # a table, and the vectors that it is multiplied by
AXES = {"of_key": "n--", "of_query": "n--", "relative_k": "b-n-", "relative_q": "b-n-"}  # cut over several chips
GRADIENTS = tuple(f"d_{name}" for name in sorted(AXES))


def numbers(bias: Relative, plan: Plan) -> dict:
    """ "relative_q" and "relative_k" [B T|S N H'], and the tables "of_key" and "of_query" laid out [N H' distances].

    Distances ascend along "of_query" and descend along "of_key", with room for blocks of whole tiles. The vectors of a
    missing term are missing too. H' is H padded so that columns of heads are whole columns of lanes.
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


def memory(bias: Relative, plan: Plan) -> int:
    """Bytes of the laid out tables of a column of heads, and of their gradients."""
    tables = [a for a in (bias.of_key, bias.of_query) if a is not None]
    width = plan.heads * bias.q.shape[3]
    return sum(width * (plan.T + plan.S) * (min(a.dtype.itemsize, 4) + 4) for a in tables)


def operands(numbers: dict, plan: Plan) -> dict:
    """`numbers` as the kernels read them: heads side by side, tables [columns heads·H' distances]."""
    found = {name: a.reshape(*a.shape[:2], -1) for name, a in numbers.items() if name in TERMS.values()}
    for name in TERMS.keys() & numbers.keys():
        table = numbers[name].astype(found[TERMS[name]].dtype)
        found[name] = table.reshape(plan.columns, -1, table.shape[-1])
    return found


def gradients(operands: dict, plan: Plan) -> tuple[dict, dict]:
    """The outputs of a backward pass, in the shapes of the operands, and the sums that it keeps, [heads·H' tokens]."""
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
    """The bias of a head in this block."""
    plan, refs, found = block.plan, block.refs, []
    q_tiles, k_tiles, _ = sizes(plan)
    if "of_query" in refs:
        tiles = [_moved_back(dot(tile, refs["of_query"][at], 1, 0)) for tile, at in _meetings(block, head, "of_query")]
        found.append(jnp.concatenate(tiles, axis=0)[: plan.k_block, : plan.q_block])
    if "of_key" in refs:
        tiles, vectors = [], _all_met(block, head, "of_key").T
        for number, (tile, _) in enumerate(_meetings(block, head, "of_key")):
            first = (q_tiles - 1 - number) * LANES
            met = dot(vectors[first : first + (k_tiles + 1) * LANES], tile, 1, 1)
            tiles.append(_raised(met))
        found.append(jnp.concatenate(tiles, axis=1)[: plan.k_block, : plan.q_block])
    return sum(found[1:], found[0])


def add_gradients(block, head, d_scores: Float[Array, "s t"]) -> list[Float[Array, "H' tokens"]]:
    """Adds to the gradients of the tables; returns the block's share of those of the vectors, in TERMS' order."""
    refs, found = block.refs, []
    q_tiles, k_tiles, _ = sizes(block.plan)
    if "of_key" in refs:
        shares, whole = [], _up_to(d_scores, k_tiles * LANES, 0)
        for number, (tile, at) in enumerate(_meetings(block, head, "of_key")):
            own = _up_to(whole[:, number * LANES : (number + 1) * LANES], len(tile), 1)
            moved = _lowered(own).astype(tile.dtype)
            shares.append(dot(refs["of_key"][at], moved, 1, 0))
            refs["d_of_key"][at] += dot(tile.T, moved, 1, 1)
        found.append(jnp.concatenate(shares, axis=1))
    if "of_query" in refs:
        shares, whole = [], _up_to(d_scores, q_tiles * LANES, 1)
        for number, (tile, at) in enumerate(_meetings(block, head, "of_query")):
            own = _up_to(whole[number * LANES : (number + 1) * LANES], len(tile), 0)
            moved = _moved(own).astype(tile.dtype)
            shares.append(dot(refs["of_query"][at], moved, 1, 1))
            refs["d_of_query"][at] += dot(tile.T, moved, 1, 0)
        found.append(jnp.concatenate(shares, axis=1))
    return found


def add(block, head, found: list) -> None:
    """Adds the result of `add_gradients` to the sums of a row of several blocks."""
    plan = block.plan
    for name, a in zip((name for name in TERMS if name in block.refs), found, strict=True):
        at = block.place.i * plan.q_block if name == "of_key" and plan.q_blocks > 1 else 0
        at = at if isinstance(at, int) else pl.multiple_of(at, LANES)
        own = slice(head.g * a.shape[0], (head.g + 1) * a.shape[0])
        block.refs[f"d_{TERMS[name]}_sum"][own, pl.ds(at, a.shape[1])] += a


def write(refs: dict, r, name: str) -> None:
    """Writes the sum of this name, if there is one."""
    if name in refs:
        refs[name][r] = refs[f"{name}_sum"][...].T[: refs[name].shape[1]].astype(refs[name].dtype)


def write_whole(block, found: list) -> None:
    """Writes the result of `add_gradients` for all heads, where a row is computed in one step."""
    for name, a in zip((name for name in TERMS if name in block.refs), found, strict=True):
        ref = block.refs[f"d_{TERMS[name]}"]
        ref[block.place.r] = a.T[: ref.shape[1]].astype(ref.dtype)


def clear(refs: dict, *names: str) -> None:
    """Sets those of these arrays that exist to 0."""
    for name in names:
        if name in refs:
            refs[name][...] = jnp.zeros_like(refs[name])


def _all_met(block, head, name) -> Float[Array, "H' tokens"]:
    """The part of a table that the tiles of the block use, from the start of the last tile's window."""
    *_, (_, (_, own, window)) = _meetings(block, head, name)
    q_tiles, k_tiles, _ = sizes(block.plan)
    return block.refs[name][0, own, pl.ds(window.start, (q_tiles + k_tiles) * LANES)]


def _meetings(block, head, name):
    """Each tile of a head's vectors, [n H'], and the index of the window of the table that it is multiplied by."""
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


def _moved_back(a: Float[Array, "n m+128"]) -> Float[Array, "n m"]:
    """[r, c] = a[r, c + 127 - r]."""
    row, lane = (iota((len(a), LANES), axis) for axis in (0, 1))
    parts = _parts_by(a, (lane - row - 1) & 127)
    pairs = itertools.pairwise(parts)
    return jnp.concatenate([jnp.where(lane > row, after, part) for part, after in pairs], axis=1)


def _moved(a: Float[Array, "n m"]) -> Float[Array, "n m+128"]:
    """[r, c] = a[r, c - 127 + r], 0 where there is none."""
    row, lane = (iota((len(a), LANES), axis) for axis in (0, 1))
    parts = _parts_by(a, (lane + row + 1) & 127)
    nothing = jnp.zeros_like(parts[0])
    pairs = itertools.pairwise([nothing, *parts, nothing])
    return jnp.concatenate([jnp.where(lane + row < 127, before, part) for before, part in pairs], axis=1)


def _parts_by(a: Float[Array, "n m"], lanes: Int[Array, "n 128"]) -> list[Float[Array, "n 128"]]:
    """Each part of 128 columns with its rows reordered by `lanes`, by one gather over all parts stacked."""
    parts = [a[:, first : first + LANES] for first in range(0, a.shape[1], LANES)]
    lanes = jnp.concatenate([lanes] * len(parts), axis=0)
    found = jnp.take_along_axis(jnp.concatenate(parts, axis=0), lanes, axis=1, mode="promise_in_bounds")
    return [found[first : first + len(a)] for first in range(0, len(found), len(a))]


def _raised(a: Float[Array, "m+128 n"]) -> Float[Array, "m n"]:
    """[r, c] = a[r + 127 - c, c]."""
    by = LANES - 1 - iota((1, a.shape[1]), 1)
    for step in (64, 32, 16, 8):
        a = jnp.where((by & step) > 0, a[step:], a[:-step])
    eights, beyond = _rotated_eights(a, by & 7)
    return jnp.concatenate([jnp.where(beyond, after, eight) for eight, after in itertools.pairwise(eights)], axis=0)


def _lowered(a: Float[Array, "m n"]) -> Float[Array, "m+128 n"]:
    """[r, c] = a[r - 127 + c, c], 0 where there is none."""
    by = LANES - 1 - iota((1, a.shape[1]), 1)
    for step in (64, 32, 16, 8):
        nothing = jnp.zeros((step, a.shape[1]), a.dtype)
        a = jnp.where((by & step) > 0, jnp.concatenate([nothing, a]), jnp.concatenate([a, nothing]))
    eights, beyond = _rotated_eights(a, -(by & 7))
    nothing = jnp.zeros_like(eights[0])
    pairs = itertools.pairwise([nothing, *eights, nothing])
    return jnp.concatenate([jnp.where(beyond, before, eight) for before, eight in pairs], axis=0)


def _rotated_eights(a: Float[Array, "m n"], by: Int[Array, "1 n"]):
    """Each eight rows with column c rotated up by by[c]; and which numbers wrapped around."""
    row = iota((8, a.shape[1]), 0) + by
    return _eights_by(a, row & 7), (row < 0) | (row > 7)


def _eights_by(a: Float[Array, "m n"], rows: Int[Array, "8 n"]) -> list[Float[Array, "8 n"]]:
    """Each eight rows with their columns reordered by `rows`, by one gather over all of them side by side."""
    eights = [a[first : first + 8] for first in range(0, len(a), 8)]
    rows = jnp.concatenate([rows] * len(eights), axis=1)
    found = jnp.take_along_axis(jnp.concatenate(eights, axis=1), rows, axis=0, mode="promise_in_bounds")
    return [found[:, first : first + a.shape[1]] for first in range(0, found.shape[1], a.shape[1])]


def _rows(n: int) -> int:
    """n rounded up to whole registers of bfloat16."""
    return -(-n // 16) * 16


def _up_to(a, length: int, axis: int):
    """a padded with zeros to this length of the axis."""
    return jnp.pad(a, [(0, length - a.shape[axis] if axis == i else 0) for i in range(a.ndim)])
