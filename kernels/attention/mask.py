"""What a token may see, described by a handful of numbers and never by a T × S array."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@functools.partial(jax.tree_util.register_dataclass, data_fields=["shown"], meta_fields=["size"])
@dataclasses.dataclass(frozen=True)
class Pattern:
    """Which blocks of keys each block of queries sees, per head or for all (BigBird and the like).

    size: of a block, in tokens; the last may be shorter.  shown: by block of the queries given, the first of which is
    in block 0 whatever the mask's offset, and by block of keys.
    """

    size: int
    shown: Bool[Array, "#N ceil(T/size) ceil(S/size)"]

    def block(self, n: Int[Array, ""], query: Int[Array, "t"], key: Int[Array, "s"]) -> Bool[Array, "t s"]:
        """For head n, the queries given at those places and the keys at those."""
        heads, Q, S = self.shown.shape
        rows = self.shown[jnp.where(heads > 1, n, 0)][jnp.clip(query // self.size, 0, Q - 1)]
        return rows[:, jnp.clip(key // self.size, 0, S - 1)]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["prefix", "offset", "everyone", "pattern"],
    meta_fields=["order", "before", "after"],
)
@dataclasses.dataclass(frozen=True)
class Mask:
    """Query t sees key s where order, window and pattern all allow it; `everyone` is outside window and pattern.

    order: "full", or "causal": s <= t, except that keys of the `prefix` are seen by all.
    before, after: how many keys on either side of t the window reaches, 0 being t alone; None is all of them.
    prefix: keys [B S] that causal order does not hide (prefix language models; works packed, as it is per token).
    offset: index in the row of keys at which the first query stands, 0 if None (a cache holds what came before).
    everyone: tokens [B S] that see all and are seen by all (Longformer's global attention), by index in the row of
    keys.  They lift the window and the pattern, not the causal order.
    pattern: which blocks of keys each block of queries sees.
    """

    order: Literal["full", "causal"] = "full"
    before: int | None = None
    after: int | None = None
    prefix: Bool[Array, "B S"] | None = None
    offset: int | Int[Array, ""] | None = None
    everyone: Bool[Array, "B S"] | None = None
    pattern: Pattern | None = None

    @classmethod
    def full(cls) -> "Mask":
        return cls()

    @classmethod
    def causal(cls, prefix: Bool[Array, "B S"] | None = None) -> "Mask":
        return cls(order="causal", prefix=prefix)

    @classmethod
    def window(cls, before: int, after: int, everyone: Bool[Array, "B S"] | None = None) -> "Mask":
        return cls(before=before, after=after, everyone=everyone)

    def __and__(self, other: "Mask") -> "Mask":
        """What both allow. At most one of them may have an offset; ValueError where no one Mask says it."""
        causal = [m for m in (self, other) if m.order == "causal"]
        prefixes = [m.prefix for m in causal if m.prefix is not None]
        if len(causal) == 2 and len(prefixes) == 1:
            prefixes = []  # the one without a prefix hides all that comes later
        if len(prefixes) == 2:
            prefixes = [prefixes[0] & prefixes[1]]
        return Mask(
            order="causal" if causal else "full",
            before=_least(self.before, other.before),
            after=_least(self.after, other.after),
            prefix=prefixes[0] if prefixes else None,
            offset=other.offset if self.offset is None else self.offset,
            everyone=_lifted(self, other),
            pattern=_patterns(self.pattern, other.pattern),
        )

    @property
    def is_local(self) -> bool:
        """Whether there is a window or a pattern."""
        return self.before is not None or self.after is not None or self.pattern is not None

    @property
    def shows_all(self) -> bool:
        """Whether nothing is hidden."""
        return self.order == "full" and not self.is_local

    @property
    def start(self) -> int | Int[Array, ""]:
        """The row index of the first query."""
        return 0 if self.offset is None else self.offset

    @property
    def reach(self) -> tuple[int | None, int | None]:
        """How far before and after itself a query can see at most; None is without limit."""
        before, after = (None, None) if self.everyone is not None else (self.before, self.after)
        hidden_after = self.order == "causal" and self.prefix is None
        return before, 0 if hidden_after else after

    def visible(
        self,
        query: Int[Array, "t"],
        key: Int[Array, "s"],
        prefix: Bool[Array, "s"] | None = None,
        everyone: tuple[Bool[Array, "t"], Bool[Array, "s"]] | None = None,
        shown: Bool[Array, "t s"] | None = None,
    ) -> Bool[Array, "t s"] | None:
        """The block of the mask at these row indices, for one row of the batch; None where all is visible.

        prefix, everyone (of the queries, of the keys) and shown (by the pattern) are those of the block.
        """
        ahead = key[None, :] - query[:, None]
        near = [] if shown is None else [shown]
        if self.before is not None:
            near.append(ahead >= -self.before)
        if self.after is not None:
            near.append(ahead <= self.after)
        if near and everyone is not None:
            lifted = everyone[0][:, None] | everyone[1][None, :]
            near = [functools.reduce(jnp.logical_and, near) | lifted]
        if self.order == "causal":
            near.append(ahead <= 0 if prefix is None else (ahead <= 0) | prefix[None, :])
        return functools.reduce(jnp.logical_and, near) if near else None

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """ValueError for what does not fit queries [B T N] and keys [B S]."""
        if self.order not in ("full", "causal"):
            raise ValueError(f"mask.order is 'full' or 'causal', not {self.order!r}")
        for name, marks in (("prefix", self.prefix), ("everyone", self.everyone)):
            if marks is not None and marks.shape != (B, S):
                raise ValueError(f"mask.{name} has shape {marks.shape}; keys need ({B}, {S})")
        if min(self.before or 0, self.after or 0) < 0:
            raise ValueError(f"a window reaches 0 or more tokens, not before={self.before}, after={self.after}")
        if isinstance(self.offset, int) and self.offset < 0:
            raise ValueError(f"mask.offset is the index of a key, 0 or more, not {self.offset}")
        if self.pattern is not None:
            size, shape = self.pattern.size, self.pattern.shown.shape
            if size < 1:
                raise ValueError(f"the blocks of mask.pattern have 1 token or more, not {size}")
            blocks = (-(-T // size), -(-S // size))
            if len(shape) != 3 or shape[0] not in (1, N) or shape[1:] != blocks:
                wanted = f"(1 or {N}, {blocks[0]}, {blocks[1]})"
                raise ValueError(f"mask.pattern of blocks of {size} has shape {shape}; {wanted} is needed")


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _lifted(a: Mask, b: Mask) -> Bool[Array, "B S"] | None:
    """The `everyone` of a & b: that of the window and pattern that it lifts."""
    if a.everyone is b.everyone:
        return a.everyone
    if a.is_local and b.is_local:
        raise ValueError("two masks with a window or a pattern combine where both have the same `everyone`, or neither")
    if not a.is_local and not b.is_local:
        return b.everyone if a.everyone is None else a.everyone
    local, other = (a, b) if a.is_local else (b, a)
    if other.everyone is not None:
        raise ValueError("mask.everyone lifts the window or pattern of its own mask; give it to the mask that has one")
    return local.everyone


def _patterns(a: Pattern | None, b: Pattern | None) -> Pattern | None:
    if a is None or b is None:
        return b if a is None else a
    if a.size != b.size:
        raise ValueError(f"patterns of blocks of {a.size} and of {b.size} tokens do not combine; give both one size")
    return Pattern(a.size, a.shown & b.shown)
