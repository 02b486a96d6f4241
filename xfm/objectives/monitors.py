"""Figures by which it is seen while a network trains whether its self-supervised features collapse."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def deviation(features: Float[Array, "B *T D"], weights: Float[Array, "B"]) -> Float[Array, ""]:
    """The deviation of each feature over all rows (and tokens), the mean over features; 0 where all rows are alike.

    weights: of the rows; one of weight 0 does not count.
    """
    x, w = _rows(features, weights)
    mean = (x * w).sum(0) / w.sum()
    return jnp.sqrt(((x - mean) ** 2 * w).sum(0) / w.sum()).mean()


def mean_row(features: Float[Array, "B *T D"], weights: Float[Array, "B"]) -> Float[Array, "B *T D"]:
    """In place of each row the mean of all rows: what a predictor can know at each position that reads nothing else.

    weights: of the rows; one of weight 0 does not count.
    """
    w = weights.astype(jnp.float32).reshape(-1, *(1,) * (features.ndim - 1))
    x = jnp.where(w > 0, features.astype(jnp.float32), 0)
    return jnp.broadcast_to((x * w).sum(0) / w.sum(), x.shape)


def rank(features: Float[Array, "B *T D"], weights: Float[Array, "B"]) -> Float[Array, ""]:
    """The effective rank of the features: exp of the entropy of the shares of the singular values.

    Roy, Vetterli 2007; as a figure for self-supervised features: Garrido et al. 2023 (RankMe), section 3.2. It is 1
    where all rows lie on a line, and at most D. Rows are not centred, as there.
    """
    x, w = _rows(features, weights)
    # Not as roots of the eigenvalues of xᵀx, whose rounding they would enlarge from 1e-7 to 3e-4 of the largest.
    values = jnp.linalg.svd(x * jnp.sqrt(w), compute_uv=False)
    share = values / jnp.maximum(values.sum(), 1e-12)
    return jnp.exp(-(share * jnp.log(share + 1e-7)).sum())


def entropy(chances: Float[Array, "*any K"]) -> Float[Array, "*any"]:
    """Of probabilities, in nats."""
    return -(chances * jnp.log(jnp.maximum(chances, 1e-12))).sum(-1)


def _rows(features, weights):
    x = features.astype(jnp.float32).reshape(-1, features.shape[-1])
    w = jnp.repeat(weights, len(x) // len(weights))[:, None]
    return jnp.where(w > 0, x, 0), w
