"""MP3: each patch of an image, given without its position, is to say which position it has.

Zhai, Jaitly, Ramapuram, Busbridge, Likhomanenko, Cheng, Talbott, Huang, Goh, Susskind, "Position Prediction as an
Effective Pretraining Strategy" (2022).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.objectives.base import Objective, answer, array_of, counted, cross_entropy, row_weights, weighted
from xfm.objectives.masks import mask_of, split_of


@dataclasses.dataclass(frozen=True)
class PositionPrediction(Objective):
    """Cross-entropy, in nats, of the head "positions" [B T N] at each of N patches with its number in row-major order.

    The network has no positions. Its layers attend to a random subset of the patches alone, the context; the others
    attend to the context, and no token attends to them.
    mask: spec of a sampler (see masks.py), whose hidden patches are those outside the context.
    """

    mask: Mapping[str, Any] = FrozenDict(kind="random", rate=0.75)

    def __post_init__(self):
        mask_of(self.mask, "multi_block", "by_loss")

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of patches whose position is the likeliest."""
        choose, drop = jax.random.split(rng)
        images, _ = counted(batch)
        split = split_of(self.mask, self.model.patch, images, choose)
        numbers = jnp.arange(self._patches(images))
        context = jnp.pad(~split.mask(len(numbers)), ((0, 0), (self.model.lead, 0)), constant_values=True)
        out, sown = self.forward("model", params, {**batch, "images": images, "heard": context}, drop, train)
        logits = answer(out, "positions")[:, -len(numbers) :]
        if logits.shape[-1] != len(numbers):
            raise XfmError(
                f"the head 'positions' has {logits.shape[-1]} classes, and an image has {len(numbers)} patches; set "
                "classes to that number"
            )
        labels = jnp.broadcast_to(numbers, logits.shape[:2])
        every = row_weights(batch, labels.shape)
        metrics = {
            "loss": weighted(cross_entropy(logits, labels), every),
            "accuracy": weighted(logits.argmax(-1) == labels, every),
        }
        return *self.summed(metrics, batch, sown), extra

    def _patches(self, images: Float[Array, "B height width C"]) -> int:
        return math.prod(side // one for side, one in zip(images.shape[1:3], self.model.patch, strict=True))

    def baseline(self, data):
        """The loss of predicting all positions alike."""
        return {"uniform": float(np.log(self._patches(np.asarray(array_of(data.valid[0], "images"))[None])))}
