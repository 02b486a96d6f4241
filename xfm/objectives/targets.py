"""What is predicted of a hidden patch: its pixels, its gradients' histograms, or the number of a code.

A target makes an array [B T …] of the images, and a loss for each patch. What it keeps between steps is a part of the
objective's extra state.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Fraction, Name, Number, Positive
from xfm.objectives import image_tokens
from xfm.objectives.base import cross_entropy, some_rows
from xfm.objectives.gradients import histograms
from xfm.parts.embed.patchify import patchify, seen_in

Patch = tuple[int, ...]  # rows and columns, or frames, rows and columns
Images = Float[Array, "B *sides C"]


@dataclasses.dataclass(frozen=True)
class Target(abc.ABC):
    """Abstract. What the head at hidden patches is to predict."""

    @property
    def keeps(self) -> bool:
        """Whether it keeps anything between steps."""
        return type(self).start is not Target.start

    def start(self, rng: Array, images: Images, patch: Patch) -> Any:
        """What the target keeps between steps; nothing, as a rule."""
        return {}

    @abc.abstractmethod
    def of(self, state: Any, images: Images, patch: Patch) -> Array:
        """The target of each patch [B T …], without a gradient."""

    def updated(self, state: Any, images: Images, patch: Patch, weights: Float[Array, "B"], step: Any, rng) -> Any:
        """The state that a training step uses.  weights: of the rows.  step: the number of updates before it."""
        return state

    @abc.abstractmethod
    def measured(self, predicted: Float[Array, "B K X"], wanted: Array) -> dict[str, Float[Array, "B K"]]:
        """The "loss" of each patch, and whatever else is to be logged."""

    @abc.abstractmethod
    def baseline(self, data: Any, patch: Patch) -> dict[str, float]:
        """The validation losses, by name, of predictors that have learned almost nothing, the weakest first."""

    def _known_and_seen(self, data: Any, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """The targets [B T X] of the training rows and of the validation rows that a baseline reads."""
        known, seen = (np.stack([row[seen_in(patch)] for row in some_rows(rows)]) for rows in (data.train, data.valid))
        return np.asarray(self.of({}, known, patch)), np.asarray(self.of({}, seen, patch))


Distance = Literal["squared", "absolute", "smooth"]


def distance(predicted: Float[Array, "*any"], wanted: Float[Array, "*any"], kind: Distance) -> Float[Array, "*any"]:
    """Of each number, in float32; "smooth" is half the square below 1 and linear from there on (Girshick 2015)."""
    apart = jnp.abs(predicted.astype(jnp.float32) - wanted.astype(jnp.float32))
    if kind == "absolute":
        return apart
    return apart**2 if kind == "squared" else jnp.where(apart < 1, apart**2 / 2, apart - 0.5)


def of_normal(kind: Distance) -> float:
    """The mean distance of zeros to normally distributed numbers of variance 1."""
    x = np.linspace(-8, 8, 16_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    each = np.asarray(distance(jnp.zeros(len(x)), jnp.asarray(x), kind))
    return float((each * density).sum() * (x[1] - x[0]))


def statistics(patches: Float[Array, "*any X"], eps: float = 1e-6) -> tuple[Float[Array, "*any 1"], ...]:
    """Mean and deviation of each patch's numbers; the variance is the unbiased one, plus eps."""
    mean = patches.mean(-1, keepdims=True)
    variance = ((patches - mean) ** 2).sum(-1, keepdims=True) / max(patches.shape[-1] - 1, 1)
    return mean, (variance + eps) ** 0.5


