"""How the TPU kernels cut a call into blocks, and which blocks of queries attend to which blocks of keys."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..mask import Mask, Pattern

LANES = 128
LONGEST = 1024  # the most queries or keys in a block
LONGEST_RELATIVE = 512  # the same with a relative bias, whose scores take several times the memory
SHORT = 256 * 320  # scores of a head up to which a row is computed in one step
CHAINS = 8  # heads of short rows computed in parallel, since each waits for some unit most of the time
CHAINS_TINY = 64  # the same of tiny rows, which wait still more
WORK = 2**19  # scores below which a step takes several rows
WORK_TINY = 2**20  # the same of tiny rows, for which the start of a step takes longer than for others
ROOM = 2**20  # numbers of q, k, v and y above which a step takes no more rows
PLANES = 3 * 2**19  # the most numbers in a block of planes, which has one for each head of a column
NOTHING, SOME, ALL = 0, 1, 2  # how much of a block of keys is visible to a block of queries


@dataclasses.dataclass(frozen=True)
class Plan:
    """The sizes of one call. Heads lie side by side in lanes; `heads` of them fill whole columns of 128 lanes.

    A step of a kernel's grid computes one column of heads for one block of queries and one block of keys, in `rows`
    rows of the batch, several where rows are short. `together` of its rows are computed in parallel. The steps over the
    rows are in `parts`, each of which sums the gradients that rows share by itself, so that several cores can.
    """

    B: int
    T: int
    S: int
    N: int
    K: int
    H: int
    heads: int
    rows: int
    together: int
    q_block: int
    k_block: int
    parts: int = 1

    @property
    def width(self) -> int:
        """Lanes in a column of heads."""
        return self.heads * self.H

    @property
    def columns(self) -> int:
        """The number of columns of heads."""
        return self.N // self.heads

    @property
    def row_blocks(self) -> int:
        """The number of steps over the rows of the batch."""
        return _blocks(self.B, self.rows)

    @property
    def part_blocks(self) -> int:
        """The number of steps over the rows of a part; the last part may have fewer."""
        return _blocks(self.row_blocks, self.parts)

    @property
    def q_blocks(self) -> int:
        """Blocks of queries in a row."""
        return _blocks(self.T, self.q_block)

    @property
    def k_blocks(self) -> int:
        """Blocks of keys in a row."""
        return _blocks(self.S, self.k_block)

    @property
    def one_block(self) -> bool:
        """Whether a row is one block of queries and one of keys."""
        return self.q_blocks == self.k_blocks == 1

    @property
    def short(self) -> bool:
        """Whether a row is one block, and the scores of one head about fit into the registers."""
        return self.one_block and self.T * self.S <= SHORT

    @property
    def tiny(self) -> bool:
        """Whether rows are so short that filling the matrix unit takes longer than multiplying by what it holds."""
        return self.one_block and max(self.T, self.S) <= LANES // 2 and self.width <= 2 * LANES

    @property
    def ragged(self) -> bool:
        """Whether the last block of keys reaches beyond the end of the row."""
        return self.S % self.k_block > 0 and self.k_blocks > 1

    def keys_of(self, column: Int[Array, ""]) -> Int[Array, ""]:
        """The column of keys and values that a column of queries attends to."""
        return column if self.N == self.K else jax.lax.div(column, self.N // self.K)


def plan(queries: tuple[int, ...], keys: tuple[int, ...], mask: Mask, bias: str = "none") -> Plan:
    """Blocks for q of shape [B T N H] and k of [B S K H]: a row where it is short, else equal parts.

    bias: its form; a plane has as many numbers as scores, and is kept whole in memory where it fits.
    """
    (B, T, N, H), (_, S, K, _) = queries, keys
    before, after = mask.reach
    heads = next((g for g in range(1, N) if N % g == 0 and g * H % LANES == 0), N)
    longest, planes = LONGEST, bias == "plane"
    whole = planes and max(T, S) <= LONGEST and heads * _up(T, LANES) * _up(S, 8) <= PLANES
    if planes and not whole:
        longest = min(longest, max(LANES, math.isqrt(PLANES // heads) // LANES * LANES))
    if bias == "relative":
        longest = min(longest, LONGEST_RELATIVE)
    if before is not None and after is not None and not whole:
        # A block of w queries attends to w + before + after keys; smaller blocks compute less and cost more to start.
        longest = min(longest, max(2 * LANES, _up(before + after, LANES)))
    q_block, k_block = (length if length <= longest else _part(length, longest) for length in (T, S))
    rows = together = 1
    if q_block == T and k_block == S:
        tiny = Plan(B, T, S, N, K, H, heads, rows, together, q_block, k_block).tiny
        scores, numbers = heads * _up(T, LANES) * _up(S, 8), heads * H * (2 * T + 2 * S)
        most = max(1, min(B, (WORK_TINY if tiny else WORK) // scores, ROOM // numbers))
        # a number of rows that divides the batch, which a bias whose gradient is summed over rows requires
        rows = next((r for r in range(most, 0 if bias in ("plane", "relative") else most // 2, -1) if B % r == 0), most)
        if T * S <= SHORT:
            chains = CHAINS_TINY if tiny else CHAINS
            together = next(n for n in range(max(1, chains // heads), 0, -1) if rows % n == 0)
    return Plan(B, T, S, N, K, H, heads, rows, together, q_block, k_block)


def _blocks(length: int, block: int) -> int:
    return -(-length // block)


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _part(length: int, longest: int) -> int:
    """The size of a block if the length is cut into the fewest equal parts, in whole registers."""
    return _up(math.ceil(length / _blocks(length, longest)), LANES)


@dataclasses.dataclass(frozen=True)
class Visits:
    """The inner blocks that each outer block visits, for each row or for all rows alike, coded as 4 · index + state.

    `codes` [rows · outer · steps] is flat, as scalar memory requires. Steps with nothing to do come last and repeat the
    index before them, so that nothing is fetched for them. codes is None where a row is one block that is partly
    visible.
    """

    codes: Int[Array, " codes"] | None
    shared: bool
    outer: int
    steps: int

    def at(self, codes, row, outer, step) -> tuple:
        """(index, state) of a step, from the kernel's copy of `codes`."""
        if codes is None:
            return step, SOME
        row = 0 if self.shared else row
        code = codes[(row * self.outer + outer) * self.steps + step]
        return code >> 2, code & 3


