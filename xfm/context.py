"""The context: what every part may know in addition to its input."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Shaped

from xfm.errors import SpecError, nearest
from xfm.kernels.attention import Mask

__all__ = ["Context", "Mask", "Memory", "positions_within"]

Segments = Int[Array, "B T"] | tuple[Int[Array, "B T"], Int[Array, "B S"]] | None


@struct.dataclass
class Memory:
    """What cross-attention reads: a stream of any length, with what attention has to know about its tokens.

    x: finite in padding too, as `Context.remember` leaves it.  positions: None means 0, 1, 2, ….  types: as in Context.
    segments: a token attends to those of its own segment, and none to segment 0; None means 1 everywhere.
    """

    x: Float[Array, "B S D"]
    segments: Int[Array, "B S"] | None = None
    positions: Int[Array, "B S"] | None = None
    types: Int[Array, "B S"] | None = None

    def segments_for(self, x: Shaped[Array, "B T *any"], ctx: "Context") -> Segments:
        """The segments of x, whose context is ctx, and of this memory, as `xfm.kernels.attention` takes them."""
        if ctx.segments is None and self.segments is None:
            return None
        pairs = (ctx.segments, x), (self.segments, self.x)
        return tuple(jnp.ones(a.shape[:2], jnp.int32) if own is None else own for own, a in pairs)


@struct.dataclass
class Context:
    """What is known about a batch, frozen; a part that adds to it returns `ctx.replace(...)`.

    positions: of each token in its own text; None means 0, 1, 2, … along the row.
    segments: which text of the row a token belongs to, 0 being padding; None means one text without padding. A token
      attends to its own segment only, so packing and padding are one mechanism.
      Windows and convolutions measure distance along the row, so padding inside a text (1 1 0 1) counts as a position
      that holds nothing; a recurrence passes over it. Attention takes all tokens of one id as one text, wherever they
      stand; a recurrence starts anew where another text lies between, so of ids that alternate (1 2 1) the second run
      of 1 does not depend on the first.
    heard: which tokens are attended to, where the others only attend (SigLIP's padding, Hourglass); None means all.
      No token attends to one that only attends, not even that token itself. Pools and heads read both kinds. A part
      that mixes tokens in any other way than by attention refuses such a context by `refuse_heard`.
    padding: what may stand in the stream where segments are 0, and so what `clean` does. "unknown": anything, NaN
      included, so each part replaces it by zeros, since in a gradient 0 · NaN is NaN. "text": it takes part in the
      arithmetic (Funnel, Hourglass cut by "row"), so only what is not finite is replaced. "finite": a structure has
      done one or the other, once, after the embedding, and parts need not.
    types: the type of each token, where layers distinguish a few (XLNet, Funnel).
    memory: by name, what cross-attention reads, such as an encoder's tokens; see `Memory`.
    mask: what a token may attend to within its segment, as a description (see `xfm.kernels.attention.Mask`).
    at: the positions where heads that predict per token do so; None means everywhere.
    depth: how deep in the whole network a sublayer stands, from 0 at the bottom to 1 at the top.
    embedding: the embedding's word table, for heads that are tied to it.
    relative: by name, what a stack's own position makes once for all layers (T5's bias, DeBERTa's table).
    tokens: the batch's ids, for heads.  heads: by name, what the heads made that ran before.
    features: by name, the features of a pyramid's stages as maps, the finest first, for heads; zeros in padding.
    shared: by name, what the parts of one paper pass to each other; what a second family reads becomes a field.
    grid: (h, w) or (t, h, w) of the patches of a vision input, after any leading tokens that are not patches.
    train: whether dropout and its like are on.   dtype: the dtype in which parts compute.
    """

    positions: Int[Array, "B T"] | None = None
    segments: Int[Array, "B T"] | None = None
    heard: Bool[Array, "B T"] | None = None
    types: Int[Array, "B T"] | None = None
    memory: dict[str, Memory] = struct.field(default_factory=dict)
    mask: Mask = Mask.full()
    at: Int[Array, "B K"] | None = None
    depth: Float[Array, ""] | float = 0.0
    embedding: Float[Array, "V D"] | None = None
    relative: dict[str, Any] = struct.field(default_factory=dict)
    tokens: Int[Array, "B T"] | None = None
    heads: dict[str, Array] = struct.field(default_factory=dict)
    features: dict[str, Float[Array, "B h w D"]] = struct.field(default_factory=dict)
    shared: dict[str, Any] = struct.field(default_factory=dict)
    padding: Literal["unknown", "finite", "text"] = struct.field(pytree_node=False, default="unknown")
    grid: tuple[int, ...] | None = struct.field(pytree_node=False, default=None)
    train: bool = struct.field(pytree_node=False, default=False)
    dtype: Any = struct.field(pytree_node=False, default=jnp.float32)

    @classmethod
    def of(cls, batch: Mapping[str, Array], **known: Any) -> "Context":
        """The context of a batch: its segments, its positions (counted within segments where it gives none), its `at`.

        batch["global"] [B T], where there is one, marks tokens that all attend to; parts find it in ctx.shared, beside
        what `known` has there. batch["heard"] [B T] is 0 for tokens that only attend. Positions of padding are 0,
        whatever the batch has there, unless padding is "text".
        """
        segments, positions = batch.get("segments"), batch.get("positions")
        if positions is None and segments is not None:
            positions = positions_within(segments)
        heard = batch["heard"] > 0 if "heard" in batch else None
        shared = {"global": batch["global"] > 0} if "global" in batch else {}
        shared |= known.pop("shared", {})
        known = {"types": batch.get("types"), "at": batch.get("at"), **known}
        ctx = cls(positions, segments, heard, shared=shared, **known)
        return ctx if positions is None else ctx.replace(positions=ctx.clean(positions))

    def real(self, x: Shaped[Array, "B T *any"]) -> Bool[Array, "B T"]:
        """Which tokens of x are not padding."""
        return jnp.ones(x.shape[:2], bool) if self.segments is None else self.segments > 0

    def patches(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B h*w *any"]:
        """The tokens of the grid, which are the last of a row. Raises SpecError for a row that has no grid (h, w)."""
        if self.grid is None or len(self.grid) != 2:
            raise SpecError(f"the patches of an image are asked for, but the tokens' grid is {self.grid}, not (h, w)")
        return x[:, x.shape[1] - self.grid[0] * self.grid[1] :]

    @property
    def keys(self) -> Int[Array, "B T"] | None:
        """The segments of the tokens as keys: 0 where a token is not attended to."""
        if self.heard is None:
            return self.segments
        return jnp.where(self.heard, 1 if self.segments is None else self.segments, 0)

    @property
    def attending(self) -> Segments:
        """The segments as `xfm.kernels.attention` takes them: a pair, of queries and keys, where some only attend."""
        if self.heard is None:
            return self.segments
        return jnp.ones(self.heard.shape, jnp.int32) if self.segments is None else self.segments, self.keys

    def remember(self, name: str, x: Float[Array, "B T D"]) -> "Context":
        """This context with the tokens of x as the memory of that name, for cross-attention to read."""
        own = Memory(self.clean(x), self.keys, self.positions, self.types)
        return self.replace(memory={**self.memory, name: own})

    def remembered(self, name: str, part: str) -> Memory:
        """The memory of that name; raises SpecError if there is none, for the part that asks (such as "attention")."""
        if name not in self.memory:
            made = ", ".join(sorted(self.memory)) or "none"
            raise SpecError(
                f"{part} reads the memory {name!r}, which nobody made{nearest(name, self.memory)}; the memories here: "
                f"{made}; Context.remember makes one"
            )
        return self.memory[name]

    def apart(self, **rows: Float[Array, "B T D"]) -> "Context":
        """The context of queries that are not tokens of the batch, so that its positions and segments do not apply.

        rows: the memories that they read, by name. All tokens of a row that are not padding are one text, those that
        only attend included.
        """
        segments = None if self.segments is None else (self.segments > 0).astype(jnp.int32)
        memory = {name: Memory(self.clean(x), segments, self.positions) for name, x in rows.items()}
        return Context(memory=memory, train=self.train, dtype=self.dtype)

    def refuse_heard(self, part: str) -> None:
        """Raises SpecError where some tokens only attend, for a part ("mixer 'fourier'") that cannot mask them."""
        if self.heard is not None:
            raise SpecError(
                f"{part} mixes tokens without attention and cannot mask those that only attend (batch['heard'], or the "
                "padding of an hourglass cut by 'row'); leave them out, or use parts that mix tokens by attention alone"
            )

    def clean(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B T *any"]:
        """x with zeros in padding, or only for what is not finite there where `padding` is "text"."""
        if self.segments is None or self.padding == "finite":
            return x
        real = self.real(x)
        kept = real.reshape(*real.shape, *[1] * (x.ndim - 2))
        kept = kept | jnp.isfinite(x) if self.padding == "text" else kept
        return jnp.where(kept, x, jnp.zeros((), x.dtype))


def positions_within(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Positions counted from the first token of each segment: 1 1 2 2 2 0 -> 0 1 0 1 2 0."""
    index = jnp.broadcast_to(jnp.arange(segments.shape[1]), segments.shape)
    first = jnp.diff(segments, axis=1, prepend=segments[:, :1] - 1) != 0
    return index - jax.lax.cummax(jnp.where(first, index, 0), axis=1)
