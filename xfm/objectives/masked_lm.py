"""Masked language modelling: tokens are predicted from both sides. Devlin et al. 2019 (BERT), section 3.1."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from xfm.errors import XfmError
from xfm.fields import Fraction, Share
from xfm.objectives.base import Objective, answer, cross_entropy, row_weights, weighted
from xfm.objectives.corruption import check_corruption, choose, replaced, units_of
from xfm.objectives.next_sentence import check_pair_tokens, pair_up
from xfm.objectives.text import is_special, unigram


@dataclasses.dataclass(frozen=True)
class MaskedLM(Objective):
    """Cross-entropy, in nats per predicted token, of the head "mlm".

    rate: share of a row's tokens that are predicted.  split: probabilities with which the input has the mask, a random
    token, or the token itself there.  units: what is chosen as a whole, {"kind": "token" | "whole_word" | "span", …}
    (see corruption.py).  pairs: "next" adds next-sentence prediction by the head "nsp", on rows of running text.

    Positions are chosen anew at each step, from the step's key, and the head is computed at these only.
    """

    rate: Fraction = 0.15
    split: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)
    units: Mapping[str, Any] = FrozenDict(kind="token")
    pairs: Literal["none", "next"] = "none"

    def __post_init__(self):
        check_corruption("masked_lm", self.split, self.units)
        if self.vocabulary is None or self.vocabulary.mask is None:
            raise XfmError("masked_lm needs a tokeniser with a mask token; this data has none")
        check_pair_tokens("masked_lm", self.pairs, self.vocabulary)

    @property
    def terms(self):
        return {"loss": 1.0, **({"nsp_loss": 1.0} if self.pairs == "next" else {})}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of tokens predicted right.

        With pairs="next" there are "nsp_loss" and "nsp_accuracy" of the head "nsp" as well.
        """
        pair, unit, order, what, drop = jax.random.split(rng, 5)
        batch = dict(batch)
        if self.pairs == "next":
            batch["tokens"], batch["types"], follows = pair_up(
                batch["tokens"], self.vocabulary, pair, batch.get("weights")
            )
        tokens = batch["tokens"]

        units = units_of(self.units, tokens, self.vocabulary, unit)
        allowed = ~is_special(tokens, self.vocabulary)
        if "segments" in batch:
            allowed &= batch["segments"] > 0
        most = max(1, round(self.rate * tokens.shape[1]))
        at, weights = choose(units, allowed, self.rate, most, order)
        weights *= row_weights(batch, weights.shape)
        labels = jnp.take_along_axis(tokens, at, axis=1)
        seen = jnp.where(weights > 0, replaced(labels, self.split, self.vocabulary, what), labels)
        batch["tokens"] = jax.vmap(lambda row, i, new: row.at[i].set(new))(tokens, at, seen)

        out, sown = self.forward("model", params, {**batch, "at": at}, drop, train)
        logits = answer(out, "mlm")
        metrics = {
            "loss": weighted(cross_entropy(logits, labels), weights),
            "accuracy": weighted(logits.argmax(-1) == labels, weights),
        }
        if self.pairs == "next":
            every = row_weights(batch, follows.shape)
            pairs = answer(out, "nsp")
            metrics["nsp_loss"] = weighted(cross_entropy(pairs, follows), every)
            metrics["nsp_accuracy"] = weighted(pairs.argmax(-1) == follows, every)
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The loss of a model that knows only how often each id occurs."""
        return {"unigram": unigram(data)}
