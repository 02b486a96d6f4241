"""Attention between blocks: each attends to its neighbours and to the first and last block, which attend to all.

Zaheer, Guruganesh, Dubey, Ainslie, Alberti, Ontanon, Pham, Ravula, Wang, Yang, Ahmed, "Big Bird: Transformers for
Longer Sequences", 2020, section 2 and appendix D, internal construction. The paper's random blocks are absent: the
library that runs its published networks today (transformers) draws the first block each time, for which `again`
accounts. Time and memory are linear in length for rows of one text; see `BlockSparse` for others.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from xfm.context import positions_within
from xfm.fields import Count, CountOrZero
from xfm.kernels.attention import Mask, Pattern, gathers
from xfm.kernels.counting import included, stated
from xfm.parts.sight.base import Sight, fit, texts, whole_texts_only
from xfm.parts.texts import positions_and_lengths
from xfm.spec import SpecError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Again:
    """A bias of `amount` per head between the queries and the keys that are marked: such a key counts several times."""

    queries: Bool[Array, "B T"]
    keys: Bool[Array, "B T"]
    amount: Float[Array, "N"]

    def block(self, b, n, query: Int[Array, " t"], key: Int[Array, " s"]) -> Float[Array, "t s"]:
        """The bias of row b and head n between the queries and the keys at these row indices."""
        return jnp.where(self.queries[b, query][:, None] & self.keys[b, key][None, :], self.amount[n], 0.0)

    def times(self, factor: Float[Array, "N"]) -> "Again":
        """The bias with `amount` of head n times factor[n]."""
        return dataclasses.replace(self, amount=self.amount * factor)


def pattern(T: int, size: int) -> Bool[np.ndarray, "blocks blocks"]:
    """Which blocks of a text of T tokens attend to which: to neighbours, to and from the first and the last."""
    i = np.arange(-(-T // size))
    end = (i == 0) | (i == i[-1])
    return (abs(i[:, None] - i[None, :]) <= 1) | end[:, None] | end[None, :]


def keys_of_a_query(T: int, size: int) -> float:
    """The mean number of keys that a query of a text of T tokens attends to by `pattern`."""
    tokens = np.clip(T - size * np.arange(-(-T // size)), 0, size)
    return float(tokens @ pattern(T, size) @ tokens) / T


class BlockSparse(Sight):
    """The blocks of each text attend to one another by `pattern`.

    block: tokens in one; the last of a text may be shorter.  again: how many more times the first block counts for a
    query that does not attend to all.  dense: in a text of at most so many tokens each attends to all.
    In rows of one text that padding does not interrupt, of more than `dense` tokens, only the scores of the pattern are
    formed, as far as their blocks fit those of the kernel; in other rows all scores are formed and the rest is masked.
    """

    whole_row: ClassVar[str | None] = "is dense or sparse by the length of a whole row"

    block: Count = 64
    again: CountOrZero = 0
    dense: CountOrZero = 0

    def __call__(self, projections, attend, ctx):
        whole_texts_only("block_sparse", ctx)
        own, size = projections[""], self.block
        (_, T, N, _), segments = own.q.shape, texts(ctx, own.q)
        if T <= self.dense:
            return attend(own)
        if self.again and attend.bias is not None:
            raise SpecError(
                "sight 'block_sparse' with again has a bias of its own; use it with again=0 or position none"
            )
        position, length = positions_and_lengths(segments)
        number, last = position // size, (length - 1) // size
        everyone = (segments > 0) & ((number == 0) | (number == last) | (length <= self.dense))
        bias = Again(~everyone, number == 0, jnp.full(N, np.log1p(self.again))) if self.again else attend.bias
        i = np.arange(-(-T // size))
        near = abs(i[:, None] - i[None, :]) <= 1
        at = None if ctx.segments is None else number  # else blocks are those of the row, as every kernel counts them
        whole = Mask(pattern=Pattern(size, jnp.asarray(near)[None], at), everyone=everyone)
        reach = 2 * size - 1  # of neighbouring blocks, in a text without gaps
        few = dataclasses.replace(whole, before=reach, after=reach, most=min(2 * size, T))

        def by(mask):
            return lambda: attend(own, mask=mask, bias=bias)

        with included():
            if not gathers(few, bias, T, T):
                y = by(whole)()
            elif ctx.segments is None:
                y = by(few)()
            else:
                unbroken = ((position == positions_within(segments)) | (segments == 0)).all()
                y = jax.lax.cond(unbroken & fit(everyone, few.most), by(few), by(whole))
        return stated(y, 4 * keys_of_a_query(T, size))
