"""Square tiles of an image or of a grid, overlapping or not, each as one vector."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.spec import SpecError


def soft_split(x: Float[Array, "B h w C"], size: int, stride: int, margin: int) -> Float[Array, "B H W tile"]:
    """The tiles of size x size at strides of `stride`, each flattened as (row, column, channel).

    margin: rows and columns of zeros around the grid. Raises SpecError where the grid holds no such tile.
    """
    H, W = ((side + 2 * margin - size) // stride + 1 for side in x.shape[1:3])
    if H < 1 or W < 1:
        raise SpecError(
            f"tiles of {size} x {size} with a margin of {margin} do not fit into a grid of {x.shape[1]} x "
            f"{x.shape[2]}; choose larger images or smaller tiles"
        )
    x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    reach = stride * (H - 1) + 1, stride * (W - 1) + 1
    offsets = [(i, j) for i in range(size) for j in range(size)]
    return jnp.concatenate([x[:, i : i + reach[0] : stride, j : j + reach[1] : stride] for i, j in offsets], axis=-1)