def of_windows(images: Images, patch: Patch, side: int) -> tuple[Float[Array, "B T 1"], ...]:
    """Mean and deviation of the numbers of the window of side x side patches that each patch is in.

    Raises XfmError for an image that such windows do not divide.
    """
    if side == 1:
        return statistics(patchify(images, patch))
    sizes = tuple(side * one for one in patch)
    if any(n % size for n, size in zip(images.shape[1:-1], sizes, strict=True)):
        raise XfmError(f"target 'pixels': windows of {sizes} pixels do not divide images of {images.shape[1:-1]}")
    grid = tuple(n // size for n, size in zip(images.shape[1:-1], sizes, strict=True))
    found = []
    for x in statistics(patchify(images, sizes)):
        x = x.reshape(-1, *grid, 1)
        for axis in range(len(grid)):
            x = x.repeat(side, axis + 1)
        found.append(x.reshape(len(images), -1, 1))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class Pixels(Target):
    """The pixels of a patch as (row, column, channel), and their mean distance to the predicted ones.

    scale: "image" for the pixels as the data has them; "patch" for pixels normalised by the mean and the deviation of
    their own patch (He et al. 2022, MAE, section 3, whose program adds 1e-6 to the unbiased variance); "channel" for
    each channel of a patch by its own (Tong et al. 2022, VideoMAE, whose program adds 1e-6 to the deviation).
    distance: "squared" (MAE), or "absolute" (Xie et al. 2022, SimMIM, section 3.4).
    window: with scale "patch", the side of the squares of patches that are normalised as one patch is.
    order: "channels_first" for pixels as (channel, row, column), as Hiera's program has them (Ryali et al. 2023).
    """

    scale: Literal["image", "patch", "channel"] = "image"
    distance: Distance = "squared"
    order: Literal["channels_last", "channels_first"] = "channels_last"
    window: Count = 1

    def __post_init__(self):
        if self.window > 1 and self.scale != "patch":
            raise XfmError(f"target 'pixels': window={self.window} is of scale 'patch', and scale is {self.scale!r}")

    def of(self, state, images, patch):
        x = patchify(images.astype(jnp.float32), patch)
        of_channels = x.reshape(*x.shape[:-1], -1, images.shape[-1]).swapaxes(-1, -2)
        if self.scale == "patch":
            mean, deviation = of_windows(images.astype(jnp.float32), patch, self.window)
            of_channels = (of_channels - mean[..., None]) / deviation[..., None]
        elif self.scale == "channel":
            mean, deviation = statistics(of_channels, eps=0.0)
            of_channels = (of_channels - mean) / (deviation + 1e-6)
        ordered = of_channels if self.order == "channels_first" else of_channels.swapaxes(-1, -2)
        return ordered.reshape(x.shape)

    def measured(self, predicted, wanted):
        return {"loss": distance(predicted, wanted, self.distance).mean(-1)}

    def baseline(self, data, patch):
        """Of the mean of all pixels, which is 0 for normalised ones, and of the mean of the training images.

        Absolute distances are measured from medians instead. A network that ignores the visible patches can learn the
        mean image from positions alone, so that a loss above that of "mean image" says nothing of the features.
        """
        known, seen = self._known_and_seen(data, patch)
        mean = np.median if self.distance == "absolute" else np.mean
        guesses = {"mean pixel": mean(known), "mean image": mean(known, axis=0)}
        return {
            name: float(np.asarray(distance(np.broadcast_to(guess, seen.shape), seen, self.distance)).mean())
            for name, guess in guesses.items()
        }


@dataclasses.dataclass(frozen=True)
class Hog(Target):
    """Histograms of gradients of a patch's cells, as (row, column, channel, bin), and the mean squared distance.

    Wei et al. 2022 (MaskFeat); Wang et al. 2023 (LocalMIM).  cell: side in pixels, which divides the patch.  bins: of
    directions.
    """

    cell: Count = 8
    bins: Count = 9

    def of(self, state, images, patch):
        if patch[0] % self.cell or patch[1] % self.cell:
            raise XfmError(
                f"target 'hog': cells of {self.cell} pixels do not divide a patch of {patch[0]} x {patch[1]}"
            )
        return patchify(histograms(images, self.cell, self.bins), (patch[0] // self.cell, patch[1] // self.cell))

    def measured(self, predicted, wanted):
        return {"loss": distance(predicted, wanted, "squared").mean(-1)}

    def baseline(self, data, patch):
        """Of the mean histograms of the training patches, and of those of each position."""
        known, seen = self._known_and_seen(data, patch)
        guesses = {"mean histogram": known.mean((0, 1)), "mean image": known.mean(0)}
        return {name: float(((seen - guess) ** 2).mean()) for name, guess in guesses.items()}


@dataclasses.dataclass(frozen=True)
class Codes(Target):
    """The number of the code nearest to a patch, of a codebook found by k-means over patches in the first steps.

    It stands for the discrete image tokeniser of BEiT (Bao et al. 2022, section 2.1.2) where there is none: codes start
    as patches of the first batch, and until `until` updates each moves to a moving average of the patches that are
    nearest to it, as in van den Oord et al. 2017 (VQ-VAE), appendix A.1; then they stay.
    codes: V.  until: updates after which codes stay.  decay: of the moving averages.
    """

    codes: Count = 8192
    until: CountOrZero = 100
    decay: Fraction = 0.9

    def start(self, rng, images, patch):
        width = math.prod(patch) * images.shape[-1]
        return {"codes": jnp.zeros((self.codes, width)), "count": jnp.zeros(self.codes)}

    def of(self, state, images, patch):
        return nearest_code(patchify(images.astype(jnp.float32), patch), state["codes"])

    def updated(self, state, images, patch, weights, step, rng):
        """The codes after a step of k-means, begun at random patches of the first batch; the same from `until` on."""
        x = patchify(images.astype(jnp.float32), patch)
        weight = jnp.repeat(weights, x.shape[1])
        x = x.reshape(-1, x.shape[-1])
        drawn = jax.random.categorical(rng, jnp.log(weight), shape=(self.codes,))
        begin = jnp.asarray(step) == 0
        codes = jnp.where(
            begin, jnp.asarray(x)[drawn] + 1e-3 * jax.random.normal(rng, (self.codes, x.shape[-1])), state["codes"]
        )
        count = jnp.where(begin, 1.0, state["count"])
        own = jax.nn.one_hot(nearest_code(x, codes), self.codes) * weight[:, None]
        fresh = self.decay * count + (1 - self.decay) * own.sum(0)
        moved = (self.decay * count[:, None] * codes + (1 - self.decay) * own.T @ x) / jnp.maximum(fresh, 1e-6)[:, None]
        still = jnp.asarray(step) >= self.until
        return {"codes": jnp.where(still, codes, moved), "count": jnp.where(still, count, fresh)}

    def measured(self, predicted, wanted):
        return recognised(predicted, wanted)

    def baseline(self, data, patch):
        return chance(self.codes)


@dataclasses.dataclass(frozen=True)
class ImageTokens(Target):
    """The number of the visual token at a patch, which the frozen encoder of a discrete autoencoder makes.

    Bao et al. 2022 (BEiT), section 2.1.2, with the encoder of DALL-E (see image_tokens.py). The images are scaled to 8
    pixels of a side for each patch; BEiT's program cuts them out of the files in this size.
    source: a folder with FLAVA's or DALL-E's encoder as model.safetensors, or its name on the Hub; its weights are put
    there when a run begins. None for random ones.  revision: on the Hub.
    codes: V.  width: of the first group.  blocks: of a group.  mean, std: those by which images are normalised.
    """

    source: Name | None = None
    revision: Name | None = None
    codes: Count = 8192
    width: Count = 256
    blocks: Count = 2
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5

    def start(self, rng, images, patch):
        return {"tokeniser": image_tokens.initial(rng, self.width, self.blocks, images.shape[-1], self.codes)}

    def of(self, state, images, patch):
        grid = tuple(side // step for side, step in zip(images.shape[1:3], patch, strict=True))
        x = image_tokens.scaled(images.astype(jnp.float32), tuple(image_tokens.STRIDE * side for side in grid))
        scores = image_tokens.scores(state["tokeniser"], image_tokens.levels(x, self.mean, self.std))
        return scores.argmax(-1).reshape(len(images), -1)

    def measured(self, predicted, wanted):
        return recognised(predicted, wanted)

    def baseline(self, data, patch):
        return chance(self.codes)


def recognised(predicted: Float[Array, "B K V"], wanted: Int[Array, "B K"]) -> dict[str, Float[Array, "B K"]]:
    """The cross-entropy of codes, and whether the likeliest one is right."""
    return {"loss": cross_entropy(predicted, wanted), "accuracy": predicted.argmax(-1) == wanted}


def chance(codes: int) -> dict[str, float]:
    """The cross-entropy of scores that are equal for all codes."""
    return {"chance": float(np.log(codes))}


def nearest_code(x: Float[Array, "*any X"], codes: Float[Array, "V X"]) -> Int[Array, "*any"]:
    """The number of the code at the least Euclidean distance."""
    return ((codes**2).sum(-1) - 2 * jnp.einsum("...x,vx->...v", x, codes, precision="highest")).argmin(-1)


TARGETS: Mapping[str, type] = {
    "pixels": Pixels,
    "hog": Hog,
    "codes": Codes,
    "image_tokens": ImageTokens,
}
