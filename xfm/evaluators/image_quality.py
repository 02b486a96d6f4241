"""How near predicted images are to the true ones: the peak signal-to-noise ratio, in decibels.

The definition is that of skimage.metrics.peak_signal_noise_ratio; over luminance and without a border: Chen et al. 2023
(HAT), section 4.1, and the luminance of ITU-R BT.601.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.pictures import side_by_side
from xfm.evaluators.rows import predict
from xfm.fields import Count, CountOrZero, Number, Positive
from xfm.objectives.image_to_image import GIVENS, simplest
from xfm.spec import build

Images = Float[Array, "B height width C"]
LUMINANCE = np.array([65.481, 128.553, 24.966], np.float32) / 255  # of red, green and blue in [0, 1]


def luminance(images: Float[Array, "B height width 3"]) -> Float[Array, "B height width 1"]:
    """The luminance of red, green and blue, less that of black; 219 / 255 is white. Grey images are their own."""
    return images if images.shape[-1] == 1 else (images * LUMINANCE).sum(-1, keepdims=True)


def peak_ratio(made: Images, true: Images, border: int = 0) -> Float[Array, "B"]:
    """10 log10(1 / mean squared difference) of each image, infinite where there is none, for numbers in [0, 1].

    border: rows and columns on each side that do not count.
    """
    inside = slice(border, -border or None)
    squares = jnp.square(made - true)[:, inside, inside].mean((1, 2, 3))
    return -10 * jnp.log10(squares)


@dataclasses.dataclass(frozen=True)
class ImageQuality(Evaluator):
    """The mean peak signal-to-noise ratio of the head "pixels", and beside it that of bicubic enlargement.

    given: where the network's images and the true ones come from, as in the objective `image_to_image`.
    mean, std: those by which the data is normalised; numbers are brought back and cut to [0, 1].
    of: all channels, or the luminance of RGB.  border: pixels on each side that do not count.
    shown: the number of examples.
    """

    given: Mapping[str, Any] = FrozenDict(kind="pair")
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    of: Literal["channels", "luminance"] = "channels"
    border: CountOrZero = 0
    shown: Count = 3

    def __post_init__(self):
        build(GIVENS, self.given)

    def run(self, forward, params, extra, data, mesh):
        """{"psnr": …, "psnr_bicubic": …}, in decibels, the means over the images; without one that is infinite."""

        def ratios(params, batch):
            simple, made, true = self._made(forward, params, batch)
            return self._ratio(made, true), self._ratio(simple, true)

        made, simple = predict(ratios, params, data.valid, mesh, self.batch)
        found = {"psnr": float(made.mean()), "psnr_bicubic": float(simple.mean())}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def examples(self, forward, params, extra, data, mesh):
        """A few validation images, each with its two ratios."""
        few, *images = self._few(forward, params, data, mesh)
        simple, made, true = map(jnp.asarray, images)
        lines = zip(few, self._ratio(made, true), self._ratio(simple, true), strict=True)
        return [f"validation row {i}: {own:.1f} dB, bicubic {other:.1f} dB" for i, own, other in lines]

    def pictures(self, forward, params, extra, data, mesh):
        """Picture "images": a row for each example, with the bicubic, the predicted and the true image."""
        return {"images": side_by_side(*self._few(forward, params, data, mesh)[1:])}

    def _few(self, forward, params, data, mesh):
        """Numbers of the examples, and their bicubic, predicted and true images."""
        few = spread_out(len(data.valid), self.shown)
        rows = [data.valid[i] for i in few]
        return few, *predict(lambda p, batch: self._made(forward, p, batch), params, rows, mesh, self.batch)

    def _made(self, forward, params, batch):
        """The bicubic, the predicted and the true images, as numbers in [0, 1]."""
        given = build(GIVENS, self.given)
        read, true = given.read(batch), given.target(batch)
        made = output(forward, "pixels", params, read)
        all_three = simplest(read["images"], true.shape), made, true
        mean, std = (jnp.asarray(np.asarray(x, np.float32)) for x in (self.mean, self.std))
        return tuple(jnp.clip(x.astype(jnp.float32) * std + mean, 0, 1) for x in all_three)

    def _ratio(self, made, true):
        made, true = (luminance(x) if self.of == "luminance" else x for x in (made, true))
        return peak_ratio(made, true, self.border)
