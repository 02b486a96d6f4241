"""RandAugment: operations drawn at random, all of one magnitude. Cubuk, Zoph, Shlens, Le 2020.

The fifteen operations and their strengths are those of timm's increasing variant, `rand-m9-mstd0.5-inc1`, which DeiT,
Swin, ConvNeXt and MAE's fine-tuning name. Moves are bilinear here, and timm draws bilinear or bicubic for each.

Under vmap a switch computes all its branches. So there are only four of them: the moves are one affine map with
different matrices, everything that maps levels is one look-up with different tables, and colour and sharpness remain.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from xfm.augment import geometry, levels
from xfm.fields import Count, CountOrZero, NotNegative, Share

Image = Float[Array, "H W C"]
Scalar = Float[Array, ""]
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
TABLES = ("autocontrast", "equalize", "invert", "posterize", "solarize", "solarize_add", "brightness", "contrast")
BLENDS = ("colour", "sharpness")
OPS = (*MOVES, *TABLES, *BLENDS)
GREATEST = 10.0  # magnitude


def matrix(name: Int[Array, ""], amount: Scalar, height: int, width: int) -> Float[Array, "2 3"]:
    """The affine map of MOVES[name] from the new image's positions to the old one's.

    amount: from -1 to 1: of 30 degrees about the middle, of a shear of 0.3, of 0.45 of the side.
    """
    angle = -jnp.pi / 6 * amount
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    one, zero, shear = jnp.float32(1), jnp.float32(0), 0.3 * amount
    maps = [
        [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y],
        [one, shear, zero, zero, one, zero],
        [one, zero, zero, shear, one, zero],
        [one, zero, 0.45 * width * amount, zero, one, zero],
        [one, zero, zero, zero, one, 0.45 * height * amount],
    ]
    return jnp.stack([jnp.stack(one) for one in maps])[name].reshape(2, 3)


def table(name: Int[Array, ""], x: Image, strength: Scalar, sign: Scalar) -> Float[Array, "C 256"]:
    """The table of TABLES[name].  strength: from 0 to 1.  sign: 1 or -1, whether a factor grows or falls."""
    factor = enhancement(strength, sign)
    line = jnp.broadcast_to(levels.LEVELS, (x.shape[-1], 256))
    middle = jnp.floor(levels.grey(x).mean() + 0.5)
    ways = [
        lambda: levels.autocontrast(x, strength),
        lambda: levels.equalize(x, strength),
        lambda: levels.invert(x, strength),
        lambda: levels.posterize(x, 4 - jnp.floor(4 * strength)),
        lambda: levels.solarize(x, 256 - jnp.floor(256 * strength)),
        lambda: levels.solarize_add(x, jnp.floor(110 * strength)),
        lambda: levels.truncated(line * factor),
        lambda: levels.truncated(middle + factor * (line - middle)),
    ]
    return jax.lax.switch(name, ways)


def enhancement(strength: Scalar, sign: Scalar) -> Scalar:
    """The factor of brightness, contrast, colour and sharpness."""
    return jnp.maximum(1 + 0.9 * strength * sign, 0.1)


def applied(x: Image, name: Int[Array, ""], strength: Scalar, sign: Scalar, fill: Float[Array, "C"]) -> Image:
    """The image after OPS[name]; arguments as in `table`.  fill: the colour that moves bring in."""
    H, W = x.shape[:2]
    moves, tables = len(MOVES), len(TABLES)
    factor = enhancement(strength, sign)
    ways = [
        lambda: levels.rounded(geometry.affine(x, matrix(jnp.clip(name, 0, moves - 1), strength * sign, H, W), fill)),
        lambda: levels.looked_up(x, table(jnp.clip(name - moves, 0, tables - 1), x, strength, sign)),
        lambda: levels.colour(x, factor),
        lambda: levels.sharpness(x, factor),
    ]
    way = jnp.where(name < moves, 0, jnp.where(name < moves + tables, 1, 2 + name - moves - tables))
    return jax.lax.switch(way, ways)


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """`count` operations of OPS, one after another, each with probability `chance`.

    magnitude: from 0 to 10.  deviation: of the normal numbers that are added to it.
    ramp: the steps over which the magnitude rises from 0, as in EfficientTrain; 0 for none.
    fill: the level that moves bring in, in all channels.
    """

    count: Count = 2
    magnitude: NotNegative = 9.0
    deviation: NotNegative = 0.5
    chance: Share = 0.5
    ramp: CountOrZero = 0
    fill: NotNegative = 124.0

    def __call__(self, image: Image, rng: Key[Array, ""], step: Int[Array, ""]) -> Image:
        top = self.magnitude * (jnp.minimum(step / self.ramp, 1.0) if self.ramp else 1.0)
        fill = jnp.full(image.shape[-1], self.fill)
        for key in jax.random.split(rng, self.count):
            which, how, much, whether = jax.random.split(key, 4)
            name = jax.random.randint(which, (), 0, len(OPS))
            sign = jnp.where(jax.random.bernoulli(how), 1.0, -1.0)
            strength = jnp.clip(top + self.deviation * jax.random.normal(much), 0, GREATEST) / GREATEST
            changed = applied(image, name, strength, sign, fill)
            image = jnp.where(jax.random.uniform(whether) < self.chance, changed, image)
        return image
