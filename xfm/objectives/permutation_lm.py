"""Permutation language modelling: tokens are read in a random order, and the last ones predicted from those before.

Yang et al. 2019 (XLNet), sections 2.2 (the order), 2.3 (its prediction, partial), 2.5 (pairs) and appendix A.4.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from xfm.errors import XfmError
from xfm.fields import Count, TwoOrMore
from xfm.objectives.base import Objective, cross_entropy, row_weights, weighted
from xfm.objectives.next_sentence import check_pair_tokens, strangers
from xfm.objectives.text import is_special, unigram
from xfm.vocabulary import Vocabulary


def last_in_order(
    allowed: Bool[Array, "B T"], share: int, longest: int, rng: Key[Array, ""]
) -> tuple[Int[Array, "B K"], Float[Array, "B K"], Int[Array, "B T"]]:
    """Positions to predict, K = T / share rounded up, their weights, 0 where a row has fewer, and all tokens' ranks.

    The row is divided into windows of `share` · L tokens, with L drawn from 1 to `longest`. In each window L
    consecutive tokens are predicted, except those that are not allowed. These have the ranks 1, 2, … in random order.
    All other tokens have rank 0: they come first and attend to each other, as in the authors' code.
    """
    B, T = allowed.shape
    first, second, third = jax.random.split(rng, 3)
    count, most = T // share + 1, -(-T // share)
    lengths = jax.random.randint(first, (B, count), 1, longest + 1)
    ends = jnp.cumsum(share * lengths, axis=1)
    starts = ends - share * lengths + jax.random.randint(second, (B, count), 0, (share - 1) * lengths + 1)
    window = jax.vmap(lambda e: jnp.searchsorted(e, jnp.arange(T), side="right"))(ends)
    start, length = (jnp.take_along_axis(a, window, axis=1) for a in (starts, lengths))
    predicted = allowed & (start <= jnp.arange(T)) & (jnp.arange(T) < start + length)
    # The row may end right after the predicted tokens of its last window; then there can be more than `most`.
    predicted &= jnp.cumsum(predicted, axis=1) <= most

    at = jnp.argsort(~predicted, axis=1, stable=True)[:, :most]
    draws = jnp.where(predicted, jax.random.uniform(third, (B, T)), 2.0)
    rank = jnp.argsort(jnp.argsort(draws, axis=1), axis=1)
    weights = jnp.take_along_axis(predicted, at, axis=1).astype(jnp.float32)
    return at, weights, jnp.where(predicted, 1 + rank, 0)


def typed_pair(
    tokens: Int[Array, "B T"], vocabulary: Vocabulary, rng: Key[Array, ""], weights: Float[Array, "B"] | None = None
) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
    """The ids of A [SEP] B [SEP] [CLS], and their types: 0 for A, 1 for B and 2 for [CLS].

    Rows hold running text, of which A and B are the two halves. In half of the rows B is that of another row.
    """
    T = tokens.shape[1]
    half = (T - 1) // 2
    tokens, _ = strangers(tokens, half, rng, weights)
    tokens = tokens.at[:, half - 1].set(vocabulary.sep).at[:, -2].set(vocabulary.sep).at[:, -1].set(vocabulary.cls)
    types = (jnp.arange(T) >= half).astype(jnp.int32).at[-1].set(2)
    return tokens, jnp.broadcast_to(types, tokens.shape)


@dataclasses.dataclass(frozen=True)
class PermutationLM(Objective):
    """Cross-entropy, in nats per predicted token, of the head "lm" at the queries of the embedding "questions".

    share: one token in `share` is predicted.  longest: how many consecutive tokens are predicted at most.
    pairs: "typed" makes two segments and a class token of each row, with types; the tokeniser must have both tokens.

    The order and the predicted tokens are drawn anew at each step, from the step's key.
    """

    share: TwoOrMore = 6
    longest: Count = 5
    pairs: Literal["none", "typed"] = "none"

    def __post_init__(self):
        embed = getattr(self.model, "embed", {}).get("kind")
        if embed != "questions" or "lm" not in getattr(self.model, "heads", {}):
            raise XfmError(f"permutation_lm needs an embedding of kind 'questions', not {embed!r}, and a head 'lm'")
        check_pair_tokens("permutation_lm", self.pairs, self.vocabulary)

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of tokens predicted right."""
        pair, order, drop = jax.random.split(rng, 3)
        batch = dict(batch)
        if self.pairs == "typed":
            batch["tokens"], batch["types"] = typed_pair(batch["tokens"], self.vocabulary, pair, batch.get("weights"))
        tokens = batch["tokens"]
        allowed = jnp.ones(tokens.shape, bool) if self.vocabulary is None else ~is_special(tokens, self.vocabulary)
        if "segments" in batch:
            allowed &= batch["segments"] > 0
        at, weights, ranks = last_in_order(allowed, self.share, self.longest, order)
        weights *= row_weights(batch, weights.shape)
        labels = jnp.take_along_axis(tokens, at, axis=1)

        asked = {**batch, "asked": at, "order": ranks}
        out, sown = self.forward("model", params, asked, drop, train)
        logits = out["lm"]
        metrics = {
            "loss": weighted(cross_entropy(logits, labels), weights),
            "accuracy": weighted(logits.argmax(-1) == labels, weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The loss of a model that knows only how often each id occurs."""
        return {"unigram": unigram(data)}
