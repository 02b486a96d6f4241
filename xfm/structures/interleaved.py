"""Interleaved: layers within groups of tokens, between which a few latents of each group carry what the groups know.

Chen, Li, "FIT: Far-reaching Interleaved Transformers", 2023, section 2. As in the authors' program the latents are
learned, with their positions, and the last block has nothing to write back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Pattern, Spec, SpecError, build, freeze
from xfm.structures.base import Layer, Structure
from xfm.structures.period import REMAT, SOWN, Period, alone, depths_of, stacked, sublayers_of
from xfm.structures.stack import NO_HEADS, answers, dtype_of
from xfm.structures.sublayer import NO_NORMS, PLAIN

LAYERNORM = freeze(dict(kind="layernorm"))
PATTERNS = ("inner", "read", "pattern", "write")


class Block(nn.Module):
    """`inner` over each group; then latents read their group, `pattern` over all latents, and groups read latents.

    write: none in the last block.  memory_norm: of what is read.
    """

    inner: tuple[Spec, ...]
    read: tuple[Spec, ...]
    pattern: tuple[Spec, ...]
    write: tuple[Spec, ...]
    memory_norm: Spec | None

    @nn.compact
    def __call__(self, carried, contexts: tuple[Context, Context, Context], depths: Float[Array, "1"]):
        """carried: tokens [B·groups n C], latents [B·groups m D].  contexts: of these two, and of a row's latents."""
        (tokens, latents), (inside, each, whole) = carried, contexts

        def run(name, x, ctx):
            return Period(getattr(self, name), name=f"{name}_layers")((x, None), ctx, None, depths)[0][0]

        def normed(name, x):
            return x if self.memory_norm is None else build(NORMS, self.memory_norm, name=name)(x)

        tokens = run("inner", tokens, inside)
        if latents.shape[1]:
            groups = inside.remember("tokens", normed("read_norm", tokens)).memory
            latents = run("read", latents, each.replace(memory=groups))
            rows = latents.reshape(whole.segments.shape[0], -1, latents.shape[2])
            latents = run("pattern", rows, whole).reshape(latents.shape)
            if self.write:
                known = each.remember("latents", normed("write_norm", latents)).memory
                tokens = run("write", tokens, inside.replace(memory=known))
        return (tokens, latents), None


class Interleaved(Structure):
    """embed, then `repeats` blocks over groups of tokens and over latents, norm, heads over the latents.

    group: n, how many consecutive tokens of the embedding are a group.  latents: m of each group; the first batch fixes
    the number of groups. With 0 there is `inner` alone, and heads read the tokens.  width: D of the latents.
    inner: sublayers over the tokens of a group.  read: over its latents, with attention to the memory "tokens".
    pattern: over all latents of a row.  write: over the tokens of a group, with attention to the memory "latents".
    memory_norm: of both memories.  norms, residual: of all sublayers.  norm: after the last block.  heads, remat,
    dtype: as in Stack. All tokens of a row that are not padding are one text.
    """

    whole_row: ClassVar[str | None] = "cuts a whole row into groups"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    group: Count
    inner: Pattern
    latents: CountOrZero = 0
    width: Count = 1
    read: Sequence[Spec] = ()
    pattern: Sequence[Spec] = ()
    write: Sequence[Spec] = ()
    repeats: Count = 1
    memory_norm: Spec | None = LAYERNORM
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B latents D], or [B T C] without latents, and each head's output by its name}."""
        self._refuse_cells(batch)
        x, ctx = self._embedded(batch, Context.of(batch, train=train, dtype=dtype_of(self.dtype)))
        B, T, C = x.shape
        if T % self.group:
            raise SpecError(
                f"structure 'interleaved' has groups of {self.group} tokens, which do not divide {T} tokens"
            )
        if self.remat not in REMAT:
            raise SpecError(f"no remat {self.remat!r}; there are {', '.join(REMAT)}")
        for name in PATTERNS:
            if self.latents and not getattr(self, name):
                raise SpecError(f"structure 'interleaved' has latents and no sublayers in {name!r}; name them there")
        G, m = T // self.group, self.latents
        latents = jnp.zeros((B * G, 0, self.width), x.dtype)
        if m:
            first = param(self, "latent", nn.initializers.normal(0.02), (G, m, self.width)).astype(x.dtype)
            latents = jnp.broadcast_to(first, (B, G, m, self.width)).reshape(B * G, m, self.width)
        carried, contexts = (x.reshape(B * G, self.group, C), latents), self._contexts(ctx, x)
        block = Block if self.remat == "none" else nn.remat(Block, prevent_cse=False, policy=REMAT[self.remat])
        *before, last = depths_of(*((one, 1) for one in (self.repeats - 1, 1) if one))
        if before:
            blocks = nn.scan(
                block,
                variable_axes={"params": 0, SOWN: 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(nn.broadcast, 0),
                length=self.repeats - 1,
                check_constancy_invariants=False,  # the check would trace every layer a second time
            )(*self._patterns(last=False), self.memory_norm, name="layers")
            carried, _ = blocks(carried, contexts, before[0])
        carried, _ = block(*self._patterns(last=True), self.memory_norm, name="last")(carried, contexts, last[0])
        inside, _, whole = contexts
        x = carried[1].reshape(B, G * m, self.width) if m else carried[0].reshape(B, T, C)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        ctx = whole if m else inside.replace(segments=inside.segments.reshape(B, T), grid=ctx.grid)
        return {"hidden": x, **answers(self.heads, x, ctx, batch)}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        found = []
        for name, specs in zip(PATTERNS, self._patterns(last=False), strict=True):
            found += stacked(f"layers/{name}_layers", specs, self.repeats - 1, "layer")
        found.sort(key=lambda layer: layer.index)  # stable: in the order of the run in each block
        for name, specs in zip(PATTERNS, self._patterns(last=True), strict=True):
            found += [layer._replace(index=0) for layer in alone(f"last/{name}_layers", specs, "layer")]
        return found

    @nn.nowrap
    def _patterns(self, last: bool) -> tuple[tuple[Spec, ...], ...]:
        """The sublayers of a block by PATTERNS; without latents only the first, and in the last block no writing."""
        built = [sublayers_of(getattr(self, name), self.norms, self.residual) for name in PATTERNS]
        used = 1 if not self.latents else 3 if last else 4
        return tuple(specs if i < used else () for i, specs in enumerate(built))

    def _contexts(self, ctx: Context, x: Float[Array, "B T C"]) -> tuple[Context, Context, Context]:
        """Of the tokens of each group, of its latents, and of all latents of a row."""
        known, m = dict(train=ctx.train, dtype=ctx.dtype, padding="finite"), self.latents
        own = ctx.real(x).astype(jnp.int32).reshape(-1, self.group)
        each = jnp.repeat(own.max(axis=1, keepdims=True), m, axis=1)
        whole = each.reshape(x.shape[0], -1)
        return Context(segments=own, **known), Context(segments=each, **known), Context(segments=whole, **known)
