"""The scores of one block of keys against one block of queries, inside a TPU kernel: [s t], keys along sublanes.

Scores are in base 2: everything added to them is multiplied by log2(e), so that weights are their exp2.
"""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from ..dropout import Dropout
from . import coding, line, relative
from .ops import column, div, dot, iota, rem, zeroed
from .plan import LANES, Plan

LOG2E = math.log2(math.e)
HIDDEN = -1e30  # the score of a masked key: finite, so that the difference of two is a number


@dataclasses.dataclass(frozen=True)
class MaskForm:
    """What is known about the mask and the segments before a call runs.

    order, before, after: of the mask.  marks: which of "prefix", "everyone" and "pattern" it has.  segments: whether
    there are any.  start: whether the first query has a row index other than 0.  pattern: tokens in a block of it.
    """

    order: Literal["full", "causal"] = "full"
    before: int | None = None
    after: int | None = None
    marks: tuple[str, ...] = ()
    segments: bool = False
    start: bool = False
    pattern: int = 0


@dataclasses.dataclass(frozen=True)
class BiasForm:
    """In which form a bias reaches the kernels as an operand.

    form: "line" is one number per head and distance, "decay" one per head, "plane" one per score, "relative" what
    `relative` reads.  across: tokens in a row of the grid of "decay".
    """

    form: Literal["none", "line", "decay", "plane", "relative"] = "none"
    across: int = 0


@dataclasses.dataclass(frozen=True)
class SoftmaxForm:
    """How scores become weights.

    kind: "denominator" is a softmax of which only the logarithm of the denominator is computed.  cap: bound of the
    scores, none if None.  clip: for kind "clipped".  rate: of dropout.
    """

    kind: Literal["softmax", "sigmoid", "clipped", "denominator"] = "softmax"
    cap: float | None = None
    clip: tuple[float, float] | None = None
    rate: float = 0.0


@dataclasses.dataclass(frozen=True)
class CodingForm:
    """What the matrix unit does beside the products. Before partitioning this is a request, afterwards a decision.

    codes: whether segments are masked inside the product of queries and keys.  folded: whether that product applies the
    scale and subtracts the reference too.  unit: how many products the matrix unit adds up at once.
    """

    codes: bool = False
    folded: bool = False
    unit: int = LANES


@dataclasses.dataclass(frozen=True)
class How:
    """Everything that is known about a call before it runs, except its sizes. cores: of the chip, which share it."""

    scale: float
    mask: MaskForm = MaskForm()
    bias: BiasForm = BiasForm()
    softmax: SoftmaxForm = SoftmaxForm()
    coding: CodingForm = CodingForm()
    cores: int = 1


@dataclasses.dataclass(frozen=True)
class BlockIndex:
    """The index of a block: column of heads, row b of the batch, r of the step; i-th of queries and j-th of keys."""

    column: jax.Array | int
    b: jax.Array | int
    r: jax.Array | int
    i: jax.Array | int
    j: jax.Array | int


@dataclasses.dataclass(frozen=True)
class Head:
    """Head n of all, the g-th of its column, in these lanes of the column."""

    n: jax.Array | int
    g: int
    lanes: slice


