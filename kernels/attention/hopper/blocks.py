"""Which blocks of scores the Hopper kernels visit, and biases laid out so that a block of them is one copy.

Plain functions of arrays: they run in XLA before and after the kernels, and on any platform.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..mask import Mask

FAR = 2**30


def ids(
    segments: tuple[Int[Array, "B T"], Int[Array, "B S"]] | None,
    prefix: Bool[Array, "B S"] | None,
    shape: tuple[int, int, int],
) -> tuple[Int[Array, "B T"], Int[Array, "B S"]] | None:
    """Ids of queries and keys by which one comparison masks other segments, padding and the row's end; None without.

    A key has 2 · segment, plus 1 in the prefix; a query has its segment, and -1 in padding, which no key has.
    """
    if segments is None and prefix is None:
        return None
    B, T, S = shape
    q_ids, k_ids = (jnp.ones((B, T), jnp.int32), jnp.ones((B, S), jnp.int32)) if segments is None else segments
    k_ids = 2 * k_ids.astype(jnp.int32) + (0 if prefix is None else prefix.astype(jnp.int32))
    return jnp.where(q_ids > 0, q_ids.astype(jnp.int32), -1), k_ids


def spans(
    mask: Mask,
    marks: tuple[Int[Array, "B T"], Int[Array, "B S"]] | None,
    lengths: tuple[int, int],
    sizes: tuple[int, int],
    walk: str,
) -> Int[Array, "B I 4"]:
    """For each block of queries the span of key blocks that it visits (walk "keys"), or the reverse (walk "queries").

    lengths: T, S. sizes: queries and keys per block. marks: what `ids` gives. Four numbers per block: the span is
    [first, last), and in [whole, ragged), a part of it, nothing is masked, so that no mask is needed. Without marks all
    rows of the batch share one table (B is 1).

    The span may contain blocks without a visible score, which the mask removes; no visible score is outside of it.
    """
    meets, whole = _blocks(mask, marks, lengths, sizes)
    if walk == "queries":
        meets, whole = meets.swapaxes(1, 2), whole.swapaxes(1, 2)
    count = meets.shape[2]
    place = jnp.arange(count)
    first = jnp.min(jnp.where(meets, place, count), axis=2)
    last = jnp.max(jnp.where(meets, place + 1, 0), axis=2)
    first = jnp.minimum(first, last)
    whole &= meets
    begin = jnp.min(jnp.where(whole, place, count), axis=2)
    end = jnp.min(jnp.where(whole | (place < begin[..., None]), count, place), axis=2)
    some = whole.any(axis=2)
    begin, end = jnp.where(some, begin, last), jnp.where(some, end, last)
    return jnp.stack([first, begin, end, last], axis=2).astype(jnp.int32)


def _blocks(mask, marks, lengths, sizes) -> tuple[Bool[Array, "B I J"], Bool[Array, "B I J"]]:
    """Which pairs of blocks may hold a visible score, and in which every score is visible."""
    (q_first, q_last), (k_first, k_last) = (_edges(n, size) for n, size in zip(lengths, sizes, strict=True))
    q_first, q_last = q_first + mask.start, q_last + mask.start
    least = (k_first[None, :] - q_last[:, None])[None]  # the least key - query
    most = (k_last[None, :] - q_first[:, None])[None]
    meets = jnp.ones_like(least, bool)
    whole = jnp.broadcast_to((k_first + sizes[1] <= lengths[1])[None, None], meets.shape)
    if marks is not None:
        q_low, q_high, q_real = _range(marks[0], marks[0] > 0, sizes[0])
        k_segments = marks[1] // 2
        k_low, k_high, k_real = _range(k_segments, k_segments > 0, sizes[1])
        q_low, q_high, q_real = (a[:, :, None] for a in (q_low, q_high, q_real))
        k_low, k_high, k_real = (a[:, None, :] for a in (k_low, k_high, k_real))
        meets = meets & (q_low <= k_high) & (k_low <= q_high)
        whole = whole & q_real & k_real & (q_low == q_high) & (k_low == k_high) & (q_low == k_low)
    if mask.order == "causal":
        below, all_below = least <= 0, most <= 0
        if mask.prefix is not None:
            prefix = _split(marks[1] % 2 == 1, sizes[1], False)
            below, all_below = below | prefix.any(2)[:, None], all_below | prefix.all(2)[:, None]
        meets, whole = meets & below, whole & all_below
    if mask.before is not None:
        meets, whole = meets & (most >= -mask.before), whole & (least >= -mask.before)
    if mask.after is not None:
        meets, whole = meets & (least <= mask.after), whole & (most <= mask.after)
    return meets, whole


def _edges(length: int, size: int) -> tuple[Int[Array, "I"], Int[Array, "I"]]:
    """The first and last index of each block."""
    first = jnp.arange(-(-length // size)) * size
    return first, jnp.minimum(first + size, length) - 1


def _split(a, size, fill):
    B, length = a.shape
    blocks = -(-length // size)
    return jnp.pad(a, ((0, 0), (0, blocks * size - length)), constant_values=fill).reshape(B, blocks, size)


def _range(marks, real, size):
    """Least and greatest mark among the real tokens of each block, and whether all of its tokens are real."""
    low = _split(jnp.where(real, marks, FAR), size, FAR).min(2)
    high = _split(jnp.where(real, marks, -FAR), size, -FAR).max(2)
    return low, high, _split(real, size, True).all(2)


def skew(line: Float[Array, "N L"], rows: int, width: int, start: int, step: int) -> Float[Array, "N rows width"]:
    """skewed[n, r, x] = line[n, start + step · (x - r)], with step 1 or -1; 0 outside of the line.

    A block of a matrix that depends on the difference of its indices alone is a slice of this along x.
    """
    place = start + step * (jnp.arange(width)[None, :] - jnp.arange(rows)[:, None])
    inside = (place >= 0) & (place < line.shape[1])
    return jnp.where(inside, line[:, jnp.clip(place, 0, line.shape[1] - 1)], 0.0)


def diagonals(tiles: Float[Array, "N M R C"]) -> Float[Array, "N L"]:
    """Sums over the diagonals of block-diagonal bands: the gradient of a line from that of its blocks.

    Tile m holds the sums of scores at C · (m - M₀) + c - r. The sum for x = c - r + R - 1 of tile m lands at
    C · m + x of the answer, so L = C · (M - 1) + R + C - 1. No scatter, so the order of sums is fixed.
    """
    N, M, R, C = tiles.shape
    sheared = jnp.pad(tiles[:, :, ::-1], ((0, 0), (0, 0), (0, 0), (0, R))).reshape(N, M, R * (C + R))
    sums = sheared[..., : R * (C + R - 1)].reshape(N, M, R, C + R - 1).sum(2)
    length = C * (M - 1) + R + C - 1
    wide = -(-(R + C - 1) // C)  # number of bands of C that each tile's sums extend over
    sums = jnp.pad(sums, ((0, 0), (0, 0), (0, wide * C - (C + R - 1)))).reshape(N, M, wide, C)
    line = jnp.zeros((N, M + wide - 1, C), tiles.dtype)
    for band in range(wide):
        line = line.at[:, band : band + M].add(sums[:, :, band])
    return line.reshape(N, -1)[:, :length]


def padded(a: Array, axis: int, size: int) -> Array:
    """a with zeros at the end of an axis, up to a multiple of size."""
    short = -a.shape[axis] % size
    return a if not short else jnp.pad(a, [(0, short if i == axis else 0) for i in range(a.ndim)])
