"""Low-frequency cropping: an image of B x B pixels from the centre of a larger one's spectrum.

Wang, Yue, Lu, Liu, Zhong, Song, Huang, "EfficientTrain: Exploring Generalized Curriculum Learning for Training Visual
Backbones" (2023), section 4.1. The discrete Fourier transform, the crop and the inverse are linear and separable, so
that they are one matrix for rows and one for columns, and no transform is computed.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


def crop_matrix(source: int, band: int) -> Complex[np.ndarray, "band source"]:
    """The map from `source` samples to `band` samples that keeps the `band` lowest frequencies and the mean.

    For an even band, the frequency -band/2 is kept and band/2 is not, as in a shifted spectrum.
    """
    frequency = np.arange(band) - band // 2
    forward = np.exp(-2j * np.pi * np.outer(frequency, np.arange(source)) / source)
    inverse = np.exp(2j * np.pi * np.outer(np.arange(band), frequency) / band)
    return inverse @ forward / source


def low_frequencies(images: Float[Array, "B H W C"], band: int) -> Float[Array, "B band band C"]:
    """The images with only their lowest frequencies, at `band` x `band` pixels; themselves if they have that size."""
    if images.shape[1:3] == (band, band):
        return images
    rows, columns = (crop_matrix(size, band) for size in images.shape[1:3])

    def through(row, column):
        row, column = (jnp.asarray(m, images.dtype) for m in (row, column))
        return jnp.einsum("ph,bhwc,qw->bpqc", row, images, column, precision="highest")

    return through(rows.real, columns.real) - through(rows.imag, columns.imag)
