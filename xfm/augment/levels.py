"""What changes the levels of an image's pixels: Pillow's operations, for one image under jit.

Images are [H W C] float32 that hold whole levels 0 to 255, C being 1 or 3. Pillow's ImageOps and ImageEnhance are the
oracles (tests/augment). Those that map each level to another are tables [C 256], so that one look-up serves them all.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Image = Float[Array, "H W C"]
Table = Float[Array, "C 256"]
Scalar = Float[Array, ""]
LEVELS = np.arange(256, dtype=np.float32)
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def truncated(x: Image) -> Image:
    """Levels without their fractions, within 0 to 255, as Pillow stores them."""
    return jnp.floor(jnp.clip(x, 0, 255))


def rounded(x: Image) -> Image:
    """The nearest levels within 0 to 255; halves go up, as in Pillow."""
    return jnp.floor(jnp.clip(x, 0, 255) + 0.5)


def grey(x: Image) -> Float[Array, "H W 1"]:
    """The brightness of each pixel, Pillow's mode L."""
    if x.shape[-1] == 1:
        return x
    red, green, blue = (x[..., i : i + 1] for i in range(3))
    return jnp.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)


def blended(first: Image, second: Image, share: Scalar) -> Image:
    """first + share · (second - first), which a share outside 0 to 1 exaggerates."""
    return truncated(first + share * (second - first))


def contrast(x: Image, factor: Scalar) -> Image:
    """Away from the mean brightness by a factor; 1 changes nothing, 0 gives even grey."""
    return blended(jnp.floor(grey(x).mean() + 0.5), x, factor)


def brightness(x: Image, factor: Scalar) -> Image:
    """Away from black by a factor."""
    return blended(jnp.zeros_like(x), x, factor)


def colour(x: Image, factor: Scalar) -> Image:
    """Away from the grey image by a factor, which is Pillow's ImageEnhance.Color."""
    return blended(jnp.broadcast_to(grey(x), x.shape), x, factor)


def sharpness(x: Image, factor: Scalar) -> Image:
    """Away from a smoothed image by a factor; the outermost pixels are not smoothed."""
    C = x.shape[-1]
    kernel = jnp.broadcast_to(SMOOTH[..., None, None], (3, 3, 1, C))
    how = dict(window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    inner = jax.lax.conv_general_dilated(x[None], kernel, feature_group_count=C, precision="highest", **how)[0]
    return blended(jnp.asarray(x).at[1:-1, 1:-1].set(rounded(inner)), x, factor)


def looked_up(x: Image, table: Table) -> Image:
    """The image with each level replaced by that of the table."""
    return jnp.stack([jnp.take(table[c], x[..., c].astype(jnp.int32)) for c in range(x.shape[-1])], axis=-1)


def invert(x: Image, amount: Scalar) -> Table:
    """255 - level."""
    return _same(x, 255 - LEVELS)


def posterize(x: Image, bits: Scalar) -> Table:
    """Only the upper bits of each level."""
    step = 2.0 ** (8 - bits)
    return _same(x, jnp.floor(LEVELS / step) * step)


def solarize(x: Image, threshold: Scalar) -> Table:
    """Levels from the threshold on are inverted."""
    return _same(x, jnp.where(LEVELS < threshold, LEVELS, 255 - LEVELS))


def solarize_add(x: Image, added: Scalar) -> Table:
    """A number is added to levels below 128."""
    return _same(x, jnp.where(LEVELS < 128, jnp.minimum(LEVELS + added, 255), LEVELS))


def autocontrast(x: Image, amount: Scalar) -> Table:
    """Each channel is stretched so that its levels reach from 0 to 255."""
    low, high = x.min((0, 1))[:, None], x.max((0, 1))[:, None]
    scale = 255 / jnp.maximum(high - low, 1)
    return jnp.where(high > low, truncated(LEVELS * scale - low * scale + 1e-4), LEVELS)


def equalize(x: Image, amount: Scalar) -> Table:
    """Each channel's levels become as frequent as one another, as far as a table can make them."""

    def of(channel):
        counts = jnp.zeros(256, jnp.int32).at[channel.astype(jnp.int32).reshape(-1)].add(1)
        last = counts[channel.max().astype(jnp.int32)]
        step = (channel.size - last) // 255
        before = jnp.cumsum(counts) - counts
        table = jnp.minimum((step // 2 + before) // jnp.maximum(step, 1), 255)
        return jnp.where((step == 0) | (last == channel.size), LEVELS, table.astype(jnp.float32))

    return jax.vmap(of, in_axes=-1)(x)


def shifted_hue(x: Image, share: Scalar) -> Image:
    """The hue turned by a share of the circle, in HSV. Grey images stay as they are."""
    if x.shape[-1] == 1:
        return x
    top, low = x.max(-1), x.min(-1)
    span = jnp.maximum(top - low, 1e-6)
    red, green, blue = (x[..., i] for i in range(3))
    sector = jnp.where(top == red, (green - blue) / span % 6, (blue - red) / span + 2)
    sector = jnp.where((top == blue) & (top != red) & (top != green), (red - green) / span + 4, sector)
    hue = (sector + 6 * share)[..., None] + jnp.array([5.0, 3.0, 1.0])
    ramp = jnp.clip(jnp.minimum(hue % 6, 4 - hue % 6), 0, 1)
    return rounded(top[..., None] - (top - low)[..., None] * ramp)


def _same(x: Image, table: Float[Array, "256"]) -> Table:
    return jnp.broadcast_to(table, (x.shape[-1], 256))
