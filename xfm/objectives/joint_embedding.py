"""I-JEPA: the features of target blocks are predicted from the features of a context block of the same image.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas, "Self-Supervised Learning from Images with a
Joint-Embedding Predictive Architecture" (2023), section 3.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.fields import Count, Share
from xfm.objectives.base import Objective, answer, counted, row_weights, weighted
from xfm.objectives.masked_images import require_autoencoder
from xfm.objectives.masks import Split, mask_of, split_of
from xfm.objectives.monitors import deviation, mean_row
from xfm.objectives.targets import Distance, distance, of_normal
from xfm.objectives.teachers import followed, momentum
from xfm.parts.embed.latents import rows_of


@dataclasses.dataclass(frozen=True)
class JointEmbedding(Objective):
    """The distance between the target encoder's features at each target block and the predictor's, mean over blocks.

    The network is an autoencoder: its encoder reads the context, and its decoder is the predictor, which for each
    target block reads the context's tokens and mask tokens at the block's patches; its head "patches" gives features of
    the encoder's width. The target encoder reads the whole image. It is a moving average of the encoder, kept in
    extra["teacher"], and no gradient passes through it. Its features are normalised per patch (as in the authors'
    program).
    mask: a sampler of target blocks.  momentum: that of the average at the first and at the last update, and the number
    of updates from one to the other (linear).  distance: "smooth" in the authors' program, "squared" in the paper.
    """

    unit: ClassVar[str] = "of each feature"

    mask: Mapping[str, Any] = FrozenDict(kind="multi_block")
    momentum: tuple[Share, Share, Count] = (0.996, 1.0, 100_000)
    distance: Distance = "smooth"

    def __post_init__(self):
        require_autoencoder("joint_embedding", self.model)
        mask_of(self.mask, "by_loss")

    @property
    def networks(self):
        return {"model": self.model, "teacher": self.model}

    def init(self, rng, batch):
        """Fresh parameters, and as extra["teacher"] a copy of the encoder's."""
        params, extra = super().init(rng, batch)
        return params, self.begun(params, extra)

    def begun(self, params, extra):
        return {**extra, "teacher": encoder_of(params)}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside the loss there is "deviation" of the target features over all patches of the batch.

        Where it goes to 0, all images have the same features: the networks have collapsed. "mean_image" is the loss of
        predicting at each position the batch's mean of the target features there. A predictor whose loss is not below
        it has learned positions alone.
        """
        choose, drop = jax.random.split(rng)
        images, weights = counted(batch)
        split = self.split(images, choose)
        given = {"images": images, "visible": split.visible, "predicted": split.hidden}
        given |= {} if split.real is None else {"real": split.real}
        out, sown = self.forward("model", params, {**batch, **given}, drop, train)
        predicted = answer(out, "patches")[..., -split.hidden.shape[-1] :, :]
        features = self.targets(extra["teacher"], images)
        rows, mean = (
            rows_of(x, split.hidden.reshape(len(images), -1)).reshape(*split.hidden.shape, -1)
            for x in (features, mean_row(features, weights))
        )
        every = row_weights(batch, split.hidden.shape)
        metrics = {
            "loss": weighted(distance(predicted, rows, self.distance).mean(-1), every),
            "mean_image": weighted(distance(mean, rows, self.distance).mean(-1), every),
            "deviation": (deviation(features, weights), jnp.float32(1)),
        }
        return *self.summed(metrics, batch, sown), extra

    def split(self, images: Float[Array, "B height width C"], rng: Array) -> Split:
        """Context and targets of these images."""
        return split_of(self.mask, self.model.patch, images, rng)

    def targets(self, teacher: Any, images: Float[Array, "B height width C"]) -> Float[Array, "B T D"]:
        """The normalised features of all patches by the target encoder."""
        out, _ = self.forward("teacher", teacher, {"images": images})
        x = jax.lax.stop_gradient(out["hidden"])[:, self.model.lead :].astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-5)

    def after_update(self, params, extra, step):
        """The target encoder follows the encoder."""
        return {**extra, "teacher": followed(extra["teacher"], encoder_of(params), momentum(self.momentum, step))}

    def baseline(self, data):
        """The loss of a predictor of zeros, if features are normally distributed."""
        return {"zeros": of_normal(self.distance)}


def encoder_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without those of the predictor."""
    return {name: p for name, p in params.items() if name != "decoder"}
