"""Pairs for next-sentence prediction, made on the device. Devlin et al. 2019 (BERT), section 3.1, task 2."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from xfm.vocabulary import Vocabulary


def pair_up(
    tokens: Int[Array, "B T"], vocabulary: Vocabulary, rng
) -> tuple[Int[Array, "B T"], Int[Array, "B T"], Int[Array, "B"]]:
    """[CLS] A [SEP] B [SEP], the types (0 for A, 1 for B), and labels: 0 where B follows A, 1 where it does not.

    Rows hold running text. Its second half follows the first; for half of the rows it is swapped for another row's.
    The paper cuts A and B at random lengths; here each is half of the row. A batch of one row has no other to swap in.
    """
    B, T = tokens.shape
    half = T // 2
    swap = jax.random.bernoulli(rng, 0.5, (B,)) & (B > 1)
    follows, stranger = tokens[:, half:], jnp.roll(tokens, 1, axis=0)[:, half:]
    tokens = tokens.at[:, half:].set(jnp.where(swap[:, None], stranger, follows))
    tokens = tokens.at[:, 0].set(vocabulary.cls).at[:, half - 1].set(vocabulary.sep).at[:, -1].set(vocabulary.sep)
    types = jnp.broadcast_to((jnp.arange(T) >= half).astype(jnp.int32), tokens.shape)
    return tokens, types, swap.astype(jnp.int32)
