"""The operations of an augmentation: each is a dataclass that changes one image, drawing from its own key.

Images have levels 0 to 255, and whole ones between operations; `values` marks an operation on normalised values.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from xfm.augment import geometry, levels
from xfm.augment.rand import RandAugment
from xfm.fields import Count, CountOrZero, Fraction, NotNegative, Positive, Share
from xfm.spec import Pattern, SpecError, build

Image = Float[Array, "H W C"]
Rng = Key[Array, ""]
Step = Int[Array, ""]
TRIES = 10  # boxes that are drawn until one fits


def chosen(rng: Rng, chance: float, changed: Image, image: Image) -> Image:
    """The changed image with probability `chance`."""
    return jnp.where(jax.random.uniform(rng) < chance, changed, image)


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirrors left and right with probability `chance`."""

    chance: Share = 0.5

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        return chosen(rng, self.chance, image[:, ::-1], image)


def drawn_box(
    rng: Rng, height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """Whether a box of that share of the area and that width by height fits; and (top, left, height, width)."""
    first, second, third, fourth = jax.random.split(rng, 4)
    size = jax.random.uniform(first, (TRIES,), minval=area[0], maxval=area[1]) * height * width
    shape = jnp.exp(jax.random.uniform(second, (TRIES,), minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    w, h = jnp.round(jnp.sqrt(size * shape)), jnp.round(jnp.sqrt(size / shape))
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    i = jnp.argmax(fits)
    h, w = h[i], w[i]
    top = jnp.floor(jax.random.uniform(third) * (height - h + 1))
    left = jnp.floor(jax.random.uniform(fourth) * (width - w + 1))
    return fits.any(), (top, left, h, w)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A part of random size, shape and place, scaled to `size`. Szegedy et al. 2015 ("Going Deeper with Convolutions").

    area: range of its share of the image.  ratio: range of its width by its height.  If none of ten draws fits, it is
    the largest square in the middle.
    """

    size: Count | tuple[Count, Count]
    area: tuple[Positive, Positive] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    filter: Literal["bilinear", "bicubic"] = "bicubic"

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        H, W = image.shape[:2]
        fits, box = drawn_box(rng, H, W, self.area, self.ratio)
        side = min(H, W)
        middle = ((H - side) // 2, (W - side) // 2, side, side)
        box = [jnp.where(fits, one, other).astype(jnp.float32) for one, other in zip(box, middle, strict=True)]
        return levels.rounded(geometry.scaled(image, pair(self.size), box, self.filter))


@dataclasses.dataclass(frozen=True)
class SimpleCrop:
    """DeiT III's crop (Touvron et al. 2022, section 3.2): the whole image scaled to `size`, then moved at random by at
    most `pad` pixels, with its mirror image at the edges.
    """

    size: Count | tuple[Count, Count]
    pad: CountOrZero = 4
    filter: Literal["bilinear", "bicubic"] = "bicubic"

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        H, W = pair(self.size)
        whole = tuple(map(jnp.float32, (0, 0, *image.shape[:2])))
        image = levels.rounded(geometry.scaled(image, (H, W), whole, self.filter))
        wide = jnp.pad(image, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)), "reflect")
        top, left = jax.random.randint(rng, (2,), 0, 2 * self.pad + 1)
        return jax.lax.dynamic_slice(wide, (top, left, 0), (H, W, image.shape[-1]))


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of the image of `size` pixels, anywhere in it, without scaling. Moutakanni et al. 2024, section 3.1."""

    size: Count | tuple[Count, Count]

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        H, W = pair(self.size)
        free = image.shape[0] - H, image.shape[1] - W
        if min(free) < 0:
            raise SpecError(
                f"a window of {H} x {W} pixels is larger than images of {image.shape[0]} x {image.shape[1]}"
            )
        top, left = (jax.random.randint(key, (), 0, n + 1) for key, n in zip(jax.random.split(rng), free, strict=True))
        return jax.lax.dynamic_slice(image, (top, left, 0), (H, W, image.shape[-1]))


@dataclasses.dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue by random factors, in random order, with probability `chance`.

    Factors are drawn from [1 - x, 1 + x], and the hue's turn from [-hue, hue] of the circle.
    """

    brightness: NotNegative = 0.4
    contrast: NotNegative = 0.4
    saturation: NotNegative = 0.4
    hue: Share = 0.0
    chance: Share = 1.0

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        first, second, third = jax.random.split(rng, 3)
        used = (self.brightness, self.contrast, self.saturation, self.hue)
        factor = 1 + jax.random.uniform(first, (4,), minval=-1, maxval=1) * jnp.array(used)
        ways = [
            lambda x: levels.brightness(x, factor[0]), lambda x: levels.contrast(x, factor[1]),
            lambda x: levels.colour(x, factor[2]), lambda x: levels.shifted_hue(x, factor[3] - 1),
        ]  # fmt: skip
        ways = [way for way, most in zip(ways, used, strict=True) if most]
        order = jax.random.permutation(second, len(ways))
        changed = image
        for i in range(len(ways)):
            changed = jax.lax.switch(order[i], ways, changed)
        return chosen(third, self.chance, changed, image)


@dataclasses.dataclass(frozen=True)
class Grey:
    """Brightness in every channel, with probability `chance`."""

    chance: Share = 0.2

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        return chosen(rng, self.chance, jnp.broadcast_to(levels.grey(image), image.shape), image)


@dataclasses.dataclass(frozen=True)
class Solarize:
    """Levels from `threshold` on are inverted, with probability `chance`."""

    threshold: NotNegative = 128.0
    chance: Share = 0.2

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        return chosen(rng, self.chance, jnp.where(image < self.threshold, image, 255 - image), image)


@dataclasses.dataclass(frozen=True)
class Blur:
    """A Gaussian of a radius drawn from a range, in pixels, with probability `chance`."""

    radius: tuple[NotNegative, NotNegative] = (0.1, 2.0)
    chance: Share = 0.5

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        first, second = jax.random.split(rng)
        radius = jax.random.uniform(first, minval=self.radius[0], maxval=self.radius[1])
        return chosen(second, self.chance, levels.rounded(geometry.blur(image, radius)), image)


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several operations, each as likely as another; DeiT III's 3-Augment is grey, solarised or blurred."""

    ops: Pattern

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        first, second = jax.random.split(rng)
        ways = [build(OPERATIONS, op) for op in self.ops]
        ways = [lambda x, way=way: way(x, second, step) for way in ways]
        return jax.lax.switch(jax.random.randint(first, (), 0, len(ways)), ways, image)


@dataclasses.dataclass(frozen=True)
class Erase:
    """A box is replaced by normal noise, or by the mean colour. Zhong et al. 2020 ("Random Erasing").

    chance: of an image.  area: range of the box's share.  ratio: range of its width by its height.
    """

    values: ClassVar[bool] = True

    chance: Share = 0.25
    area: tuple[Fraction, Fraction] = (0.02, 1 / 3)
    ratio: tuple[Positive, Positive] = (0.3, 10 / 3)
    fill: Literal["noise", "mean"] = "noise"

    def __call__(self, image: Image, rng: Rng, step: Step) -> Image:
        H, W = image.shape[:2]
        first, second, third = jax.random.split(rng, 3)
        fits, (top, left, h, w) = drawn_box(first, H, W, self.area, self.ratio)
        row, column = jnp.arange(H)[:, None, None], jnp.arange(W)[None, :, None]
        inside = (row >= top) & (row < top + h) & (column >= left) & (column < left + w) & fits
        new = jax.random.normal(second, image.shape) if self.fill == "noise" else jnp.zeros_like(image)
        return chosen(third, self.chance, jnp.where(inside, new, image), image)


def pair(size: Any) -> tuple[int, int]:
    """A side in pixels, or (height, width), as both."""
    return (size, size) if isinstance(size, int) else tuple(size)


def sizes(ops: Sequence[Any], size: tuple[int, int]) -> tuple[int, int]:
    """The height and width of an image after operations."""
    return next((pair(op.size) for op in reversed(ops) if hasattr(op, "size")), size)


OPERATIONS = {
    "flip": Flip,
    "random_resized_crop": RandomResizedCrop,
    "simple_crop": SimpleCrop,
    "window": Window,
    "rand_augment": RandAugment,
    "colour_jitter": ColourJitter,
    "grey": Grey,
    "solarize": Solarize,
    "blur": Blur,
    "one_of": OneOf,
    "erase": Erase,
}
