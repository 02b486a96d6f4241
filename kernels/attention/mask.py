"""What a token may see, described by a handful of numbers and never by a T × S array."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["prefix", "offset"],
    meta_fields=["order", "before", "after"],
)
@dataclasses.dataclass(frozen=True)
class Mask:
    """Query t sees key s where s stands within the window and, in causal order, not after t.

    order: "full", or "causal": s <= t, except that keys of the `prefix` are seen by all.
    before, after: how many keys on either side of t the window reaches; None is all of them.
    prefix: keys [B S] that causal order does not hide (prefix language models; works packed, as it is per token).
    offset: index in the row of keys at which the first query stands, 0 if None (a cache holds what came before).
    """

    order: Literal["full", "causal"] = "full"
    before: int | None = None
    after: int | None = None
    prefix: Bool[Array, "B S"] | None = None
    offset: int | Int[Array, ""] | None = None

    @classmethod
    def full(cls) -> "Mask":
        return cls()

    @classmethod
    def causal(cls, prefix: Bool[Array, "B S"] | None = None) -> "Mask":
        return cls(order="causal", prefix=prefix)

    @classmethod
    def window(cls, before: int, after: int) -> "Mask":
        return cls(before=before, after=after)

    def __and__(self, other: "Mask") -> "Mask":
        """What both allow. At most one of them may have a prefix, and at most one an offset."""
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
        )

    @property
    def shows_all(self) -> bool:
        """Whether nothing is hidden."""
        return self.order == "full" and self.before is None and self.after is None

    @property
    def start(self) -> int | Int[Array, ""]:
        """The row index of the first query."""
        return 0 if self.offset is None else self.offset

    @property
    def reach(self) -> tuple[int | None, int | None]:
        """How far before and after itself a query can see at most; None is without limit."""
        hidden_after = self.order == "causal" and self.prefix is None
        return self.before, 0 if hidden_after else self.after

    def visible(
        self,
        query: Int[Array, "t"],
        key: Int[Array, "s"],
        prefix: Bool[Array, "s"] | None = None,
    ) -> Bool[Array, "t s"] | None:
        """The block of the mask at these row indices, for one row of the batch; None where all is visible."""
        ahead = key[None, :] - query[:, None]
        rules = []
        if self.order == "causal":
            rules.append(ahead <= 0 if prefix is None else (ahead <= 0) | prefix[None, :])
        if self.before is not None:
            rules.append(ahead >= -self.before)
        if self.after is not None:
            rules.append(ahead <= self.after)
        return functools.reduce(jnp.logical_and, rules) if rules else None


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)
