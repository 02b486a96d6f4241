"""Mixtures of two images, with their labels mixed in the same proportion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def mixup(
    images: Float[Array, "B h w C"], labels: Float[Array, "B classes"], alpha: float, rng: Key[Array, ""]
) -> tuple[Float[Array, "B h w C"], Float[Array, "B classes"]]:
    """λ · image + (1 - λ) · another, λ from Beta(alpha, alpha) for each row. Zhang et al. 2018, section 2."""
    share = jax.random.beta(rng, alpha, alpha, (images.shape[0],))
    return _blend(images, share[:, None, None, None]), _blend(labels, share[:, None])


def cutmix(
    images: Float[Array, "B h w C"], labels: Float[Array, "B classes"], alpha: float, rng: Key[Array, ""]
) -> tuple[Float[Array, "B h w C"], Float[Array, "B classes"]]:
    """A box of each image is taken from another image, and labels are mixed by area. Yun et al. 2019, section 3.1."""
    B, h, w, _ = images.shape
    first, second = jax.random.split(rng)
    side = jnp.sqrt(1 - jax.random.beta(first, alpha, alpha, (B, 1)))
    middle = jax.random.uniform(second, (B, 2)) * jnp.array([h, w])
    low = jnp.clip(middle - side * jnp.array([h, w]) / 2, 0).round()
    high = jnp.minimum(middle + side * jnp.array([h, w]) / 2, jnp.array([h, w])).round()
    inside = _between(jnp.arange(h), low[:, :1], high[:, :1])[:, :, None]
    inside = inside & _between(jnp.arange(w), low[:, 1:], high[:, 1:])[:, None, :]
    share = 1 - inside.mean(axis=(1, 2))
    return jnp.where(inside[..., None], _other(images), images), _blend(labels, share[:, None])


def _between(index, low, high):
    return (index >= low) & (index < high)


def _other(x):
    return jnp.roll(x, 1, axis=0)


def _blend(x, share):
    return share * x + (1 - share) * _other(x)
