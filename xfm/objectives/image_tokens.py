"""The encoder of DALL-E's discrete autoencoder, which makes a map of visual tokens of an image.

Ramesh, Pavlov, Goh, Gray, Voss, Radford, Chen, Sutskever, "Zero-Shot Text-to-Image Generation" (2021), appendix A.1:
four groups of residual blocks, of which all but the last halve the map and the later ones double its width. The codes
are BEiT's targets (Bao et al. 2022, section 2.1.2) and FLAVA's. The oracle is transformers' FlavaImageCodebook.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.parts.resize import resize_matrix

GROUPS = 4
STRIDE = 2 ** (GROUPS - 1)  # pixels of a code
MARGIN = 0.1  # of the levels that the encoder reads below and above those of an image

Params = Mapping[str, Any]


def widths(width: int, blocks: int, channels: int, codes: int) -> dict[str, tuple[int, ...]]:
    """Path of each convolution -> the shape of its kernel, (rows, columns, channels in, channels out)."""
    found, before = {"input": (7, 7, channels, width)}, width
    for group in range(GROUPS):
        after = width * 2**group
        for block in range(blocks):
            path, inner = f"group_{group + 1}/block_{block + 1}", after // 4
            if before != after:
                found[f"{path}/identity"] = (1, 1, before, after)
            found |= {f"{path}/conv_1": (3, 3, before, inner)}
            found |= {f"{path}/conv_{i}": (3, 3, inner, inner) for i in (2, 3)}
            found |= {f"{path}/conv_4": (1, 1, inner, after)}
            before = after
    return found | {"output": (1, 1, before, codes)}


def initial(rng: Array, width: int, blocks: int, channels: int, codes: int) -> dict[str, Any]:
    """Random parameters: path of a convolution -> {"kernel", "bias"}, with a variance of 1 / (numbers read)."""
    shapes = widths(width, blocks, channels, codes)
    keys = jax.random.split(rng, len(shapes))
    return {
        path: {
            "kernel": jax.random.normal(key, shape) / math.sqrt(math.prod(shape[:-1])),
            "bias": jnp.zeros(shape[-1]),
        }
        for key, (path, shape) in zip(keys, shapes.items(), strict=True)
    }


def scores(params: Params, images: Float[Array, "B H W C"]) -> Float[Array, "B h w V"]:
    """The score of each code at each position, of images with levels as `levels` makes them; h = H / 8."""

    def conv(path: str, x: Array) -> Array:
        kernel, bias = params[path]["kernel"].astype(x.dtype), params[path]["bias"].astype(x.dtype)
        return (
            jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
        )

    blocks = sum(path.startswith("group_1/") and path.endswith("conv_1") for path in params)
    gain = 1 / (GROUPS * blocks) ** 2
    x = conv("input", images)
    for group in range(1, GROUPS + 1):
        for block in range(1, blocks + 1):
            path, h = f"group_{group}/block_{block}", x
            for i in range(1, 5):
                h = conv(f"{path}/conv_{i}", jax.nn.relu(h))
            x = (conv(f"{path}/identity", x) if f"{path}/identity" in params else x) + gain * h
        x = pooled(x) if group < GROUPS else x
    return conv("output", jax.nn.relu(x))


def pooled(x: Float[Array, "B H W D"]) -> Float[Array, "B H/2 W/2 D"]:
    """The largest of each two by two numbers; an odd last row or column is left out."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def levels(images: Float[Array, "B H W C"], mean: Any, std: Any) -> Float[Array, "B H W C"]:
    """What the encoder reads of normalised images: levels from 0 to 1, moved to 0.1 to 0.9."""
    x = images.astype(jnp.float32) * jnp.asarray(std, jnp.float32) + jnp.asarray(mean, jnp.float32)
    return (1 - 2 * MARGIN) * jnp.clip(x, 0, 1) + MARGIN


def scaled(images: Float[Array, "B H W C"], size: tuple[int, int]) -> Float[Array, "B h w C"]:
    """The images at a size, by antialiased bicubic interpolation."""
    for axis, after in ((1, size[0]), (2, size[1])):
        if (before := images.shape[axis]) != after:
            matrix = resize_matrix(before, after, "bicubic_antialiased")
            images = jnp.moveaxis(jnp.tensordot(matrix, images, (1, axis), precision="highest"), 0, axis)
    return images
