"""What every part may know beside its input."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from xfm.kernels.attention import Mask

__all__ = ["Context", "Mask", "positions_within"]


@struct.dataclass
class Context:
    """The circumstances of a batch, frozen; a part that learns more returns `ctx.replace(...)`.

    positions: place of each token in its own text; None means 0, 1, 2, … along the row.
    segments: which text of the row a token belongs to, 0 being padding; None means one text without padding. A token
      sees its own segment only, so packing and padding are one mechanism. Attention takes a pair too, those of its
      queries and those of its keys, where some tokens listen and are not listened to (Hourglass, SigLIP).
    mask: what a token may see within its segment, as a description (see `xfm.kernels.attention.Mask`).
    at: where heads that predict per token do so; None means everywhere.
    depth: how deep in the stack a sublayer stands, from 0 at the bottom to 1 at the top.
    shared: what the embedding or the prologue gives to all later parts, by name.
    grid: (h, w) or (t, h, w) of the patches of a vision input, after any leading tokens that are not patches.
    train: whether dropout and its like are on.   dtype: in which parts compute.
    """

    positions: Int[Array, "B T"] | None = None
    segments: Int[Array, "B T"] | tuple[Int[Array, "B T"], Int[Array, "B T"]] | None = None
    mask: Mask = Mask.full()
    at: Int[Array, "B K"] | None = None
    depth: Float[Array, ""] | float = 0.0
    shared: dict[str, Any] = struct.field(default_factory=dict)
    grid: tuple[int, ...] | None = struct.field(pytree_node=False, default=None)
    train: bool = struct.field(pytree_node=False, default=False)
    dtype: Any = struct.field(pytree_node=False, default=jnp.float32)

    @classmethod
    def of(cls, batch: Mapping[str, Array], **known: Any) -> "Context":
        """The context of a batch: its positions (counted within segments where it gives none), segments and places.

        batch["global"] [B T], where there is one, marks tokens that all see; parts find it in ctx.shared, beside what
        `known` has there. batch["heard"] [B T] marks those that are listened to, where the others listen as well.
        """
        segments, positions = batch.get("segments"), batch.get("positions")
        if positions is None and segments is not None:
            positions = positions_within(segments)
        if "heard" in batch:
            segments = jnp.ones_like(batch["heard"]) if segments is None else segments
            segments = segments, jnp.where(batch["heard"] > 0, segments, 0)
        shared = {"global": batch["global"] > 0} if "global" in batch else {}
        shared |= known.pop("shared", {})
        return cls(positions=positions, segments=segments, at=batch.get("at"), shared=shared, **known)

    def real(self, x: Float[Array, "B T D"]) -> Bool[Array, "B T"]:
        """Which tokens of x are not padding; of a pair of segments those that listen."""
        segments = self.segments[0] if isinstance(self.segments, tuple) else self.segments
        return jnp.ones(x.shape[:2], bool) if segments is None else segments > 0


def positions_within(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Places counted from the first token of each segment: 1 1 2 2 2 0 -> 0 1 0 1 2 0."""
    index = jnp.broadcast_to(jnp.arange(segments.shape[1]), segments.shape)
    first = jnp.diff(segments, axis=1, prepend=segments[:, :1] - 1) != 0
    return index - jax.lax.cummax(jnp.where(first, index, 0), axis=1)