def seen(plan: Plan, mask: Mask, segments) -> tuple[np.ndarray | Array, bool]:
    """[rows, q_blocks, k_blocks] of NOTHING, SOME (to be safe) or ALL; and whether it is known while tracing."""
    marked = mask.prefix is not None or mask.everyone is not None or mask.pattern is not None
    fixed = segments is None and isinstance(mask.start, int) and not marked
    xp = np if fixed else jnp
    low_q = mask.start + xp.arange(plan.q_blocks)[:, None] * plan.q_block
    high_q = xp.minimum(low_q + plan.q_block, mask.start + plan.T) - 1
    low_k = xp.arange(plan.k_blocks)[None, :] * plan.k_block
    high_k = xp.minimum(low_k + plan.k_block, plan.S) - 1
    some = xp.ones((1, plan.q_blocks, plan.k_blocks), bool)
    all_ = some & (low_k + plan.k_block <= plan.S)
    if mask.before is not None:
        some, all_ = some & (high_k >= low_q - mask.before), all_ & (low_k >= high_q - mask.before)
    if mask.after is not None:
        some, all_ = some & (low_k <= high_q + mask.after), all_ & (high_k <= low_q + mask.after)
    if mask.pattern is not None:
        shown, hidden = (_patterned(plan, mask.pattern, a) for a in (mask.pattern.shown, ~mask.pattern.shown))
        some, all_ = some & shown, all_ & ~hidden
    if mask.everyone is not None:
        places = mask.start + jnp.arange(plan.T)
        queries = mask.everyone.at[:, places].get(mode="fill", fill_value=False) & (mask.lifts != "keys")
        keys = _in_blocks(mask.everyone & (mask.lifts != "queries"), plan.k_block, False).any(-1)
        some = some | _in_blocks(queries, plan.q_block, False).any(-1)[:, :, None] | keys[:, None, :]
    if mask.order == "causal":
        ahead = low_k > high_q
        if mask.prefix is not None:
            ahead = ahead & ~_in_blocks(mask.prefix, plan.k_block, False).any(-1)[:, None, :]
        some, all_ = some & ~ahead, all_ & (high_k <= low_q)
    if segments is not None:
        (q_low, q_high), (k_low, k_high) = (
            _range_in_blocks(s, block) for s, block in zip(segments, (plan.q_block, plan.k_block), strict=True)
        )
        some = some & (q_low[:, :, None] <= k_high[:, None, :]) & (k_low[:, None, :] <= q_high[:, :, None])
        one = (q_low == q_high)[:, :, None] & (k_low == k_high)[:, None, :]
        blocks = (plan.q_block, plan.k_block)
        whole = [_in_blocks(s > 0, block, True).all(-1) for s, block in zip(segments, blocks, strict=True)]
        all_ = all_ & some & one & whole[0][:, :, None] & whole[1][:, None, :]
    return xp.where(some, xp.where(all_, ALL, SOME), NOTHING), fixed


