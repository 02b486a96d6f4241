"""Pyramid: stages of layers, each over a coarser grid, and wider, than the one before it.

Liu et al. 2021 (Swin), figure 3; Wang et al. 2021 (PVT), figure 3.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, NotEmpty
from xfm.parts.down import DOWNS
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build
from xfm.structures.base import Layer, Structure
from xfm.structures.period import depths_of, repeated, stacked, sublayers_of
from xfm.structures.stack import NO_HEADS, answers, dtype_of
from xfm.structures.sublayer import NO_NORMS, PLAIN
from xfm.structures.tokens import mapped


class Stage(nn.Module):
    """`down`, then `pattern` × `repeats` as one compiled loop, none where the pattern is empty.

    down: spec of the part that makes the grid coarser, None where a stage keeps the grid.
    norms, residual: of the stage's sublayers, those of the pyramid if None.  norm: after the stage, none if None.
    """

    pattern: Sequence[Spec]
    repeats: Count = 1
    down: Spec | None = None
    norms: Mapping[str, Spec] | None = None
    residual: Spec | None = None
    norm: Spec | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], ctx: Context, depths: Float[Array, "R 1"], remat: str
    ) -> tuple[Float[Array, "B S E"], Context]:
        if self.down is not None:
            x, ctx = build(DOWNS, self.down, name="down")(x, ctx.replace(depth=depths[0, 0]) if len(depths) else ctx)
        if self.pattern:
            x = repeated(self.sublayers(), depths, remat)(x, ctx).x
        return x if self.norm is None else build(NORMS, self.norm, name="norm")(x), ctx

    @nn.nowrap
    def sublayers(self) -> tuple[Spec, ...]:
        """The sublayers of one period."""
        return sublayers_of(self.pattern, self.norms, self.residual)

    @nn.nowrap
    def runs(self) -> tuple[int, int]:
        """Repeats and loops, as `depths_of` takes them."""
        return self.repeats if self.pattern else 0, 1


def _step(part: nn.Module) -> tuple[int, int]:
    """Rows and columns of what the part reads from one token to the next; SpecError for one that does not say."""
    if not hasattr(part, "step"):
        raise SpecError(
            f"{type(part).__name__} makes tokens at no fixed distance, or its class lacks a method step() that says "
            "at which, so the strides of the features are not known"
        )
    return part.step()


class Pyramid(Structure):
    """embed, then the `stages` in order, norm, and heads over the last stage's tokens.

    stages: each {"down": spec or None, "pattern": sublayers as in a Stack, "repeats": 1, "norms": …, "residual": …,
    "norm": after the stage}; the repeats of a stage are one compiled loop, and an empty pattern is a stage without
    layers. A `down` sets the width, the grid, the positions and the segments of its stage.  norms, residual: of stages
    that have none of their own.  norm: after the last stage.
    features: names of the stages whose features are outputs, and which heads find in ctx.features, such as ("stage_1",
    "stage_3") for a detector; all of them if None.  feature_norm: spec of a norm of each of these, "stage_1_norm" and
    so on, which the next stage does not read; none if None (Liu et al. 2021, as backbones of their detectors are).
    heads, remat, dtype: as in Stack.
    """

    whole_row: ClassVar[str | None] = "makes the grid of a whole row coarser"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    stages: Annotated[Sequence[Spec], NotEmpty()]
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    features: Sequence[str] | None = None
    feature_norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B T D] of the last stage, "stage_0": [B h_0 w_0 D_0], … of each, and each head's output by name}.

        The features of a stage are a map, channels last, with zeros in padding; without a grid they are [B T D]. The
        pyramid's norm applies to hidden, not to them. `strides` says how many pixels apart the positions of a map are.
        """
        self._refuse_cells(batch)
        whole = Context.of(batch, train=train, dtype=dtype_of(self.dtype))
        x, whole = self._embedded(batch, whole)
        stages = [self._stage(i, spec) for i, spec in enumerate(self.stages)]
        chosen = self._features()
        ctx, features = whole.replace(at=None, embedding=None, shared={}), {}
        for stage, depths in zip(stages, depths_of(*(stage.runs() for stage in stages)), strict=True):
            x, ctx = stage(x, ctx, depths, self.remat)
            if stage.name in chosen:
                features[stage.name] = mapped(self._feature_normed(x, stage.name), ctx)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        ctx = ctx.replace(at=whole.at, embedding=whole.embedding, shared=whole.shared)
        ctx = ctx.replace(features=features if ctx.grid else {})
        return {"hidden": x, **features, **answers(self.heads, x, ctx, batch)}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        found = []
        for i, spec in enumerate(self.stages):
            stage = self._stage(i, spec, parent=None)
            found += stacked(f"stage_{i}/layers", stage.sublayers(), stage.repeats, f"stage_{i}")
        return found

    @nn.nowrap
    def strides(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of pixels from one position to the next, for the features of each stage that are outputs.

        Raises SpecError where a part makes a grid of a fixed size, whatever that of the image.
        """
        found, (rows, columns) = {}, _step(self._embedding())
        for i, spec in enumerate(self.stages):
            down = self._stage(i, spec, parent=None).down
            p, q = (1, 1) if down is None else _step(build(DOWNS, down, parent=None))
            rows, columns = rows * p, columns * q
            found[f"stage_{i}"] = rows, columns
        return {name: found[name] for name in self._features()}

    @nn.nowrap
    def _features(self) -> tuple[str, ...]:
        """The names of the stages whose features are outputs."""
        known = tuple(f"stage_{i}" for i in range(len(self.stages)))
        for name in self.features or ():
            if name not in known:
                raise SpecError(f"a pyramid of these stages has no features {name!r}; choose from {', '.join(known)}")
        return known if self.features is None else tuple(self.features)

    def _feature_normed(self, x: Float[Array, "B T D"], name: str) -> Float[Array, "B T D"]:
        return x if self.feature_norm is None else build(NORMS, self.feature_norm, name=f"{name}_norm")(x)

    @nn.nowrap
    def _stage(self, i: int, spec: Spec, **how: Any) -> Stage:
        """Stage i, with the pyramid's norms and residual where it has none."""
        if not isinstance(spec, Mapping) or "kind" in spec:
            raise SpecError(f"stage {i} of a pyramid is a mapping with a 'pattern' and no 'kind', not {spec!r}")
        own = {"norms": self.norms, "residual": self.residual, **{k: v for k, v in spec.items() if v is not None}}
        return build({f"stage {i}": Stage}, {"kind": f"stage {i}", **own}, name=f"stage_{i}", **how)
