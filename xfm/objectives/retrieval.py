"""Vectors of texts that are close if the texts belong together, by one encoder for queries and for their answers.

Reimers, Gurevych, "Sentence-BERT" (2019); Karpukhin et al., "Dense Passage Retrieval" (2020); large batches in little
memory: Gao, Zhang, Han, Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (2021).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from xfm.batch import over_parts, part_of, prefixed, prefixes, texts_of_row
from xfm.errors import XfmError
from xfm.fields import Count, TwoOrMore
from xfm.objectives.base import Objective, answer, row_weights, weighted
from xfm.objectives.contrast import LOSSES, SCORED, loss_of
from xfm.sown import gathered
from xfm.spec import lookup


@dataclasses.dataclass(frozen=True)
class Retrieval(Objective):
    """The loss `form`, {"kind": "infonce" | "cosine" | "triplet" | "cosent", …} (see contrast.py), over head "vector".

    texts: n, in a row: query, positive and any negatives, whose arrays have the prefixes of `texts_of_row`.
    chunks: the number of pieces in which the texts of a batch are encoded, one after another. The backward pass encodes
      each piece again, so that the layers' activations of a single piece are kept while the loss sees the whole batch:
      Gao et al.'s gradient cache, with the same gradient as without it. (`accumulate` would shrink the batch instead.)
    among: with infonce, the number of rows among which a validation query chooses, so that its loss does not depend on
      the batch; at most as many as the smallest evaluated batch has.
    """

    evaluated: ClassVar[tuple[str, ...]] = ("among",)

    form: Mapping[str, Any] = FrozenDict(kind="infonce")
    texts: TwoOrMore = 2
    chunks: Count = 1
    among: TwoOrMore = 16

    def __post_init__(self):
        loss_of(self.form)

    def init(self, rng, batch):
        """The parameters of the one encoder, traced on a row's first text."""
        return super().init(rng, part_of(batch, ""))

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of rows that `form` counts as right."""
        kind, settings = loss_of(self.form)
        if kind in SCORED and "labels" not in batch:
            raise XfmError(f"the loss {kind} needs a score for each pair; set config.data.label to its column")
        if kind == "infonce" and not train:
            settings["among"] = self.among
        vectors, sown = self.encoded(params, batch, rng, train)
        real = batch["weights"] > 0 if "weights" in batch else None
        each, right = lookup(LOSSES, kind)(vectors, batch.get("labels"), real, **settings)
        weights = row_weights(batch, each.shape)
        metrics = {"loss": weighted(each, weights), "accuracy": weighted(right, weights)}
        return *self.summed(metrics, batch, *sown), extra

    def evaluated_in(self, rows):
        """With infonce, the objective whose `among` is at most `rows`; XfmError for batches of a single row."""
        if loss_of(self.form)[0] != "infonce" or self.among <= rows:
            return self, None
        if rows < 2:
            raise XfmError(
                "retrieval: a validation query chooses among the rows of its batch, and here some batch has a single "
                "row; give more validation data, or raise config.batch"
            )
        return dataclasses.replace(self, among=rows), (
            f"config.objective.among is {self.among} and a batch of the validation data has {rows} rows: a validation "
            f"query chooses among {rows}"
        )

    def encoded(self, params, batch, rng=None, train=False):
        """The vector of each text [B n D], and what the network sowed in each forward pass.

        Texts of the same length are one batch of the network, unless each prefix has `cells` of its own.
        """
        done = over_parts(lambda part, number: self._encode(params, part, rng, number, train), self.parts(batch))
        if isinstance(done, list):
            return jnp.stack([vectors for vectors, _ in done], axis=1), [sown for _, sown in done]
        vectors, sown = done
        return vectors.reshape(-1, self.texts, vectors.shape[-1]), [sown]

    def _encode(self, params, part, rng, number, train):
        """The vectors of one batch of the network, and what it sowed.  number: which of the forward passes it is."""
        rng = rng if rng is None or number == 0 else jax.random.fold_in(rng, number)

        def encode(part, rng):
            out, sown = self.forward("model", params, part, rng, train)
            return answer(out, "vector"), sown

        if self.chunks == 1 or not train:
            return encode(part, rng)
        if "cells" in part:
            raise XfmError(
                f"retrieval: chunks={self.chunks} would divide rows that layout 'tokens' has filled; set chunks=1 or "
                "layout 'padded'"
            )
        count = part["tokens"].shape[0]
        if count % self.chunks:
            raise XfmError(f"retrieval: chunks={self.chunks} does not divide {count} texts of a batch")
        # Dealt out rather than cut, so that each device keeps its own texts.
        dealt = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, self.chunks, *x.shape[1:]), 0, 1), part)
        keys = jax.random.split(rng, self.chunks)
        out, sown = jax.lax.map(jax.checkpoint(lambda item: encode(*item)), (dealt, keys))
        return jnp.swapaxes(out, 0, 1).reshape(count, -1), gathered(sown)

    def parts(self, batch):
        """The batch of each text of a row."""
        given, wanted = prefixes(batch), texts_of_row(self.texts)
        if set(given) != set(wanted) or "tokens" not in batch:
            names = ", ".join(prefixed(prefix, "tokens") for prefix in wanted)
            raise XfmError(
                f"retrieval: with texts={self.texts} a row has {names}, and this data has {', '.join(batch)}; set "
                "config.objective.texts to the number of config.data.texts"
            )
        return [part_of(batch, prefix) for prefix in wanted]

    def baseline(self, data):
        """The loss of choosing at random, of equal vectors, or of the mean score; cosent has none."""
        kind, settings = loss_of(self.form)
        if kind == "infonce":
            both = settings.get("ways") == "both"
            choices = [self.among * (self.texts - 1), *([self.among] if both else [])]
            return {"chance": sum(map(math.log, choices)) / len(choices)}
        if kind == "triplet":
            return {"equal vectors": float(settings.get("margin", 1.0))}
        if kind == "cosine" and "labels" in data.train[0]:
            known, seen = (np.array([s[i]["labels"] for i in range(len(s))]) for s in (data.train, data.valid))
            return {"mean": float(((seen - known.mean()) ** 2).mean())}
        return {}
