"""HPM: a masked autoencoder that predicts its own loss at each patch, by which a teacher hides the hard patches.

Wang, Song, Fan, Wang, Xie, Zhang, "Hard Patches Mining for Masked Image Modeling" (2023), section 3; "Bootstrap Masked
Visual Modeling via Hard Patches Mining" (2023).
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Count, NotNegative, Share
from xfm.objectives.base import Objective, answer, counted, row_weights, weighted
from xfm.objectives.masked_images import MaskedImages, hidden_of, require_autoencoder
from xfm.objectives.masks import MASKS, Split, mask_of
from xfm.objectives.teachers import followed, momentum


def ranking(scores: Float[Array, "B K"], losses: Float[Array, "B K"]) -> Float[Array, "B"]:
    """-log sigmoid(score_i - score_j), the mean over the pairs of a row in which patch i has the higher loss.

    No gradient passes through the losses. The authors' program adds 1e-6 to the sigmoid.
    """
    losses = jax.lax.stop_gradient(losses)
    scores = scores.astype(jnp.float32)
    harder = losses[:, :, None] > losses[:, None, :]
    each = -jax.nn.log_sigmoid(scores[:, :, None] - scores[:, None, :])
    return (each * harder).sum((1, 2)) / jnp.maximum(harder.sum((1, 2)), 1)


def rank_correlation(x: Float[Array, "B K"], y: Float[Array, "B K"]) -> Float[Array, "B"]:
    """Spearman's correlation of each row; equal numbers have ranks in the order in which they stand."""
    a, b = (jnp.argsort(jnp.argsort(z, axis=1), axis=1).astype(jnp.float32) for z in (x, y))
    a, b = (z - z.mean(1, keepdims=True) for z in (a, b))
    return (a * b).sum(1) / jnp.maximum(jnp.sqrt((a**2).sum(1) * (b**2).sum(1)), 1e-6)


@dataclasses.dataclass(frozen=True)
class HardPatches(Objective):
    """The loss of `masked_images` at hidden patches, and `weight` times the ranking loss of the head "losses".

    The network is an autoencoder whose heads "patches" and "losses" [B V+K X] predict a patch and its loss, which is
    the mean of the latter's X numbers. The teacher, a moving average of the network in extra["teacher"], reads the
    whole image, and by its predicted losses patches are hidden.
    mask: spec of a sampler by scores (see masks.py).  target: as in masked_images.
    over: updates after which the mask is as hard as it becomes.  momentum: of the average at the first and the last
    update, and the number of updates between (linear).
    """

    unit: ClassVar[str] = "of each patch"

    mask: Mapping[str, Any] = FrozenDict(kind="by_loss")
    target: Mapping[str, Any] = FrozenDict(kind="pixels")
    over: Count = 100_000
    momentum: tuple[Share, Share, Count] = (0.999, 0.9999, 50_000)
    weight: NotNegative = 1.0

    def __post_init__(self):
        require_autoencoder("hard_patches", self.model)
        mask_of(self.mask, *(kind for kind in MASKS if kind != "by_loss"))
        if self.plain.wanted.keeps:
            kind = self.target["kind"]
            raise XfmError(f"the target of hard_patches keeps nothing between steps, and {kind!r} does")

    @cached_property
    def plain(self) -> MaskedImages:
        """Masked image modelling without a teacher."""
        return MaskedImages(model=self.model, target=self.target)

    @property
    def networks(self):
        return {"model": self.model, "teacher": self.model}

    @property
    def terms(self):
        return {"loss": 1.0, "ranking_loss": self.weight}

    def init(self, rng, batch):
        """Fresh parameters, and as extra["teacher"] a copy of them."""
        params, extra = super().init(rng, batch)
        jax.eval_shape(lambda p: self._scores(p, batch["images"]), params)  # refuses a network without such a head
        return params, self.begun(params, extra)

    def begun(self, params, extra):
        return {**extra, "teacher": params}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "rank_correlation" is that of a row's predicted and true losses at hidden patches."""
        choose, drop = jax.random.split(rng)
        images, weights = counted(batch)
        split = self.split(images, extra["teacher"], choose, step)
        given = {"images": images, "visible": split.visible, "predicted": split.hidden}
        out, sown = self.forward("model", params, {**batch, **given}, drop, train)
        target, count = self.plain.wanted, split.hidden.shape[1]
        wanted = jax.lax.stop_gradient(hidden_of(target.of({}, images, self.model.patch), split))
        each = target.measured(answer(out, "patches")[:, -count:], wanted)["loss"]
        scores = answer(out, "losses").mean(-1)[:, -count:]
        metrics = {
            "loss": weighted(each, row_weights(batch, each.shape)),
            "ranking_loss": weighted(ranking(scores, each), weights),
            "rank_correlation": weighted(rank_correlation(scores, each), weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def split(self, images: Float[Array, "B height width C"], teacher: Any, rng: Array, step: Any) -> Split:
        """Which patches of these images are hidden at that step."""
        scores, progress = jax.lax.stop_gradient(self._scores(teacher, images)), jnp.asarray(step) / self.over
        return mask_of(self.mask)(rng, len(images), self._grid(images), scores, progress)

    def _scores(self, teacher: Any, images: Float[Array, "B height width C"]) -> Float[Array, "B T"]:
        """The losses that the teacher predicts of all patches, all of which it reads."""
        every = jnp.broadcast_to(
            jnp.arange(math.prod(self._grid(images))), (len(images), math.prod(self._grid(images)))
        )
        out, _ = self.forward("teacher", teacher, {"images": images, "visible": every, "predicted": every[:, :0]})
        return answer(out, "losses").mean(-1)

    def _grid(self, images: Float[Array, "B height width C"]) -> tuple[int, int]:
        (p, q), (_, height, width, _) = self.model.patch, images.shape
        return height // p, width // q

    def after_update(self, params, extra, step):
        """The teacher follows the network."""
        return {**extra, "teacher": followed(extra["teacher"], params, momentum(self.momentum, step))}

    def baseline(self, data):
        """As in masked_images."""
        return self.plain.baseline(data)
