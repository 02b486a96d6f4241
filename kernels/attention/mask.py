"""Which keys a query may attend to, described by a few numbers and never by a T × S array."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@functools.partial(jax.tree_util.register_dataclass, data_fields=["shown", "at"], meta_fields=["size"])
@dataclasses.dataclass(frozen=True)
class Pattern:
    """Which blocks of keys each block of queries attends to, per head or for all (BigBird and the like).

    size: tokens in a block; the last may be shorter.  shown: [head, block of queries, block of keys], true where
    visible; the first query given is in block 0, whatever the mask's offset.
    at: the block of each token, by its index in the row of keys, where blocks are not counted along the row (in rows of
    several texts, each counted from its first token); queries are then looked up by their row index too.
    """

    size: int
    shown: Bool[Array, "#N ceil(T/size) ceil(S/size)"]
    at: Int[Array, "B S"] | None = None

    def block(
        self, n: Int[Array, ""], place: Int[Array, " t"], query: Int[Array, " t"], key: Int[Array, " s"], at=None
    ) -> Bool[Array, "t s"]:
        """What is visible to head n, for the `place`-th of the queries given, of row index `query`, and the keys.

        at [S]: the row of `self.at` that these tokens belong to.
        """
        heads, Q, S = self.shown.shape
        i, j = (place // self.size, key // self.size) if at is None else (_looked_up(at, query), _looked_up(at, key))
        rows = self.shown[jnp.where(heads > 1, n, 0)][jnp.clip(i, 0, Q - 1)]
        return rows[:, jnp.clip(j, 0, S - 1)]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["prefix", "offset", "everyone", "pattern"],
    meta_fields=["order", "before", "after", "most", "lifts"],
)
@dataclasses.dataclass(frozen=True)
class Mask:
    """Query t attends to key s where order, window and pattern all allow it; `everyone` lifts window and pattern.

    order: "full", or "causal": s <= t, except that keys of the `prefix` are visible to all queries.
    before, after: how many keys the window reaches before and after t, 0 for t alone; None for all of them.
    prefix: keys [B S] that causal order does not mask (prefix language models; it is per token, so rows may be packed).
    offset: index of the first query in the row of keys, 0 if None (a cache holds the tokens before it).
    everyone: tokens [B S] that attend to all and that all attend to (Longformer's global attention), by index in the
    row of keys.  They lift the window and the pattern, not the causal order.
    pattern: which blocks of keys each block of queries attends to.
    most: the largest number of tokens that `everyone` marks in a row, None for any number. With this promise an
    implementation can gather them and form no other score outside the window. A row that breaks it gives NaN.
    lifts: whether tokens of `everyone` lift window and pattern as "keys", as "queries" or as "both".
    """

    order: Literal["full", "causal"] = "full"
    before: int | None = None
    after: int | None = None
    prefix: Bool[Array, "B S"] | None = None
    offset: int | Int[Array, ""] | None = None
    everyone: Bool[Array, "B S"] | None = None
    pattern: Pattern | None = None
    most: int | None = None
    lifts: Literal["both", "keys", "queries"] = "both"

    @classmethod
    def full(cls) -> "Mask":
        """Every query attends to every key."""
        return cls()

    @classmethod
    def causal(cls, prefix: Bool[Array, "B S"] | None = None) -> "Mask":
        """A query attends to its own and earlier positions, and to the keys of the prefix."""
        return cls(order="causal", prefix=prefix)

    @classmethod
    def window(cls, before: int, after: int, everyone: Bool[Array, "B S"] | None = None) -> "Mask":
        """A query attends to its own position, `before` keys before and `after` after it; `everyone` lifts this."""
        return cls(before=before, after=after, everyone=everyone)

    def __and__(self, other: "Mask") -> "Mask":
        """What both allow. Raises ValueError for two offsets, and where no single Mask describes what both allow."""
        causal = [m for m in (self, other) if m.order == "causal"]
        prefixes = [m.prefix for m in causal if m.prefix is not None]
        if len(causal) == 2 and len(prefixes) == 1:
            prefixes = []  # the one without a prefix masks all later keys
        if len(prefixes) == 2:
            prefixes = [prefixes[0] & prefixes[1]]
        lifting = _lifting(self, other)
        if self.offset is not None and other.offset is not None and self.offset is not other.offset:
            raise ValueError("two masks combine where at most one of them has an offset; leave one offset out")
        return Mask(
            order="causal" if causal else "full",
            before=_least(self.before, other.before),
            after=_least(self.after, other.after),
            prefix=prefixes[0] if prefixes else None,
            offset=other.offset if self.offset is None else self.offset,
            everyone=lifting.everyone,
            pattern=_patterns(self.pattern, other.pattern),
            most=lifting.most,
            lifts=lifting.lifts,
        )

    @property
    def is_local(self) -> bool:
        """Whether there is a window or a pattern."""
        return self.before is not None or self.after is not None or self.pattern is not None

    @property
    def shows_all(self) -> bool:
        """Whether no key is masked for any query."""
        return self.order == "full" and not self.is_local

    @property
    def start(self) -> int | Int[Array, ""]:
        """The row index of the first query."""
        return 0 if self.offset is None else self.offset

    @property
    def reach(self) -> tuple[int | None, int | None]:
        """How many keys before and after its position a query can attend to at most; None for no limit."""
        return (None, self.near[1] if self.hides_later else None) if self.everyone is not None else self.near

    @property
    def near(self) -> tuple[int | None, int | None]:
        """`reach` without the keys that `everyone` makes visible."""
        return self.before, 0 if self.hides_later else self.after

    @property
    def hides_later(self) -> bool:
        """Whether causal order masks every later key."""
        return self.order == "causal" and self.prefix is None

    def visible(
        self,
        query: Int[Array, " t"],
        key: Int[Array, " s"],
        prefix: Bool[Array, " s"] | None = None,
        everyone: tuple[Bool[Array, " t"], Bool[Array, " s"]] | None = None,
        shown: Bool[Array, "t s"] | None = None,
        gathered: Bool[Array, " s"] | None = None,
    ) -> Bool[Array, "t s"] | None:
        """The block of the mask at these row indices, for one row of the batch; None where all is visible.

        prefix, everyone (of the queries, of the keys) and shown (by the pattern) are those of the block.
        gathered: which of the keys lift the window and the pattern and are in the block in addition to the keys of the
        window; they count only where the window or the pattern masks them, so that none counts twice.
        """
        ahead = key[None, :] - query[:, None]
        near = [] if shown is None else [shown]
        if self.before is not None:
            near.append(ahead >= -self.before)
        if self.after is not None:
            near.append(ahead <= self.after)
        if near and gathered is not None:
            near = [functools.reduce(jnp.logical_and, near) ^ gathered[None, :]]
        elif near and everyone is not None:
            of_queries, of_keys = everyone[0][:, None], everyone[1][None, :]
            lifted = dict(both=of_queries | of_keys, queries=of_queries, keys=of_keys)[self.lifts]
            near = [functools.reduce(jnp.logical_and, near) | lifted]
        if self.order == "causal":
            near.append(ahead <= 0 if prefix is None else (ahead <= 0) | prefix[None, :])
        return functools.reduce(jnp.logical_and, near) if near else None

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError for fields that do not fit queries [B T N] and keys [B S]."""
        if self.order not in ("full", "causal"):
            raise ValueError(f"mask.order is 'full' or 'causal', not {self.order!r}")
        for name, marks in (("prefix", self.prefix), ("everyone", self.everyone)):
            if marks is not None and marks.shape != (B, S):
                raise ValueError(f"mask.{name} has shape {marks.shape}; keys need ({B}, {S})")
        if min(self.before or 0, self.after or 0) < 0:
            raise ValueError(f"a window reaches 0 or more tokens, not before={self.before}, after={self.after}")
        if isinstance(self.offset, int) and self.offset < 0:
            raise ValueError(f"mask.offset is the index of a key, 0 or more, not {self.offset}")
        if self.lifts not in ("both", "keys", "queries"):
            raise ValueError(f"mask.lifts is 'both', 'keys' or 'queries', not {self.lifts!r}")
        if self.most is not None and self.everyone is None:
            raise ValueError(f"mask.most={self.most} promises how many tokens mask.everyone marks; give it, or no most")
        if self.most is not None and self.most < 1:
            raise ValueError(f"mask.most is the largest number of tokens in mask.everyone, 1 or more, not {self.most}")
        if self.pattern is not None:
            if self.pattern.at is not None and self.pattern.at.shape != (B, S):
                raise ValueError(f"mask.pattern.at has shape {self.pattern.at.shape}; keys need ({B}, {S})")
            size, shape = self.pattern.size, self.pattern.shown.shape
            if size < 1:
                raise ValueError(f"the blocks of mask.pattern have 1 token or more, not {size}")
            blocks = (-(-T // size), -(-S // size))
            if len(shape) != 3 or shape[0] not in (1, N) or shape[1:] != blocks:
                wanted = f"(1 or {N}, {blocks[0]}, {blocks[1]})"
                raise ValueError(f"mask.pattern of blocks of {size} has shape {shape}; {wanted} is needed")


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _lifting(a: Mask, b: Mask) -> Mask:
    """The mask whose `everyone` is that of a & b: the one with the window or pattern that it lifts."""
    if a.everyone is b.everyone:
        if a.everyone is not None and (a.most, a.lifts) != (b.most, b.lifts):
            raise ValueError("two masks with one `everyone` combine where both have the same `most` and `lifts`")
        return a
    if a.is_local and b.is_local:
        raise ValueError("two masks with a window or a pattern combine where both have the same `everyone`, or neither")
    if not a.is_local and not b.is_local:
        return b if a.everyone is None else a
    local, other = (a, b) if a.is_local else (b, a)
    if other.everyone is not None:
        raise ValueError("mask.everyone lifts the window or pattern of its own mask; give it to the mask that has one")
    return local


def _patterns(a: Pattern | None, b: Pattern | None) -> Pattern | None:
    if a is None or b is None:
        return b if a is None else a
    if a.size != b.size:
        raise ValueError(f"patterns of blocks of {a.size} and of {b.size} tokens do not combine; give both one size")
    if a.at is not b.at:
        raise ValueError("patterns combine where both have the same `at`, or neither")
    return Pattern(a.size, a.shown & b.shown, a.at)


def _looked_up(at: Int[Array, "S"], index: Int[Array, " t"]) -> Int[Array, " t"]:
    return at[jnp.clip(index, 0, at.shape[0] - 1)]
