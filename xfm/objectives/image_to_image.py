"""From an image to an image: a larger one, a restored one, or the state of a system some time later.

Chen et al. 2023 (HAT), section 4.1, train by the mean absolute error of pixels; Herde et al. 2024 (Poseidon) by the
absolute error relative to the size of what is predicted.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import TwoOrMore
from xfm.objectives.base import Objective, answer, array_of, row_weights, some_rows
from xfm.objectives.targets import Distance, distance
from xfm.parts.resize import resize_grid
from xfm.spec import build

Images = Float[Array, "B height width C"]
TARGET = "target/images"


def resized(images: Images, size: tuple[int, int]) -> Float[Array, "B H W C"]:
    """Images at another size, by the bicubic kernel, widened where they shrink, as Pillow resizes images."""
    return jax.vmap(lambda image: resize_grid(image, size, "bicubic_antialiased"))(images)


@dataclasses.dataclass(frozen=True)
class Given(abc.ABC):
    """Abstract. How a batch gives the images that the network reads, and those that it is to predict."""

    @abc.abstractmethod
    def read(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """The batch for the network, with its images."""

    @abc.abstractmethod
    def target(self, batch: Mapping[str, Array]) -> Float[Array, "B H W E"]:
        """The images that it is to predict."""


@dataclasses.dataclass(frozen=True)
class Pair(Given):
    """The data has both, the target as batch["target/images"]."""

    def read(self, batch):
        return {name: x for name, x in batch.items() if name != TARGET}

    def target(self, batch):
        return array_of(batch, TARGET)


@dataclasses.dataclass(frozen=True)
class Reduced(Given):
    """The data's images are the target, and the network reads them `factor` times smaller."""

    factor: TwoOrMore = 2

    def target(self, batch):
        return array_of(batch, "images")

    def read(self, batch):
        """Raises XfmError for images that the factor does not divide."""
        images = array_of(batch, "images")
        height, width = images.shape[1:3]
        if height % self.factor or width % self.factor:
            raise XfmError(
                f"images of {height} x {width} are not a multiple of {self.factor} pixels and cannot be reduced; "
                "set config.data.size to a multiple"
            )
        return {**batch, "images": resized(images, (height // self.factor, width // self.factor))}


GIVENS: Mapping[str, type] = {
    "pair": Pair,
    "reduced": Reduced,
}


@dataclasses.dataclass(frozen=True)
class ImageToImage(Objective):
    """The distance of the head "pixels" to the target, in units of the data's numbers.

    given: spec of GIVENS, where the network's images and the target come from.  distance: of two numbers.
    over: "numbers" for the mean over all numbers of a batch; "target" for the sum of the distances over the sum of
    those of the target from 0, so that the loss has no unit.
    """

    unit: ClassVar[str] = "of each number"

    given: Mapping[str, Any] = FrozenDict(kind="pair")
    distance: Distance = "absolute"
    over: Literal["numbers", "target"] = "numbers"

    def __post_init__(self):
        build(GIVENS, self.given)

    def init(self, rng, batch):
        """As in Objective, from the images that the network reads."""
        return super().init(rng, build(GIVENS, self.given).read(batch))

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective, with the metric "loss" alone."""
        given = build(GIVENS, self.given)
        read, target = given.read(batch), given.target(batch)
        out, sown = self.forward("model", params, read, rng, train)
        made = answer(out, "pixels")
        if made.shape != target.shape:
            raise XfmError(
                f"the network makes images of {made.shape[1:]}, and the target has {target.shape[1:]}; set the head "
                '"pixels" to the size and the channels of the target'
            )
        return *self.summed({"loss": self.measured(made, target, row_weights(batch, target.shape))}, batch, sown), extra

    def measured(self, made: Images, target: Images, weights: Images) -> tuple[Array, Array]:
        """The loss as a sum and what it is divided by; numbers of weight 0 count nothing, even if they are NaN."""
        apart = jnp.where(weights > 0, distance(made, target, self.distance), 0)
        size = jnp.where(weights > 0, distance(target, jnp.zeros_like(target), self.distance), 0)
        return (weights * apart).sum(), (weights * (size if self.over == "target" else 1)).sum()

    def baseline(self, data):
        """Of the images that are given, enlarged to the size of the target by the bicubic kernel."""
        given, total, count = build(GIVENS, self.given), 0.0, 0.0
        for row in some_rows(data.valid):
            batch = {name: np.asarray(x)[None] for name, x in row.items()}
            images, target = given.read(batch)["images"], given.target(batch)
            simple, same = simplest(jnp.asarray(images), target.shape), images.shape == target.shape
            one = self.measured(simple, jnp.asarray(target), jnp.ones(target.shape))
            total, count = total + float(one[0]), count + float(one[1])
        return {"the input" if same else "bicubic": total / count}


def simplest(images: Images, shape: tuple[int, ...]) -> Images:
    """The images at the size of the target, of which they are the prediction of someone who has learned nothing.

    Raises XfmError where the target has other channels.
    """
    if images.shape[-1] != shape[-1]:
        raise XfmError(f"images of {images.shape[-1]} channels are no prediction of {shape[-1]} channels")
    return resized(images, shape[1:3])
