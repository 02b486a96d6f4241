"""LocalMIM: several layers of an encoder each reconstruct the hidden part of an image, lower layers in more detail.

Wang, Tang, Wang, Guo, Deng, Han, "Masked Image Modeling with Local Multi-Scale Reconstruction" (2023), section 3.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Count, NotNegative
from xfm.objectives.base import Objective, answer, counted, row_weights, weighted
from xfm.objectives.masked_images import require_autoencoder
from xfm.objectives.masks import Split, mask_of, split_of
from xfm.objectives.targets import TARGETS, Target
from xfm.parts.embed.latents import rows_of
from xfm.spec import build


@dataclasses.dataclass(frozen=True)
class Level:
    """What one head predicts.

    target: spec of what is predicted (see targets.py), a target that keeps nothing between steps.
    merge: side, in patches, of the windows over which the head's predictions are averaged; each window has one target.
    weight: of this level's loss in the sum.
    """

    target: Mapping[str, Any]
    merge: Count = 1
    weight: NotNegative = 1.0

    @property
    def wanted(self) -> Target:
        """The target."""
        return build(TARGETS, self.target)


def merged(x: Float[Array, "B T *X"], grid: tuple[int, int], side: int) -> Float[Array, "B windows *X"]:
    """The mean over each window of side x side patches, row by row. Raises XfmError unless they tile the grid."""
    h, w = grid
    if h % side or w % side:
        raise XfmError(f"windows of {side} x {side} patches do not divide a grid of {h} x {w}; choose another merge")
    tiles = x.reshape(x.shape[0], h // side, side, w // side, side, *x.shape[2:])
    return tiles.mean((2, 4)).reshape(x.shape[0], -1, *x.shape[2:])


@dataclasses.dataclass(frozen=True)
class LocalMaskedImages(Objective):
    """The sum over `levels`, times their weights, of each head's mean loss.

    In that mean a window counts by the share of it that is hidden. The network is an autoencoder with decoders beside
    the first one.  levels: by the head that predicts, the fields of a Level.  mask: spec of a sampler (see masks.py).
    """

    unit: ClassVar[str] = "of each number, summed over the levels"

    levels: Mapping[str, Mapping[str, Any]] = FrozenDict(patches=FrozenDict(target=FrozenDict(kind="hog", cell=16)))
    mask: Mapping[str, Any] = FrozenDict(kind="random")

    def __post_init__(self):
        require_autoencoder("local_masked_images", self.model)
        mask_of(self.mask, "multi_block", "by_loss")
        for name, level in self.parts.items():
            if level.wanted.keeps:
                kind = level.target["kind"]
                raise XfmError(f"levels.{name}: a level's target keeps nothing between steps, and {kind!r} does")

    @property
    def parts(self) -> dict[str, Level]:
        """The levels by head."""
        return {name: build({"level": Level}, {"kind": "level", **spec}) for name, spec in self.levels.items()}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "loss/HEAD" is that of a level, without its weight."""
        choose, drop = jax.random.split(rng)
        images, weights = counted(batch)
        split = split_of(self.mask, self.model.patch, images, choose)
        given = {"images": images, "visible": split.visible, "predicted": split.hidden}
        out, sown = self.forward("model", params, {**batch, **given}, drop, train)
        levels = {name: self._level(level, answer(out, name), images, split) for name, level in self.parts.items()}
        total = sum(level.weight * levels[name] for name, level in self.parts.items())
        every = row_weights(batch, weights.shape)
        metrics = {"loss": weighted(total, every)}
        metrics |= {f"loss/{name}": weighted(each, every) for name, each in levels.items()}
        return *self.summed(metrics, batch, sown), extra

    def _level(self, level: Level, made: Float[Array, "B V+K X"], images: Array, split: Split) -> Float[Array, "B"]:
        """The loss of one level for each row."""
        (p, q), (_, height, width, _) = self.model.patch, images.shape
        grid, T = (height // p, width // q), split.visible.shape[1] + split.hidden.shape[1]
        back = jnp.argsort(jnp.concatenate([split.visible, split.hidden], axis=1), axis=1)
        predicted = merged(rows_of(made, back), grid, level.merge)
        hidden = merged(split.mask(T).astype(jnp.float32), grid, level.merge)
        wanted = level.wanted.of({}, images, (p * level.merge, q * level.merge))
        each = level.wanted.measured(predicted, jax.lax.stop_gradient(wanted))["loss"]
        return (each * hidden).sum(1) / hidden.sum(1)

    def baseline(self, data):
        """The sums over the levels of their targets' weakest and strongest baselines, times their weights."""
        p, q = self.model.patch
        found = [
            [level.weight * x for x in level.wanted.baseline(data, (p * level.merge, q * level.merge)).values()]
            for level in self.parts.values()
        ]
        return {"means": sum(each[0] for each in found), "mean image": sum(each[-1] for each in found)}
