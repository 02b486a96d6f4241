"""The first and last token of an answer in a text. Devlin et al. 2019 (BERT), sections 4.2 and 4.3."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from xfm.objectives.base import Objective, answer, array_of, cross_entropy, row_weights, some_rows, weighted


@dataclasses.dataclass(frozen=True)
class Span(Objective):
    """Mean of the cross-entropies, in nats, of an answer's first and last token: head "span", batch["labels"] [B 2].

    In a row that does not hold the answer, both labels are the first token.
    """

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of rows with both ends right."""
        out, sown = self.forward("model", params, batch, rng, train)
        scores, labels = jnp.swapaxes(answer(out, "span"), 1, 2), array_of(batch, "labels")  # [B 2 T], [B 2]
        right = (scores.argmax(-1) == labels).all(-1)
        metrics = {
            "loss": weighted(cross_entropy(scores, labels), row_weights(batch, labels.shape)),
            "accuracy": weighted(right, row_weights(batch, right.shape)),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The cross-entropy of always answering with the training data's shares of positions, one added to each."""

        def counts(source):
            rows = list(some_rows(source))
            positions = np.array([array_of(row, "labels") for row in rows])
            return np.stack([np.bincount(positions[:, i], minlength=len(rows[0]["tokens"])) for i in (0, 1)])

        known, seen = counts(data.train) + 1, counts(data.valid)
        logs = np.log(known / known.sum(1, keepdims=True))
        return {"position shares": float(-(seen * logs).sum() / seen.sum())}
