"""Pooling from the tokens of packed texts to one vector per text. Reimers, Gurevych 2019 (Sentence-BERT), section 3."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def pooled(
    hidden: Float[Array, "R T D"],
    text: Int[Array, "R T"],
    position: Int[Array, "R T"],
    slots: int,
    modes: tuple[str, ...],
    skip: Int[Array, ""] | int = 0,
) -> Float[Array, "R S E"]:
    """The vectors of texts 1 to S of each row, float32; E is D times the number of modes.

    text: the number of each token's text in its row, from 1; 0 for padding, whose values have no effect.
    position: of each token in its text, from 0.  slots: S.  modes: names of `modules.MODES`, concatenated.
    skip: the number of tokens at the beginning of a text that are left out.
    """
    real = text > 0
    hidden = jnp.where(real[..., None], hidden, 0).astype(jnp.float32)
    of = text[:, None, :] == 1 + jnp.arange(slots)[None, :, None]
    member = of & (position >= skip)[:, None, :]
    weight = member.astype(jnp.float32)

    def total(weights):
        return jnp.einsum("rst,rtd->rsd", weights, hidden, precision="highest")

    def at(index):
        return jnp.take_along_axis(hidden, index[..., None], axis=1)

    count = jnp.maximum(weight.sum(axis=-1, keepdims=True), 1e-9)
    some = member.any(axis=-1, keepdims=True)
    found = []
    for mode in modes:
        if mode == "mean":
            found.append(total(weight) / count)
        elif mode == "mean_sqrt_len_tokens":
            found.append(total(weight) / jnp.sqrt(count))
        elif mode == "weightedmean":
            later = weight * (position + 1.0)[:, None, :]
            found.append(total(later) / jnp.maximum(later.sum(axis=-1, keepdims=True), 1e-9))
        elif mode == "cls":
            found.append(at(jnp.argmax(jnp.where(some, member, of), axis=-1)))
        elif mode == "lasttoken":
            last = text.shape[1] - 1 - jnp.argmax(member[..., ::-1], axis=-1)
            found.append(jnp.where(some, at(last), 0))
        else:
            found.append(_largest(hidden, jnp.where(position >= skip, text, 0), slots))
    return jnp.concatenate(found, axis=-1)


def _largest(hidden, text, slots: int):
    """The largest value of each feature over the tokens of each text."""
    rows, _, width = hidden.shape
    slot = jnp.where(text > 0, jnp.arange(rows)[:, None] * slots + text - 1, rows * slots)
    largest = jax.ops.segment_max(hidden.reshape(-1, width), slot.ravel(), num_segments=rows * slots + 1)
    return largest[:-1].reshape(rows, slots, width)