def visits(plan: Plan, mask: Mask, segments, by: str) -> Visits | None:
    """The blocks of keys that each block of queries attends to, by="queries", or the reverse, by="keys".

    None where every block attends to every other completely.
    """
    table, fixed = seen(plan, mask, segments)
    if fixed and (table == ALL).all():
        return None
    if plan.one_block:
        return Visits(None, shared=True, outer=1, steps=1)
    xp = np if fixed else jnp
    table = table if by == "queries" else table.swapaxes(1, 2)
    rows, outer, inner = table.shape
    steps = max(1, int((table > 0).sum(-1).max())) if fixed else _most(plan, mask, by, inner)
    order = xp.argsort(table == NOTHING, axis=-1, stable=True)[..., :steps]
    state = xp.take_along_axis(table, order, axis=-1)
    last = xp.maximum((state > 0).sum(-1, keepdims=True) - 1, 0)
    index = xp.take_along_axis(order, xp.minimum(xp.arange(steps), last), axis=-1)
    codes = jnp.asarray(4 * index + state, jnp.int32).reshape(-1)
    return Visits(codes, shared=rows == 1, outer=outer, steps=steps)


def _most(plan: Plan, mask: Mask, by: str, inner: int) -> int:
    """The largest number of inner blocks that one outer block visits, by the window alone."""
    before, after = mask.reach
    if before is None or after is None:
        return inner
    outer_block, inner_block = plan.q_block, plan.k_block
    if by == "keys":
        outer_block, inner_block = inner_block, outer_block
    return min(inner, (outer_block + before + after - 2) // inner_block + 2)


def _in_blocks(a, block: int, fill):
    B, length = a.shape
    blocks = _blocks(length, block)
    return jnp.pad(a, ((0, 0), (0, blocks * block - length)), constant_values=fill).reshape(B, blocks, block)


def _patterned(plan: Plan, pattern: Pattern, marks):
    """[1 q_blocks k_blocks]: whether any head has a mark in these blocks."""

    def touching(length, block, pieces):
        first = np.arange(_blocks(length, block))[:, None] * block
        piece = np.arange(pieces)[None, :] * pattern.size
        return (piece < first + block) & (piece + pattern.size > first)

    queries = touching(plan.T, plan.q_block, marks.shape[1])
    keys = touching(plan.S, plan.k_block, marks.shape[2])
    return jnp.einsum("iq,qk,jk->ij", queries, marks.any(0), keys, preferred_element_type=jnp.float32)[None] > 0


def _range_in_blocks(segments, block: int):
    """The least and the greatest segment of each block's real tokens; where there are none, least > greatest."""
    most = np.iinfo(np.int32).max
    low = _in_blocks(jnp.where(segments > 0, segments, most), block, most).min(-1)
    return low, _in_blocks(segments, block, 0).max(-1)
