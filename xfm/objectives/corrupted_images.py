"""SiT: groups of an image's pixels are corrupted and drawn again, and two views of an image have alike class tokens.

Atito, Awais, Kittler, "SiT: Self-supervised vIsion Transformer" (2021), in the form of the authors' program.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from xfm.fields import Count, Fraction, NotNegative, Positive, Share
from xfm.objectives.base import Objective, answer, array_of, row_weights, weighted
from xfm.objectives.contrast import infonce
from xfm.objectives.self_distillation import NAME, views_of
from xfm.objectives.targets import Pixels
from xfm.objectives.teachers import cosine_momentum, followed

MOST = 128  # rectangles that are drawn for an image


def groups(
    rng: Key[Array, ""], rows: int, size: tuple[int, int], share: Float[Array, "B"], align: int, largest: float
) -> Bool[Array, "B height width"]:
    """The pixels in rectangles that are drawn one after another until they cover this share of the image, or more.

    The sides are uniform between `align` pixels and `largest` of the image's, the first rows and columns between 0 and
    the side less `align`; both are multiples of `align`, and what is outside the image is cut off.
    """
    down, across = (jnp.arange(n) for n in size)

    def one(key, share):
        def add(covered, chance):
            edges = []
            for n, start, extent in zip(size, chance[:2], chance[2:], strict=True):
                most = max(int(n * largest), align + 1)
                first = jnp.floor(start * max(n - align, 1)) // align * align
                tall = jnp.minimum(jnp.floor(align + extent * (most - align)), n - first)
                edges += [first, first + jnp.round(tall / align) * align]
            inside = ((down >= edges[0]) & (down < edges[1]))[:, None] & (across >= edges[2]) & (across < edges[3])
            return covered | (inside & (covered.mean() < share)), None

        draws = jax.random.uniform(key, (MOST, 4))
        return jax.lax.scan(add, jnp.zeros(size, bool), draws)[0]

    return jax.vmap(one)(jax.random.split(rng, rows), share)


def others(weights: Float[Array, "B"]) -> Int[Array, "B"]:
    """For each row that counts the number of another one: the one before it, and for the first one the last."""
    B = len(weights)
    before = (jnp.arange(B)[:, None] - 1 - jnp.arange(B)) % B
    return before[jnp.arange(B), (weights[before] > 0).argmax(1)]


@dataclasses.dataclass(frozen=True)
class CorruptedImages(Objective):
    """weight · the mean absolute error of corrupted pixels + the contrast of two views, in both directions.

    Each view of an image is corrupted by itself: zeros over a share `zeros` of it, or, with probability `chance`,
    the pixels that another image has there, over a share `replaced`. The head "pixels" draws the view as it was. The
    head "vector" of a corrupted view is to be nearer to the teacher's of the other view, which is not corrupted, than
    to the teacher's of all other images: InfoNCE by cosines over `temperature`, times 2 · temperature (Chen et al.
    2021, MoCo v3, algorithm 1). Views are batch["images"] and a second large one, as config.augment makes them; without
    it, as in validation, the images are compared with themselves. The teacher is a moving average of the network.
    align: corrupted rectangles have multiples of so many pixels.  largest: side of a rectangle, as a share of that of
    the image.  momentum: of the teacher, first, last, and updates from one to the other (half a cosine).
    """

    unit: ClassVar[str] = "of each corrupted pixel"

    weight: NotNegative = 1.0
    zeros: Fraction = 0.5
    replaced: Fraction = 0.3
    chance: Share = 0.5
    align: Count = 1
    largest: Fraction = 0.3
    temperature: Positive = 0.2
    momentum: tuple[Share, Share, Count] = (0.996, 1.0, 125_000)

    @property
    def networks(self):
        return {"model": self.model, "teacher": self.model}

    def init(self, rng, batch):
        """Fresh parameters, and as extra["teacher"] a copy of them."""
        params, extra = super().init(rng, batch)
        return params, self.begun(params, extra)

    def begun(self, params, extra):
        return {**extra, "teacher": params}

    @property
    def terms(self):
        return {"loss": self.weight, "contrast_loss": 1.0}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "loss" is the error of corrupted pixels; "accuracy" is of finding one's own other view."""
        damage, drop = jax.random.split(rng)
        weights = row_weights(batch, array_of(batch, NAME).shape[:1])
        views = views_of(batch, weights)[0][:2]
        keys = jax.random.split(damage, len(views))
        damaged, masks = zip(
            *(self.corrupted(x, weights, key) for x, key in zip(views, keys, strict=True)), strict=True
        )
        clean, mask, every = jnp.concatenate(views), jnp.concatenate(masks), jnp.tile(weights, 2)
        taught, _ = self.forward("teacher", jax.lax.stop_gradient(extra["teacher"]), {NAME: clean})
        made, sown = self.forward("model", params, {NAME: jnp.concatenate(damaged)}, drop, train)
        apart = jnp.abs(answer(made, "pixels").astype(jnp.float32) - clean).mean(-1)
        metrics = {"loss": weighted(apart, mask * every[:, None, None])}
        own, wanted = (jnp.split(answer(out, "vector"), 2) for out in (made, taught))
        pairs = [jnp.stack([own[i], jax.lax.stop_gradient(wanted[1 - i])], axis=1) for i in range(2)]
        each, right = zip(*(infonce(pair, None, weights > 0, self.temperature) for pair in pairs), strict=True)
        metrics["contrast_loss"] = weighted(2 * self.temperature * (each[0] + each[1]), weights)
        metrics["accuracy"] = weighted(jnp.stack(right).mean(0), weights)
        return *self.summed(metrics, batch, sown), extra

    def corrupted(
        self, images: Float[Array, "B height width C"], weights: Float[Array, "B"], rng: Key[Array, ""]
    ) -> tuple[Float[Array, "B height width C"], Bool[Array, "B height width"]]:
        """The corrupted images, and which of their pixels are corrupted.  weights: 0 for rows that do not count."""
        choose, where = jax.random.split(rng)
        swaps = jax.random.uniform(choose, (len(images),)) < self.chance
        share = jnp.where(swaps, self.replaced, self.zeros)
        mask = groups(where, len(images), images.shape[1:3], share, self.align, self.largest)
        instead = jnp.where(swaps[:, None, None, None], images[others(weights)], 0)
        return jnp.where(mask[..., None], instead, images), mask

    def after_update(self, params, extra, step):
        """The teacher follows the network."""
        return {**extra, "teacher": followed(extra["teacher"], params, cosine_momentum(self.momentum, step))}

    def baseline(self, data):
        """The mean absolute errors of the median pixel and of the median image."""
        return Pixels(distance="absolute").baseline(data, self.model.patch)
