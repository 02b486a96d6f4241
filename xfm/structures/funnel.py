"""Funnel: blocks of layers, each over half as many tokens as the one before; with a decoder, an hourglass.

Dai, Lai, Yang, Le, "Funnel-Transformer: Filtering out Sequential Redundancy for Efficient Language Processing", 2020,
section 2.2 (pooling) and 2.3 (decoder).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import nearest
from xfm.fields import Count, CountOrZero
from xfm.spec import Pattern, Spec, SpecError
from xfm.structures.base import Layer, Structure
from xfm.structures.period import Period, alone, depths_of, repeated, stacked, sublayers_of
from xfm.structures.stack import NO_HEADS, answers, dtype_of, one_text
from xfm.structures.sublayer import NO_NORMS, PLAIN

REFUSAL = (
    "a funnel pools neighbours; give rows of one text each, or of running text without segments (data.packing='stream')"
)
POOLS = {"mean": jnp.mean, "max": jnp.max}


def pairs(x: Array, first: str, end: str) -> Array:
    """[B T …] -> [B T/2 2 …], each token with the one after it; a token without one is paired with itself.

    first: "apart", where the first token is paired with itself, or "paired" as all others are.  end: "kept", or "cut",
    which leaves out the row's last token where the first is apart.
    """
    if first == "apart":
        x = jnp.concatenate([x[:, :1], x[:, :-1] if end == "cut" else x], axis=1)
    if x.shape[1] % 2:
        x = jnp.concatenate([x, x[:, -1:]], axis=1)
    return x.reshape(x.shape[0], -1, 2, *x.shape[2:])


def spread(x: Float[Array, "B S D"], times: int, length: int, first: str) -> Float[Array, "B T D"]:
    """The inverse of several halvings: each token repeated `times` times, zeros at the end where none is left.

    first: as in `pairs`; a first token that is apart is not repeated.
    """
    lead, rest = (x[:, :1], x[:, 1:]) if first == "apart" and times > 1 else (x[:, :0], x)
    rest = jnp.repeat(rest, times, axis=1)[:, : length - lead.shape[1]]
    x = jnp.concatenate([lead, rest], axis=1)
    return jnp.pad(x, ((0, 0), (0, length - x.shape[1]), (0, 0)))


class Funnel(Structure):
    """`pattern` × blocks[0], then half the tokens and `pattern` × blocks[1], and so on: {"hidden": [B T' D], heads}.

    blocks: periods in each.  loops: how often each period of a block runs, with the same parameters; once if None.
    decoder: periods that follow at full length, over the first block's stream plus the last one's, each token of which
    is repeated for those it was pooled from; if None there is no decoder, and the output is the short stream.
    pool, first, end: how a pair becomes one token; see `pairs`.  Rows of two tokens (one, if first="paired") are not
    halved.
    embed, pattern, norms, residual, heads, remat, dtype: as in Stack; remat applies to the periods in a compiled loop.

    A row is one text and starts with its first token. A pair in which one token is padding counts as padding, which is
    never attended to, but is still repeated for both tokens. The padding token's stream enters the pair's mean, as in
    the authors' program, with zeros for NaN and infinity.
    Several texts in a row would be pooled together and are refused: by an error where segments are known, and inside
    jit by a row of NaN.
    The first layer of each shorter block finds the stream before pooling as the memory "before".
    """

    whole_row: ClassVar[str | None] = "pools neighbours of a whole row"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    pattern: Pattern
    blocks: Sequence[Count]
    loops: Sequence[Count] | None = None
    decoder: CountOrZero | None = None
    pool: Literal["mean", "max"] = "mean"
    first: Literal["apart", "paired"] = "apart"
    end: Literal["cut", "kept"] = "cut"
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    heads: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B T D], each head's output by its name}; without a decoder hidden is [B T' D]."""
        self._refuse_cells(batch)
        self._check()
        whole = Context.of(batch, padding="text", train=train, dtype=dtype_of(self.dtype))
        x, whole = self._embedded(batch, whole)
        x = one_text(x, whole, REFUSAL)
        index = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        positions = index if whole.positions is None else whole.positions
        inner = ctx = whole.replace(positions=positions, at=None, embedding=None, shared={})
        layers = sublayers_of(self.pattern, self.norms, self.residual)

        loops = (1,) * len(self.blocks) if self.loops is None else self.loops
        depths = depths_of(*zip(self.blocks, loops, strict=True), (self.decoder or 0, 1))

        for i in range(len(self.blocks)):
            entry = None
            if i > 0 and x.shape[1] > (2 if self.first == "apart" else 1):
                before = ctx.remember("before", x).memory
                x, ctx = self._half(x, ctx)
                entry = ctx.replace(memory=before)
            x = Block(layers, self.remat, name=f"block_{i}")(x, ctx, depths[i], entry, i > 0)
            if i == 0:
                start = x
        if self.decoder is None:
            whole = ctx.replace(embedding=whole.embedding, shared=whole.shared)
        else:
            x = Spread(2 ** (len(self.blocks) - 1), self.first, name="spread")(x, start)
            if self.decoder:
                x = Block(layers, self.remat, name="decoder")(x, inner, depths[-1])
            whole = whole.replace(positions=positions)
        return {"hidden": x, **answers(self.heads, x, whole.replace(at=batch.get("at")), batch)}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        sublayers, found = sublayers_of(self.pattern, self.norms, self.residual), []
        for i, periods in enumerate(self.blocks):
            block = f"block_{i}"
            found += alone(f"{block}/first", sublayers, block) if i else []
            found += stacked(f"{block}/layers", sublayers, periods - bool(i), block)
        return found + stacked("decoder/layers", sublayers, self.decoder or 0, "decoder")

    def _half(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S D"], Context]:
        """Pairs as tokens: at the position of the first, of its type, and real where both are."""

        def pair(a):
            return pairs(a, self.first, self.end)

        segments = None if ctx.segments is None else pair(ctx.segments).min(axis=2)
        types = None if ctx.types is None else pair(ctx.types)[:, :, 0]
        ctx = ctx.replace(positions=pair(ctx.positions)[:, :, 0], segments=segments, types=types)
        return POOLS[self.pool](pair(x), axis=2), ctx

    def _check(self) -> None:
        for name, value, legal in (
            ("pool", self.pool, POOLS), ("first", self.first, ("apart", "paired")), ("end", self.end, ("cut", "kept")),
        ):  # fmt: skip
            if value not in legal:
                raise SpecError(f"funnel: no {name} {value!r}{nearest(value, legal)}; there are {', '.join(legal)}")
        loops = (1,) * len(self.blocks) if self.loops is None else self.loops
        if not self.blocks or min((*self.blocks, *loops)) < 1 or len(loops) != len(self.blocks):
            raise SpecError(
                "funnel: blocks and loops are as many numbers of 1 or more, not "
                f"{tuple(self.blocks)} and {tuple(loops)}"
            )
        if (self.decoder or 0) < 0:
            raise SpecError(f"funnel: a decoder has 0 periods or more, not {self.decoder}")


class Block(nn.Module):
    """R periods, each run L times; with `alone` the first is not part of the compiled loop."""

    sublayers: tuple[Spec, ...]
    remat: str

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        ctx: Context,
        depths: Float[Array, "R L"],
        entry: Context | None = None,
        alone: bool = False,
    ) -> Float[Array, "B T D"]:
        """x after the periods.  entry: the context of the first run of the first period, ctx if None."""
        if alone:
            period = Period(self.sublayers, name="first")
            for i in range(depths.shape[1]):
                here = entry if entry is not None and i == 0 else ctx
                (x, _), _ = period((x, None), here, None, depths[0, i : i + 1])
            depths = depths[1:]
        if depths.shape[0]:
            x = repeated(self.sublayers, depths, self.remat)(x, ctx).x
        return x


class Spread(nn.Module):
    """The input of the decoder: the first block's stream plus the last one's at full length."""

    times: int
    first: str

    def __call__(self, x: Float[Array, "B S D"], start: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return start + spread(x, self.times, start.shape[1], self.first)
