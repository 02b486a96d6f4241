"""What the trainer knows of an objective, and what objectives share."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int

from xfm.batch import spread_out
from xfm.errors import XfmError, nearest
from xfm.fields import Number
from xfm.sown import COLLECTIONS, STATISTICS, means, statistics
from xfm.transforms.redraw import redraw
from xfm.vocabulary import Vocabulary

Params = Mapping[str, Any]
Metrics = dict[str, tuple[Array, Array]]
ROWS = 4096  # the most rows of a source that a baseline reads


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """A loss over one network or several.

    model: the network that is kept (an objective that trains several builds the others from specs of its own).
    vocabulary: that of the data's tokeniser; None without a tokeniser.
    initial: rules (regex on the path, spec) by which parameters are drawn anew after the parts have drawn them.
    sown: weights of the auxiliary losses that parts of the networks sow, by name; see xfm/sown.py.
    unit: the unit of the loss.
    evaluated: fields that only evaluation reads, so that they may change between runs of one workdir.
    """

    unit: ClassVar[str] = "nats"
    evaluated: ClassVar[tuple[str, ...]] = ()

    model: nn.Module
    vocabulary: Vocabulary | None = None
    initial: tuple = ()
    sown: Mapping[str, Number] = FrozenDict()

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Every network that the objective runs, by name."""
        return {"model": self.model}

    def init(self, rng: Array, batch: Mapping[str, Array]) -> tuple[Params, Any]:
        """Fresh parameters, and whatever else the objective keeps between steps (nothing, as a rule)."""
        first, second = jax.random.split(rng)
        params = self.networks["model"].init(first, batch)["params"]
        return redraw(params, self.initial, second), {}

    def begun(self, params: Params, extra: Any) -> Any:
        """`extra` before the first step from `params`, which may be taken from a checkpoint instead of drawn.

        A teacher that is a moving average of the network begins as a copy of it.
        """
        return extra

    def forward(
        self,
        name: str,
        params: Params,
        batch: Mapping[str, Array],
        rng: Array | None = None,
        train: bool = False,
        **inputs: Any,
    ) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """The outputs of the network `name` for a batch, and what its parts sowed: "losses" and "intermediates".

        Nothing else in an objective runs a network. params: those of all networks, or for a teacher its own.  rng: for
        dropout and the like, needed in training.  inputs: what the network takes in addition to the batch.
        Raises XfmError if the objective has no such network.
        """
        if name not in self.networks:
            raise XfmError(f"the objective has no network {name!r}; it has {', '.join(self.networks)}")
        rngs = {} if rng is None else {"dropout": rng}
        network, own = self.networks[name], self.params_of(name, params)
        mutable = [*COLLECTIONS, *([STATISTICS] if train else [])]
        return network.apply({"params": own}, batch, train=train, rngs=rngs, mutable=mutable, **inputs)

    def params_of(self, name: str, params: Params) -> Params:
        """The parameters of the network `name`, out of those of all networks."""
        return params

    @property
    def terms(self) -> Mapping[str, float]:
        """The objective's own metrics whose means, times these weights, are added up in the loss.

        Their counts follow from the batch and rng alone, never from parameters. So the counts of a whole batch are
        known before its microbatches run, and accumulated gradients are those of the whole batch.
        """
        return {"loss": 1.0}

    @property
    def all_terms(self) -> Mapping[str, float]:
        """The metrics whose means, times these weights, add up to the loss: `terms`, and each sown loss."""
        return {**self.terms, **{f"sown/{name}": weight for name, weight in self.sown.items()}}

    @abc.abstractmethod
    def loss(
        self, params: Params, extra: Any, batch: Mapping[str, Array], rng: Array, *, step: Any = 0, train: bool = True
    ) -> tuple[Float[Array, ""], Metrics, Any]:
        """The loss to minimise, metrics as (sum, count), which add up over batches, and the new extra.

        It ends in `return *self.summed(metrics, batch, sown), extra`, where `sown` is the second value of `forward`.
        Everything random, corruption included, follows from `rng`. metrics["loss"] is the validation loss.
        If the batch has `weights` [B], each row counts by its weight. Rows of weight 0 fill up the batch of an
        evaluation; they hold zeros, do not count, and do not change what other rows count.
        step: the number of the optimiser's steps before this one, an array under jit, for what changes during a run.
        extra: with accumulated gradients, each microbatch is given what the one before it returned.
        """

    def after_update(self, params: Params, extra: Any, step: Any) -> Any:
        """The new extra after an update of the optimiser, such as a teacher that follows the parameters.

        It runs once for each update, whatever the number of microbatches, and has no effect if the update is skipped
        because it is not finite. params: after the update.  step: the number of the optimiser's steps before it.
        """
        return extra

    def failure(self, step: int, values: Mapping[str, float]) -> str | None:
        """Why a run should stop, such as a collapse; None if it need not.

        It is asked at each line of the log.  values: the line's.
        """
        return None

    def summed(
        self, metrics: Metrics, batch: Mapping[str, Array], *sown: Mapping[str, Any]
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss, and the metrics with "sown/NAME" for each auxiliary loss of the networks.

        sown: the second values that `forward` returned. What batch normalisation sowed becomes metrics too, which the
        training step takes out again (`xfm.train.statistics`). Rows count by batch["weights"] here too.
        Raises XfmError for a sown loss without a weight in config.objective.sown, and for a weight without such a loss.
        """
        weights = batch.get("weights")
        if weights is not None and (weights.ndim != 1 or any(name.endswith("cells") for name in batch)):
            weights = None  # they weigh tokens, or the network's rows are not those of the batch
        found = means([one.get("losses", {}) for one in sown], weights)
        self._check_sown(list(found))
        metrics = {**metrics, **{f"sown/{name}": metric for name, metric in found.items()}}
        moved = statistics(sown).items()
        metrics |= {f"{STATISTICS}/{path}": (value, jnp.float32(1.0)) for path, value in moved}
        return total(metrics, self.all_terms), metrics

    def _check_sown(self, found: Sequence[str]) -> None:
        for name in found:
            if name not in self.sown:
                raise XfmError(
                    f"a part of the network sows the loss {name!r}, but config.objective.sown gives no weight for "
                    f"it{nearest(name, self.sown)}; set it, as in {{{name!r}: 0.01}}, or to 0 to leave the loss out"
                )
        for name in self.sown:
            if name not in found:
                raise XfmError(
                    f"config.objective.sown gives a weight for {name!r}{nearest(name, found)}, but no part of the "
                    f"network sows a loss of that name; the sown losses are: {', '.join(found) or 'none'}"
                )

    def evaluated_in(self, rows: int) -> tuple["Objective", str | None]:
        """The objective for evaluations in batches of at least `rows` rows, and a sentence if it differs from this one.

        Raises XfmError if it cannot be evaluated in such batches.
        """
        return self, None

    def baseline(self, data: Any) -> dict[str, float]:
        """The validation losses, by name, of predictors that have learned almost nothing."""
        return {}


def answer(out: Mapping[str, Any], head: str) -> Array:
    """The output of a head.  Raises XfmError if the network has no head of that name."""
    if head not in out:
        raise XfmError(
            f"this objective needs a network with a head {head!r}{nearest(head, out)}; the outputs of config.model are "
            f"{', '.join(out)}"
        )
    return out[head]


def array_of(batch: Mapping[str, Any], name: str) -> Array:
    """An array of a batch or a row.  Raises XfmError if the data has none of that name."""
    if name not in batch:
        raise XfmError(f"this objective needs data with {name!r}; the arrays of config.data are {', '.join(batch)}")
    return batch[name]


def some_rows(source: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows that a baseline reads: at most ROWS, spread over the source, which may be sorted by its labels."""
    return (source[i] for i in spread_out(len(source), ROWS))


def cross_entropy(logits: Float[Array, "*any V"], labels: Int[Array, "*any"]) -> Float[Array, "*any"]:
    """-log softmax(logits)[label], in nats and float32."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def weighted(values: Float[Array, "*any"], weights: Float[Array, "*any"]) -> tuple[Array, Array]:
    """A metric: (sum of weights · values, sum of weights). A value of weight 0 does not count, even if it is NaN."""
    weights = weights.astype(jnp.float32)
    return jnp.where(weights != 0, values * weights, 0.0).sum(), weights.sum()


def row_weights(batch: Mapping[str, Array], shape: Sequence[int]) -> Float[Array, "B *any"]:
    """batch["weights"] [B], broadcast to an array of that shape [B …]; ones if the batch has no weights."""
    if "weights" not in batch:
        return jnp.ones(shape)
    weights = batch["weights"].astype(jnp.float32)
    return jnp.broadcast_to(weights.reshape(-1, *(1,) * (len(shape) - 1)), shape)


def mean(metric: tuple[Array, Array]) -> Float[Array, ""]:
    """The metric's mean, 0 if its count is 0."""
    total, count = metric
    return total / jnp.maximum(count, 1e-6)


def total(metrics: Metrics, terms: Mapping[str, float]) -> Float[Array, ""]:
    """The sum of the terms' means, each times its weight: a loss."""
    return sum(weight * mean(metrics[name]) for name, weight in terms.items())


def counted(batch: Mapping[str, Array], name: str = "images") -> tuple[Float[Array, "B *any"], Float[Array, "B"]]:
    """An array, with zeros in rows that only fill the batch, which may hold NaN, and the weights of the rows."""
    x = array_of(batch, name)
    weights = row_weights(batch, x.shape[:1])
    return jnp.where(row_weights(batch, x.shape) > 0, x, 0), weights
