"""Replaced-token detection: a small network fills gaps, a larger one detects where. Clark et al. 2020 (ELECTRA)."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Float, Int

from xfm.errors import XfmError
from xfm.fields import Fraction, NotNegative, Share
from xfm.objectives.base import Objective, Params, cross_entropy, row_weights, some_rows, weighted
from xfm.objectives.corruption import check_corruption, choose, replaced, units_of
from xfm.objectives.text import is_special
from xfm.structures import build
from xfm.transforms.redraw import redraw

OWN = "up"  # in the embedding, the map from the shared tables' width to the network's own


def detection_loss(odds: Float[Array, "*any"], put: Bool[Array, "*any"]) -> Float[Array, "*any"]:
    """-log of the probability of the truth, in nats and float32. Section 2, the second loss.

    odds: log odds that a token is replaced.  put: whether it is.
    """
    odds = odds.astype(jnp.float32)
    return jax.nn.softplus(jnp.where(put, -odds, odds))


@dataclasses.dataclass(frozen=True)
class ReplacedToken(Objective):
    """The generator's masked-language-modelling loss + weight · the detection loss of the model's head "replaced".

    The model is the discriminator, and it is the network that is kept. generator: spec of a network with a head "mlm".
    The two share the tables of their embeddings; if these are not as wide as a network, its `factor` is their width.
    rate: share of a row's tokens that the generator fills.  split: probabilities with which its input has the mask, a
    random token, or the token itself there.  units: as in masked_lm.  weight: λ of section 2.

    The parameters are the model's, which can be used with them as they are, and beside them "generator". No
    gradient passes through the sampled tokens. metrics["loss"] is that of detection, in nats per token that is not
    padding.
    """

    generator: Mapping[str, Any] = FrozenDict()
    rate: Fraction = 0.15
    split: tuple[Share, Share, Share] = (1.0, 0.0, 0.0)
    units: Mapping[str, Any] = FrozenDict(kind="token")
    weight: NotNegative = 50.0

    def __post_init__(self):
        check_corruption("replaced_token", self.split, self.units)
        if self.vocabulary is None or self.vocabulary.mask is None:
            raise XfmError("replaced_token needs a tokeniser with a mask token; this data has none")
        for name, heads, head in (("model", self.model.heads, "replaced"), ("generator", self._heads, "mlm")):
            if head not in heads:
                raise XfmError(f"replaced_token: the {name} needs a head {head!r}; it has {', '.join(heads) or 'none'}")

    @property
    def _heads(self) -> Mapping[str, Any]:
        return self.generator.get("heads", {})

    @cached_property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"model": self.model, "generator": build(self.generator)}

    def init(self, rng, batch):
        """The model's parameters, and as "generator" those of the generator that the two do not share.

        Raises XfmError if the tables of their embeddings differ in shape.
        """
        first, second, third = jax.random.split(rng, 3)
        params = dict(self.networks["model"].init(first, batch)["params"])
        made = dict(self.networks["generator"].init(second, batch)["params"])
        self._check_tables(params["embed"], made["embed"])
        made["embed"] = {name: made["embed"][name] for name in made["embed"] if name == OWN}
        return redraw({**params, "generator": {name: p for name, p in made.items() if p}}, self.initial, third), {}

    def _check_tables(self, ours: Params, theirs: Params) -> None:
        ours, theirs = (jax.tree.map(jnp.shape, {k: v for k, v in p.items() if k != OWN}) for p in (ours, theirs))
        if ours != theirs:
            raise XfmError(
                f"replaced_token: the model and the generator share their embedding; its shapes are {_listed(ours)} in "
                f"the model and {_listed(theirs)} in the generator"
            )

    def params_of(self, name, params):
        """All for the model, which ignores what is not its own; for the generator its own and the shared ones."""
        if name == "model":
            return params
        shared = {name: p for name, p in params["embed"].items() if name != OWN}
        own = params["generator"]
        return {**own, "embed": {**shared, **own.get("embed", {})}}

    @property
    def terms(self):
        return {"generator_loss": 1.0, "loss": self.weight}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective, with further metrics.

        accuracy: the share of tokens that the detector judges right.  found: that of the replaced tokens alone.
        replaced: the share of tokens that are replaced by others.
        generator_loss, generator_accuracy: those of masked language modelling.
        """
        choice, sample, first, second = jax.random.split(rng, 4)
        tokens = batch["tokens"]
        real = batch["segments"] > 0 if "segments" in batch else jnp.ones(tokens.shape, bool)
        at, weights, seen = self._gaps(tokens, real, choice)
        weights *= row_weights(batch, weights.shape)

        labels = jnp.take_along_axis(tokens, at, axis=1)
        gaps = {**batch, "tokens": seen, "at": at}
        made, from_generator = self.forward("generator", params, gaps, first, train)
        logits = made["mlm"]
        drawn = jax.random.categorical(sample, jax.lax.stop_gradient(logits).astype(jnp.float32))
        filled = written(tokens, at, jnp.where(weights > 0, drawn, labels))
        swapped, judged = filled != tokens, real * row_weights(batch, tokens.shape)
        out, from_model = self.forward("model", params, {**batch, "tokens": filled}, second, train)
        odds = out["replaced"]

        metrics = {
            "loss": weighted(detection_loss(odds, swapped), judged),
            "accuracy": weighted((odds > 0) == swapped, judged),
            "found": weighted(odds > 0, swapped * judged),
            "replaced": weighted(swapped, judged),
            "generator_loss": weighted(cross_entropy(logits, labels), weights),
            "generator_accuracy": weighted(logits.argmax(-1) == labels, weights),
        }
        return *self.summed(metrics, batch, from_generator, from_model), extra

    def _gaps(self, tokens: Int[Array, "B T"], real: Bool[Array, "B T"], rng):
        """Positions to fill [B K], their weights, and the generator's input."""
        unit, order, what = jax.random.split(rng, 3)
        allowed = real & ~is_special(tokens, self.vocabulary)
        most = max(1, round(self.rate * tokens.shape[1]))
        at, weights = choose(units_of(self.units, tokens, self.vocabulary, unit), allowed, self.rate, most, order)
        labels = jnp.take_along_axis(tokens, at, axis=1)
        seen = jnp.where(weights > 0, replaced(labels, self.split, self.vocabulary, what), labels)
        return at, weights, written(tokens, at, seen)

    def baseline(self, data):
        """The loss of a detector that knows only how many tokens a generator without context replaces."""
        counts = np.zeros(data.vocabulary.size)
        for row in some_rows(data.train):
            counts += np.bincount(row["tokens"], minlength=len(counts))[: len(counts)]
        counts[list(data.vocabulary.special)] = 0
        chances = counts / max(counts.sum(), 1)
        share = self.rate * (1 - np.square(chances).sum())
        return {"share of replaced": float(-share * np.log(share) - (1 - share) * np.log(1 - share))}


def written(tokens: Int[Array, "B T"], at: Int[Array, "B K"], new: Int[Array, "B K"]) -> Int[Array, "B T"]:
    """tokens with `new` at the positions `at`."""
    return jax.vmap(lambda row, i, value: row.at[i].set(value))(tokens, at, new)


def _listed(shapes: Mapping[str, Any]) -> str:
    return str({name: next(iter(leaves.values())) for name, leaves in shapes.items()})
