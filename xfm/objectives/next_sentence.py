"""Pairs for next-sentence prediction, made on the device. Devlin et al. 2019 (BERT), section 3.1, task 2."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from xfm.errors import XfmError
from xfm.vocabulary import Vocabulary


def strangers(
    tokens: Int[Array, "B T"], start: int, rng: Key[Array, ""], weights: Float[Array, "B"] | None = None
) -> tuple[Int[Array, "B T"], Bool[Array, "B"]]:
    """Rows that, each with probability 1/2, have the tokens of the row before from position `start` on; and which do.

    The row before the first is the last one. Rows of weight 0 are passed over, and a single row stays as it is.
    """
    B = len(tokens)
    before, several = jnp.roll(tokens, 1, axis=0), B > 1
    if weights is not None:
        real = jnp.where(weights > 0, jnp.arange(B), -1)
        last = jax.lax.cummax(jnp.roll(real, 1).at[0].set(-1))
        before, several = tokens[jnp.where(last < 0, real.max(), last)], (weights > 0).sum() > 1
    swap = jax.random.bernoulli(rng, 0.5, (B,)) & several
    return tokens.at[:, start:].set(jnp.where(swap[:, None], before, tokens)[:, start:]), swap


def check_pair_tokens(kind: str, pairs: str, vocabulary: Vocabulary | None) -> None:
    """Raises XfmError if the tokeniser lacks the tokens by which the objective `kind` makes pairs.

    pairs: the value of the objective's field, "none" for no pairs.
    """
    if pairs != "none" and (vocabulary is None or vocabulary.cls is None or vocabulary.sep is None):
        raise XfmError(
            f"{kind}: pairs={pairs!r} needs a tokeniser with a class token and an end token; set it to 'none'"
        )


def pair_up(
    tokens: Int[Array, "B T"], vocabulary: Vocabulary, rng: Key[Array, ""], weights: Float[Array, "B"] | None = None
) -> tuple[Int[Array, "B T"], Int[Array, "B T"], Int[Array, "B"]]:
    """The ids of [CLS] A [SEP] B [SEP], their types (0 for A, 1 for B), and labels: 0 if B follows A, else 1.

    Rows hold running text, of which A and B are the two halves. In half of the rows B is that of another row. The paper
    cuts A and B at random lengths; here each is half of the row.
    """
    T = tokens.shape[1]
    half = T // 2
    tokens, swap = strangers(tokens, half, rng, weights)
    tokens = tokens.at[:, 0].set(vocabulary.cls).at[:, half - 1].set(vocabulary.sep).at[:, -1].set(vocabulary.sep)
    types = jnp.broadcast_to((jnp.arange(T) >= half).astype(jnp.int32), tokens.shape)
    return tokens, types, swap.astype(jnp.int32)
