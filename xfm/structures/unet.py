"""UNet: stages over coarser and coarser grids, and back, with what was on the way down added on the way up.

Ronneberger, Fischer, Brox 2015, figure 1; made of layers of attention, with blocks on the connections between the two
halves: Herde et al. 2024 (Poseidon), section 2. What is added where follows Poseidon's program.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, NotEmpty
from xfm.parts.down import DOWNS
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.norm.timed import lead_times
from xfm.spec import Pattern, Spec, SpecError, build, freeze
from xfm.structures.base import Layer, Structure
from xfm.structures.period import depths_of, stacked
from xfm.structures.pyramid import Stage
from xfm.structures.stack import NO_HEADS, answers, dtype_of
from xfm.structures.sublayer import NO_NORMS, PLAIN

NORM = freeze(dict(kind="layernorm"))


class Unmerging(nn.Module):
    """out(norm(each token as 2 x 2 tokens of half the width)), the maps without a bias: [B h*w D] -> [B 2h*2w D/2]."""

    norm: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], grid: tuple[int, int]) -> Float[Array, "B 4*T D/2"]:
        (B, _, D), (h, w) = x.shape, grid
        if D % 2:
            raise SpecError(f"a UNet halves the width on the way up; {D} is odd")
        x = Linear(2 * D, bias=False, name="up")(x).reshape(B, h, w, 2, 2, D // 2).swapaxes(2, 3)
        x = build(NORMS, self.norm, name="norm")(x.reshape(B, 4 * h * w, D // 2))
        return Linear(D // 2, bias=False, name="out")(x)


class Level(nn.Module):
    """The settings of one grid: what runs on it on the way down, on the connection, and on the way up.

    pattern, back: sublayers on the way down and up, each `repeats` times; back is the pattern if None.
    skip: sublayers on the connection, `skips` times.  down: spec of the part before the level, None for the first one.
    """

    pattern: Pattern
    repeats: Count = 1
    back: Pattern | None = None
    skip: Pattern = ()
    skips: CountOrZero = 0
    down: Spec | None = None


class UNet(Structure):
    """embed, the levels down, the levels up, norm, and heads over the finest level's tokens.

    On the way down a level's tokens, those before its layers added, go to the next `down`; on the way up the next
    coarser level's tokens are made 2 x 2 finer, and what the level's connection gives is added before its layers.
    levels: the fields of a Level each.  up_norm: of the finer tokens.  norms, residual: of all sublayers without their
    own.  heads, remat, dtype: as in Stack.
    batch["times"] [B], where there are any, are the lead times that norms of kind "timed" read.
    """

    whole_row: ClassVar[str | None] = "makes the grid of a whole row coarser"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    levels: Annotated[Sequence[Spec], NotEmpty()]
    up_norm: Spec = NORM
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B T D] of the finest level, and each head's output by its name}."""
        self._refuse_cells(batch)
        timed = nn.intercept_methods(lead_times(batch["times"])) if "times" in batch else contextlib.nullcontext()
        with timed:
            x, ctx = self._embedded(batch, Context.of(batch, train=train, dtype=dtype_of(self.dtype)))
            x = self._layers(x, ctx)
            if self.norm is not None:
                x = build(NORMS, self.norm, name="norm")(x)
            return {"hidden": x, **answers(self.heads, x, ctx, batch)}

    def _layers(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        levels, ctx = self._levels(), ctx.replace(at=None, embedding=None, shared={})
        both = [(level.repeats, 1) for level in levels]
        depths, found = depths_of(*both, *both[::-1]), []
        for i, level in enumerate(levels):
            if level.down is not None:
                x, ctx = build(DOWNS, level.down, name=f"down_{i}")(x, ctx)
            start, (x, _) = x, self._stage(f"encode_{i}", level.pattern, level.repeats)(x, ctx, depths[i], self.remat)
            found.append((ctx, x))
            x = x + start
        for i, level in reversed(list(enumerate(levels))):
            own, skip = found[i]
            if level.skips:
                none = jnp.zeros((level.skips, 1))
                skip, _ = self._stage(f"skip_{i}", level.skip, level.skips)(skip, own, none, self.remat)
            if i == len(levels) - 1:
                x = skip
            else:
                x = Unmerging(self.up_norm, name=f"up_{i}")(x, found[i + 1][0].grid)
                if x.shape != skip.shape:
                    raise XfmError(
                        f"a UNet's way up to level {i} makes tokens and width {x.shape[1:]}, and the way down had "
                        f"{skip.shape[1:]}; use grids that halve evenly and a down that doubles the width"
                    )
                x = x + skip
            back = level.pattern if level.back is None else level.back
            x, _ = self._stage(f"decode_{i}", back, level.repeats)(x, own, depths[-1 - i], self.remat)
        return x

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        levels = list(enumerate(self._levels()))
        runs = [(f"encode_{i}", one.pattern, one.repeats) for i, one in levels]
        for i, one in levels[::-1]:
            runs += [(f"skip_{i}", one.skip, one.skips)] if one.skips else []
            runs.append((f"decode_{i}", one.pattern if one.back is None else one.back, one.repeats))
        found = []
        for name, pattern, repeats in runs:
            own = self._stage(name, pattern, repeats, parent=None).sublayers()
            found += stacked(f"{name}/layers", own, repeats, name)
        return found

    @nn.nowrap
    def _levels(self) -> list[Level]:
        for i, spec in enumerate(self.levels):
            if not isinstance(spec, Mapping) or "kind" in spec:
                raise SpecError(f"level {i} of a UNet is a mapping with a 'pattern' and no 'kind', not {spec!r}")
        named = ((f"level {i}", spec) for i, spec in enumerate(self.levels))
        return [build({name: Level}, {"kind": name, **spec}, parent=None) for name, spec in named]

    @nn.nowrap
    def _stage(self, name: str, pattern: Pattern, repeats: int, **how: Any) -> Stage:
        return Stage(pattern, repeats, norms=self.norms, residual=self.residual, name=name, **how)
