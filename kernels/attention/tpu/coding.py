"""Work that the matrix unit does at no cost in lanes that the heads leave empty.

The unit sums 128 products at once, 256 from v6e on, of which a head's queries and keys use H. Other terms of the scores
that are products go into the remaining lanes, where they take no instruction of the vector units:

codes: the segments. For each of 32 bits a key has a 1 in one of two lanes and a query FAR in the other, so that equal
segments add exactly 0, and different ones FAR for every bit that differs.
low: the scale. Queries are multiplied by it once, and the rounding error of that in their dtype is a second query.
reference: the number subtracted from all scores of a query, in three parts, against ones in the keys.

The latter two speed up the forward pass where it is bound by the vector units, that is where the unit sums 256
products. In float32 they would round scores differently from the backward pass, which shows in gradients when scores
are in the hundreds.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .plan import LANES, Plan

FAR = -(2.0**110)
SCALES = 2.0**-10, 2.0**10  # scales between which FAR times the scale is far below any score, and finite
CODES = 64  # lanes of a code
PARTS, TILE = 3, 16  # of a float32 in bfloat16; rows of bfloat16 in a register


def codes_fit(plan: Plan, scale: float, unit: int) -> bool:
    """Whether codes cost nothing. In short rows, reading them would take as long as reading the queries and keys."""
    return _long(plan, scale) and (_leaves_lanes(plan) or (plan.H == LANES and unit > LANES))


def fold_fits(plan: Plan, scale: float, unit: int) -> bool:
    """Whether low and reference cost nothing, or the reference alone for a head that fills 128 lanes."""
    return _long(plan, scale) and unit > LANES and (_leaves_lanes(plan) and plan.H >= TILE or plan.H == LANES)


def _long(plan: Plan, scale: float) -> bool:
    return not plan.short and plan.T >= TILE and SCALES[0] < scale < SCALES[1]


def _leaves_lanes(plan: Plan) -> bool:
    """Whether each head shares 128 lanes of its column with other heads, whose lanes count as empty."""
    return plan.H < LANES and LANES % plan.H == 0 and plan.width % LANES == 0


def codes(segments: Int[Array, "B T"], side: str, dtype) -> Float[Array, "B T 128"]:
    """The codes of "keys" or "queries", twice side by side, so that a whole copy is left beside any lanes of a head.

    Queries in padding have zeros, which mask nothing: the kernels have to set their outputs to zero.
    """
    lane = jnp.arange(LANES)
    ones = ((segments.astype(jnp.int32)[..., None] >> (lane // 2 % 32)) & 1) ^ (lane % 2)
    if side == "queries":
        ones = jnp.where((ones == 1) | (segments <= 0)[..., None], 0.0, FAR)
    return ones.astype(dtype)


def beside(column: Float[Array, "t width"], lanes: slice, other: Float[Array, "#t 128"]) -> Float[Array, "t 128|256"]:
    """A head's lanes from its column of heads, and those of `other` in the lanes that it leaves empty."""
    if lanes.stop - lanes.start == LANES:
        own = column[:, lanes]
        return jnp.concatenate([own, jnp.broadcast_to(other, own.shape)], axis=1)
    first = lanes.start // LANES * LANES
    lane = first + _lane()
    return jnp.where((lane >= lanes.start) & (lane < lanes.stop), column[:, first : first + LANES], other)


def folded_queries(q: Float[Array, "t width"], codes, lanes: slice, scale: float) -> Float[Array, "t 256"]:
    """Queries with codes, [t 128] or None, times the scale unless a head fills 128 lanes; zeros for the reference."""
    nothing = jnp.zeros((1, LANES), q.dtype)
    codes = nothing if codes is None else codes
    if not scales(lanes):
        return beside(q, lanes, jnp.where(_lane() < CODES, codes, nothing))
    scaled = q.astype(jnp.float32) * scale
    high = scaled.astype(q.dtype)
    low = (scaled - high.astype(jnp.float32)).astype(q.dtype)
    return jnp.concatenate([beside(high, lanes, codes), beside(low, lanes, nothing)], axis=1)


def folded_keys(k: Float[Array, "s width"], codes, lanes: slice) -> Float[Array, "s 256"]:
    """The keys to multiply `folded_queries` by, with ones for the reference."""
    one = jnp.ones((1, LANES), k.dtype)
    codes = jnp.zeros_like(one) if codes is None else codes
    if not scales(lanes):
        return beside(k, lanes, jnp.where(_lane() < CODES, codes, one))
    return jnp.concatenate([beside(k, lanes, codes), beside(k, lanes, one)], axis=1)


def scales(lanes: slice) -> bool:
    """Whether `folded_queries` are scaled, which needs lanes for the rounding error."""
    return lanes.stop - lanes.start < LANES


def taken(H: int, codes: bool, folded: bool) -> int:
    """The number of lanes of queries as laid out."""
    return 2 * LANES if folded or (codes and H == LANES) else LANES if codes else H


def rows_of_reference(lanes: slice) -> slice:
    """The lanes of `folded_queries` for `reference_rows`, against which the keys hold ones."""
    width = lanes.stop - lanes.start
    first = LANES + (CODES if width == LANES else width if lanes.start % LANES == 0 else 0)
    return slice(first, first + TILE)


def reference_rows(reference: Float[Array, "1 t"], dtype) -> Float[Array, "16 t"]:
    """Rows that add up to minus the reference."""
    rest, row = -reference, jax.lax.broadcasted_iota(jnp.int32, (TILE, 1), 0)
    rows = jnp.zeros((TILE, reference.shape[1]), jnp.float32)
    for part in range(PARTS):
        rounded = rest.astype(dtype).astype(jnp.float32)
        rows = jnp.where(row == part, rounded, rows)
        rest = rest - rounded
    return rows.astype(dtype)


def _lane():
    return jax.lax.broadcasted_iota(jnp.int32, (1, LANES), 1)