class Block:
    """One block of one row: what its heads have in common, and each head's scores."""

    def __init__(self, plan: Plan, how: How, refs: dict, place: BlockIndex, masked: bool):
        self.plan, self.how, self.refs, self.place, self.masked = plan, how, refs, place, masked
        self.heads = [
            Head(place.column * plan.heads + g, g, slice(g * plan.H, (g + 1) * plan.H)) for g in range(plan.heads)
        ]
        self.query = place.i * plan.q_block + iota((1, plan.q_block), 1)
        if how.mask.start:
            self.query = self.query + refs["start"][0]
        self.key = place.j * plan.k_block + iota((plan.k_block, 1), 0)
        self.visible = self._visible() if masked else None

    def _visible(self):
        """What is visible, [s t] or of a shape that broadcasts to it, without the pattern; None where all is."""
        how, rules = self.how, []
        if how.coding.codes:
            pass  # the matrix unit masks other segments, and what is beyond the row's end
        elif how.mask.segments:
            keys, queries = column(self._marks("k_segments")), self._marks("q_segments")
            if self.plan.ragged:
                keys = jnp.where(self.key < self.plan.S, keys, 0)
            rules.append(keys == jnp.where(queries > 0, queries, jnp.iinfo(jnp.int32).min))  # a segment that no key has
        elif self.plan.ragged:
            rules.append(self.key < self.plan.S)
        if how.mask.order == "causal":
            rules.append(self.key <= self.query)
            if "prefix" in how.mask.marks:
                rules[-1] |= column(self._marks("prefix")) > 0
        near = self._near()
        if near is not None and "pattern" not in how.mask.marks:  # a pattern differs by head, and is applied there
            rules.append(self._lifted(near))
        return _all(rules)

    def _near(self):
        """What the window leaves visible; None without a window."""
        before, after = self.how.mask.before, self.how.mask.after
        if before is not None and after is not None:  # one comparison, since keys before the window wrap around
            return (self.key - (self.query - before)).astype(jnp.uint32) <= jnp.uint32(before + after)
        if before is not None:
            return self.key >= self.query - before
        return None if after is None else self.key <= self.query + after

    def _lifted(self, near):
        """`near`, and all that tokens of `everyone` attend to or are attended to by."""
        if "everyone" not in self.how.mask.marks:
            return near
        return near | (column(self._marks("k_everyone")) > 0) | (self._marks("q_everyone") > 0)

    def _patterned(self, g):
        """What is visible to head g by window and pattern, and what `everyone` adds."""
        shown = self.refs["pattern"]
        shown = shown[0 if shown.shape[0] == 1 else g]
        keys, queries = shown.shape
        place = self.place.i * self.plan.q_block + iota((1, self.plan.q_block), 1)
        keys = div(self.key, self.how.mask.pattern) == iota((1, keys), 1)
        queries = div(place, self.how.mask.pattern) == iota((queries, 1), 0)
        # products with a single 1 in each row expand blocks to tokens
        rows = dot(keys.astype(shown.dtype), shown, 1, 0).astype(shown.dtype)
        rules = [dot(rows, queries.astype(shown.dtype), 1, 0) > 0.5, self._near()]
        return self._lifted(_all([rule for rule in rules if rule is not None]))

    def _marks(self, name):
        return self.refs[name][self.place.r]

    def real_keys(self):
        """[s 1]: which keys are of the row, not beyond its end; None where all are. Padding holds zeros."""
        return self.key < self.plan.S if self.masked and self.plan.ragged else None

    def real_queries(self):
        """[t 1]: the same for queries."""
        if self.plan.T % self.plan.q_block == 0:
            return None
        return self.place.i * self.plan.q_block + iota((self.plan.q_block, 1), 0) < self.plan.T

    def values(self):
        """v [s width], 0 beyond the row's end: 0 · NaN is NaN, so that a zero weight alone would not stop it."""
        return zeroed(self.refs["v"][self.place.r], self.real_keys())

    @property
    def tiny(self) -> bool:
        """Whether a row is tiny and has no codes, so that a product of queries and keys has as few rows as a head."""
        return self.plan.tiny and not self.how.coding.codes

    @property
    def narrow(self) -> bool:
        """Whether the backward pass too should fill the matrix unit with few rows, as a unit of 256 rows asks for.

        It then multiplies all lanes of a column for each head, which pays in a column of 128.
        """
        return self.tiny and self.how.coding.unit > LANES and self.plan.width <= LANES

    def scores(self, head: Head, q_t=None):
        """[s t] in base 2, HIDDEN where masked; and the slope of the cap.  q_t: qᵀ [width t], if it is known."""
        if q_t is None:
            products = dot(self.met("k", head.lanes), self.met("q", head.lanes), 1, 1)
        else:
            products = dot(self.met("k", head.lanes), q_t[head.lanes], 1, 0)
        return self.finished(products * (self.how.scale * LOG2E), head)

    def met(self, side: str, lanes: slice):
        """A head's queries, "q", or keys, "k", as the matrix unit multiplies them."""
        tokens, codes = self.coded(side)
        return tokens[:, lanes] if codes is None else coding.beside(tokens, lanes, codes)

    def coded(self, side: str):
        """q [t width] and its codes [t 128], or those of k; codes are None where none are used."""
        real = self.real_queries() if side == "q" else self.real_keys()
        tokens = zeroed(self.refs[side][self.place.r], real)
        if not self.how.coding.codes:
            return tokens, None
        if not self.masked:
            return tokens, jnp.zeros((1, LANES), tokens.dtype)
        codes = self.refs[f"{side}_codes"][self.place.r]
        hidden = 0 if side == "q" else 1  # beyond the row's end: keys with ones are far from every query
        return tokens, codes if real is None else jnp.where(real, codes, hidden)

    def finished(self, scores, head: Head):
        """Scaled products [s t] with bias, cap and mask."""
        match self.how.bias.form:
            case "line":
                scores += line.laid_out(self, head.g)
            case "relative":
                scores += relative.laid_out(self, head) * LOG2E
            case "decay":
                scores += self.refs["bias"][head.n] * self.nearness()
            case "plane":
                scores += self.refs["bias"][self.plane_of(head.g)]
        slope = None
        if self.how.softmax.cap is not None:
            cap = self.how.softmax.cap * LOG2E
            part = jnp.tanh(scores / cap)
            scores, slope = cap * part, 1 - part * part
        visible = self.visible
        if self.masked and "pattern" in self.how.mask.marks:
            visible = _all([rule for rule in (visible, self._patterned(head.g)) if rule is not None])
        return (scores if visible is None else jnp.where(visible, scores, HIDDEN)), slope

    def plane_of(self, g):
        """The index of head g's plane of the bias in this row."""
        rows, heads = self.refs["bias"].shape[:2]
        return 0 if rows == 1 else self.place.r, 0 if heads == 1 else g

    def nearness(self):
        """[s t]: minus the distance of key and query on the grid, in steps along its axes."""
        lines, places = (of(self.key, self.how.bias.across) - of(self.query, self.how.bias.across) for of in (div, rem))
        return -(jnp.abs(lines) + jnp.abs(places)).astype(jnp.float32)

    def kept(self, head: Head):
        """[s t]: the factors by which dropout multiplies the weights; None without dropout."""
        if not self.how.softmax.rate:
            return None
        b, n = self.place.b + self.refs["origin"][0], head.n + self.refs["origin"][1]
        keep = Dropout(self.how.softmax.rate, self.refs["seed"][0]).keep_at(b, n, self.query, self.key)
        return jnp.where(keep, 1 / (1 - self.how.softmax.rate), 0.0)


def _all(rules):
    return functools.reduce(jnp.logical_and, rules) if rules else None
