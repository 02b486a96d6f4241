"""Causal language modelling: each token is predicted from those before it. Bengio et al. 2003; Radford et al. 2018."""

import dataclasses

from xfm.objectives.base import Objective, answer, cross_entropy, row_weights, weighted
from xfm.objectives.text import unigram


@dataclasses.dataclass(frozen=True)
class CausalLM(Objective):
    """Cross-entropy, in nats per token, of the head "lm" on the next token of the same segment."""

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of next tokens that are the likeliest ones."""
        out, sown = self.forward("model", params, batch, rng, train)
        logits, labels = answer(out, "lm")[:, :-1], batch["tokens"][:, 1:]
        weights = row_weights(batch, labels.shape)
        if "segments" in batch:
            here, following = batch["segments"][:, :-1], batch["segments"][:, 1:]
            weights *= (following > 0) & (here == following)
        metrics = {
            "loss": weighted(cross_entropy(logits, labels), weights),
            "accuracy": weighted(logits.argmax(-1) == labels, weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The loss of a model that knows only how often each id occurs."""
        return {"unigram": unigram(data)}
