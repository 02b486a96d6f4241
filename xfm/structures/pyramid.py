"""Pyramid: stages of layers, each over a coarser grid, and wider, than the one before it.

Liu et al. 2021 (Swin), figure 3; Wang et al. 2021 (PVT), figure 3.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, NotEmpty
from xfm.parts.down import DOWNS
from xfm.parts.norm import NORMS
from xfm.spec import Pattern, Spec, SpecError, build
from xfm.structures.base import Layer, Structure
from xfm.structures.period import depths_of, repeated, stacked, sublayers_of
from xfm.structures.stack import NO_HEADS, answers, dtype_of
from xfm.structures.sublayer import NO_NORMS, PLAIN


class Stage(nn.Module):
    """`down`, then `pattern` × `repeats` as one compiled loop.

    down: spec of the part that makes the grid coarser, None where a stage keeps the grid.
    norms, residual: of the stage's sublayers, those of the pyramid if None.
    """

    pattern: Pattern
    repeats: Count = 1
    down: Spec | None = None
    norms: Mapping[str, Spec] | None = None
    residual: Spec | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], ctx: Context, depths: Float[Array, "R 1"], remat: str
    ) -> tuple[Float[Array, "B S E"], Context]:
        if self.down is not None:
            x, ctx = build(DOWNS, self.down, name="down")(x, ctx)
        return repeated(self.sublayers(), depths, remat)(x, ctx).x, ctx

    @nn.nowrap
    def sublayers(self) -> tuple[Spec, ...]:
        """The sublayers of one period."""
        return sublayers_of(self.pattern, self.norms, self.residual)


class Pyramid(Structure):
    """embed, then the `stages` in order, norm, and heads over the last stage's tokens.

    stages: each {"down": spec or None, "pattern": sublayers as in a Stack, "repeats": 1, "norms": …, "residual": …};
    the repeats of a stage are one compiled loop. A `down` sets the width, the grid, the positions and the segments of
    its stage.  norms, residual: of stages that have none of their own.  norm: after the last stage.
    heads, remat, dtype: as in Stack.
    """

    whole_row: ClassVar[str | None] = "makes the grid of a whole row coarser"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    stages: Annotated[Sequence[Spec], NotEmpty()]
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B T D] of the last stage, "stage_0": [B T_0 D_0], … of each, and each head's output by name}.

        The norm applies to hidden, not to the stages' features.
        """
        self._refuse_cells(batch)
        whole = Context.of(batch, train=train, dtype=dtype_of(self.dtype))
        x, whole = self._embedded(batch, whole)
        stages = [self._stage(i, spec) for i, spec in enumerate(self.stages)]
        ctx, features, maps = whole.replace(at=None, embedding=None, shared={}), {}, {}
        for stage, depths in zip(stages, depths_of(*((stage.repeats, 1) for stage in stages)), strict=True):
            x, ctx = stage(x, ctx, depths, self.remat)
            features[stage.name] = x
            if ctx.grid is not None and x.shape[1] == math.prod(ctx.grid):
                maps[stage.name] = ctx.clean(x).reshape(x.shape[0], *ctx.grid, x.shape[2])
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        ctx = ctx.replace(at=whole.at, embedding=whole.embedding, shared=whole.shared, features=maps)
        return {"hidden": x, **features, **answers(self.heads, x, ctx, batch)}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        found = []
        for i, spec in enumerate(self.stages):
            stage = self._stage(i, spec, parent=None)
            found += stacked(f"stage_{i}/layers", stage.sublayers(), stage.repeats, f"stage_{i}")
        return found

    @nn.nowrap
    def _stage(self, i: int, spec: Spec, **how: Any) -> Stage:
        """Stage i, with the pyramid's norms and residual where it has none."""
        if not isinstance(spec, Mapping) or "kind" in spec:
            raise SpecError(f"stage {i} of a pyramid is a mapping with a 'pattern' and no 'kind', not {spec!r}")
        own = {"norms": self.norms, "residual": self.residual, **{k: v for k, v in spec.items() if v is not None}}
        return build({f"stage {i}": Stage}, {"kind": f"stage {i}", **own}, name=f"stage_{i}", **how)
