"""Pictures of what a masked autoencoder makes of the hidden part of images. He et al. 2022 (MAE), figure 2."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.fields import Count, Fraction
from xfm.objectives.masks import Split, random
from xfm.objectives.targets import statistics
from xfm.parts.embed.latents import rows_of
from xfm.parts.embed.patchify import patchify

SEED = 0
LEAST = 128  # pixels of a side of an image in a picture


def unpatchify(
    patches: Float[Array, "B T patch"], patch: tuple[int, int], grid: tuple[int, int]
) -> Float[Array, "B height width C"]:
    """The inverse of `patchify`, for patches of a grid (h, w)."""
    (p, q), (h, w) = patch, grid
    x = patches.reshape(patches.shape[0], h, w, p, q, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(x.shape[0], h * p, w * q, -1)


def reconstructed(
    images: Float[Array, "B height width C"],
    predicted: Float[Array, "B K patch"],
    split: Split,
    patch: tuple[int, int],
    scale: Literal["image", "patch"],
) -> Float[Array, "B height width C"]:
    """The images with the predicted patches in the place of the hidden ones.

    scale: "patch" if normalised pixels are predicted. Their mean and deviation are then those of the visible patches,
    averaged over the image: hidden ones are not known where something is reconstructed, and with their own statistics
    a picture would look better than the prediction is.
    """
    x = patchify(images, patch)
    if scale == "patch":
        mean, deviation = (a.mean(1, keepdims=True) for a in statistics(rows_of(x, split.visible)))
        predicted = predicted * deviation + mean
    filled = x.at[jnp.arange(len(x))[:, None], split.hidden].set(predicted.astype(x.dtype))
    grid = images.shape[1] // patch[0], images.shape[2] // patch[1]
    return unpatchify(filled, patch, grid)


def enlarged(x: Shaped[np.ndarray, "H W C"]) -> Shaped[np.ndarray, "H*n W*n C"]:
    """An image with each pixel as a square, so large that no side is below LEAST pixels."""
    times = max(1, -(-LEAST // min(x.shape[:2])))
    return x.repeat(times, 0).repeat(times, 1)


def side_by_side(*columns: Float[np.ndarray, "B height width C"], edge: int = 1) -> UInt8[np.ndarray, "H W C"]:
    """One picture, a row for each image, from the least number (black) of the last column to the greatest (white).

    Small images are enlarged.
    """
    low, high = columns[-1].min(), columns[-1].max()
    levels = [np.clip((c - low) / max(high - low, 1e-6), 0, 1) for c in columns]
    large = [np.stack([enlarged(image) for image in c]) for c in levels]
    framed = [np.pad(c, ((0, 0), (edge, edge), (edge, edge), (0, 0)), constant_values=1) for c in large]
    whole = np.concatenate([np.concatenate(list(c), axis=0) for c in framed], axis=1)
    return np.round(255 * whole).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Reconstructions(Evaluator):
    """A picture of a few validation images: what is visible of them, their reconstruction, and the images themselves.

    patch: the side of the network's patches, or (rows, columns).  rate: share of the patches that is hidden.
    scale: that of the predicted pixels, as in the objective's target.  shown: the number of images.
    """

    patch: Count | tuple[Count, Count] = 16
    rate: Fraction = 0.75
    scale: Literal["image", "patch"] = "patch"
    shown: Count = 3

    def examples(self, forward, params, extra, data, mesh):
        """For each image, the mean squared error of its hidden pixels, and that of the mean of its visible pixels."""
        few, images, filled, visible = self._made(forward, params, data, mesh)
        lines = []
        for i, whole, made, known in zip(few, images, filled, visible, strict=True):
            hidden = (made - whole)[~known] ** 2
            mean = (whole[known].mean() - whole[~known]) ** 2
            lines.append(
                f"validation row {i}: hidden pixels are off by {hidden.mean():.3f}, their mean by {mean.mean():.3f}"
            )
        return lines

    def pictures(self, forward, params, extra, data, mesh):
        """{"reconstructions": one picture}."""
        _, images, filled, visible = self._made(forward, params, data, mesh)
        grey = np.where(visible, images, (images.min() + images.max()) / 2)
        return {"reconstructions": side_by_side(grey, filled, images)}

    def _made(self, forward, params, data, mesh):
        """Numbers of the rows, their images, the reconstructed ones, and which pixels are visible."""
        few = spread_out(len(data.valid), self.shown)
        patch = (self.patch, self.patch) if isinstance(self.patch, int) else self.patch
        rows = [{"images": data.valid[i]["images"], "number": np.int32(i)} for i in few]
        whole = functools.partial(self._reconstruct, forward, patch)
        return few, np.stack([row["images"] for row in rows]), *predict(whole, params, rows, mesh, self.batch)

    def _reconstruct(self, forward, patch, params, batch):
        images, numbers = batch["images"], batch["number"]
        grid = images.shape[1] // patch[0], images.shape[2] // patch[1]
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(SEED)))(numbers)
        split = Split(*(x[:, 0] for x in jax.vmap(lambda key: random(key, 1, grid, rate=self.rate)[:2])(keys)))
        given = {**batch, "visible": split.visible, "predicted": split.hidden}
        made = output(forward, "patches", params, given)[:, -split.hidden.shape[1] :]
        known = ~split.mask(grid[0] * grid[1])[..., None]
        pixels = jnp.broadcast_to(known, (*known.shape[:2], patch[0] * patch[1] * images.shape[-1]))
        return reconstructed(images, made, split, patch, self.scale), unpatchify(pixels, patch, grid)
