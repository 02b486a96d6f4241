"""Tiles of several sizes at the same places of a grid, side by side in one vector: the cross-scale embedding layer.

Wang, Yao, Chen, Lin, Cai, He, Liu, "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
2022, section 3.1.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.parts.conv import Conv
from xfm.spec import SpecError


def shares(width: int, count: int) -> list[int]:
    """The widths of `count` convolutions: half of what is left for each, and all of it for the last."""
    return [width >> min(i + 1, count - 1) for i in range(count)]


class Scales(nn.Module):
    """The outputs of a convolution for each size of tile, concatenated; smaller tiles have more of the channels.

    width: of the output, which 2 to the number of sizes less 1 divides.  sizes: sides of the tiles, each larger than
    the stride by an even number, so that all are centred alike.  kind: the part's name in errors.
    Raises SpecError for sizes or a width that do not fit, and for a grid that the stride does not divide.
    """

    width: int
    sizes: tuple[int, ...]
    stride: int
    kind: str

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h/stride w/stride width"]:
        stride, count = self.stride, len(self.sizes)
        if any(size < stride or (size - stride) % 2 for size in self.sizes):
            raise SpecError(
                f"{self.kind} has tiles of {', '.join(map(str, self.sizes))} at strides of {stride}, which are not "
                "centred alike; choose sizes that are larger than the stride by even numbers"
            )
        if self.width % 2 ** (count - 1):
            raise SpecError(
                f"{self.kind} divides its width into halves {count - 1} times, and {self.width} does not divide so; "
                f"choose a multiple of {2 ** (count - 1)}"
            )
        if x.shape[1] % stride or x.shape[2] % stride:
            raise SpecError(
                f"{self.kind} has strides of {stride}, which do not divide {x.shape[1]} x {x.shape[2]}; "
                "choose another size of the image"
            )
        made = [
            Conv(width, (size, size), (stride, stride), ((size - stride) // 2,) * 2, name=f"conv_{i}")(x)
            for i, (width, size) in enumerate(zip(shares(self.width, count), self.sizes, strict=True))
        ]
        return jnp.concatenate(made, axis=-1)
