"""DINO: a network predicts, from one view of an image, to which prototypes its own moving average assigns another view.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin, "Emerging Properties in Self-Supervised Vision Transformers"
(DINO, 2021); patches: Zhou et al. (iBOT, 2022); Sinkhorn centring and KoLeo as in Oquab et al. (DINOv2, 2024), section
4; crops alone as augmentation: Moutakanni et al., "You Don't Need Domain-Specific Data Augmentations" (2024).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.fields import Count, CountOrZero, NotNegative, Positive, Rate, Share
from xfm.objectives.base import Objective, answer, array_of, row_weights, weighted
from xfm.objectives.masks import mask_of
from xfm.objectives.monitors import entropy, rank
from xfm.objectives.teachers import cosine_momentum, followed, linear
from xfm.parts.unit import unit

NAME = "images"
LOCAL = "local_"  # what the names of small views begin with


def sinkhorn(logits: Float[Array, "R K"], weights: Float[Array, "R"], rounds: Count = 3) -> Float[Array, "R K"]:
    """Probabilities of each row by which all prototypes are used alike: rows and columns scaled in turn.

    Cuturi 2013; Caron et al. 2020 (SwAV), section 3.1. weights: 0 for rows that do not count.
    """
    log_w = jnp.log(weights)[:, None]
    q = logits.astype(jnp.float32) + log_w
    for _ in range(rounds):
        q = q - jax.nn.logsumexp(q, axis=0)
        q = jnp.where(weights[:, None] > 0, q - jax.nn.logsumexp(q, axis=1, keepdims=True), -jnp.inf)
    return jnp.exp(q)


def koleo(x: Float[Array, "B D"], weights: Float[Array, "B"]) -> Float[Array, "B"]:
    """-log of each row's distance to the nearest other row, of vectors of length 1.

    Sablayrolles et al. 2019, section 3; it spreads the rows evenly.
    """
    x = unit(x)
    cosines = jnp.where((weights[None] > 0) & ~jnp.eye(len(x), dtype=bool), x @ x.T, -2.0)
    apart = x - x[jax.lax.stop_gradient(cosines.argmax(1))]
    return -jnp.log(jnp.sqrt((apart * apart).sum(-1) + 1e-16) + 1e-8)


@dataclasses.dataclass(frozen=True)
class SelfDistillation(Objective):
    """Cross-entropy of the head "prototypes" on each view with the teacher's assignment of each other large view.

    Views are batch["images"] and further arrays whose names end in "/images", as config.augment makes them; those that
    begin with "local_" are small ones, which the teacher does not read. Without further views, as in validation, the
    images are compared with themselves. The teacher, a moving average of the network, is in extra["teacher"].
    temperatures: of the student; of the teacher at first and after so many updates.  momentum: of the average, first,
    last, and updates from one to the other (half a cosine).  centring: "mean" subtracts a moving average of the
    teacher's outputs, of rate `centre`; "sinkhorn" makes all prototypes be used alike in each batch.
    koleo: weight of the term that spreads the large views' last hidden states of the first token.
    patches: weight of the same cross-entropy at hidden patches of the large views, by the head "patches", for an
    embedding with a mask token; mask: which patches are hidden.
    grace: updates before which a collapse does not stop the run.
    """

    temperatures: tuple[Positive, Positive, Positive, Count] = (0.1, 0.04, 0.07, 37_500)
    momentum: tuple[Share, Share, Count] = (0.996, 1.0, 125_000)
    centring: Literal["mean", "sinkhorn"] = "mean"
    centre: Rate = 0.9
    koleo: NotNegative = 0.0
    patches: NotNegative = 0.0
    mask: Mapping[str, Any] = FrozenDict(kind="block", rate=0.3)
    grace: CountOrZero = 1000

    def __post_init__(self):
        mask_of(self.mask, "multi_block", "by_loss")

    @property
    def networks(self):
        return {"model": self.model, "teacher": self.model}

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads by whose prototypes views are compared."""
        return ("prototypes", "patches") if self.patches else ("prototypes",)

    def init(self, rng, batch):
        """Fresh parameters; as extra["teacher"] a copy of them, and as extra["centre"] zeros for each prototype."""
        params, extra = super().init(rng, batch)
        out = jax.eval_shape(lambda p: self.forward("model", p, batch)[0], params)
        centres = {name: jnp.zeros(answer(out, name).shape[-1]) for name in self.heads}
        return params, self.begun(params, {**extra, "centre": centres})

    def begun(self, params, extra):
        return {**extra, "teacher": params}

    @property
    def terms(self):
        more = {"koleo_loss": self.koleo} if self.koleo else {}
        return {"loss": 1.0, **more, **({"patch_loss": self.patches} if self.patches else {})}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective, with figures of the teacher by which a collapse is seen.

        teacher_entropy: of its assignments, the mean.  prototype_use: the number of prototypes in use, exp of the
        entropy of the mean assignment.  rank: the effective rank of its first tokens.
        """
        choose, large, small = jax.random.split(rng, 3)
        images = array_of(batch, NAME)
        weights = row_weights(batch, images.shape[:1])
        views, locals_ = views_of(batch, weights)
        every, G = jnp.tile(weights, len(views)), len(views)
        given, hidden = {NAME: jnp.concatenate(views)}, {}
        if self.patches:
            at, mask = self._hidden(views, choose)
            given["at"], hidden = at + self.model.lead, {"hidden": mask}
        taught, _ = self.forward("teacher", jax.lax.stop_gradient(extra["teacher"]), given)
        made, sown = self.forward("model", params, {**given, **hidden}, large, train)
        logits = [answer(made, "prototypes").reshape(G, len(images), -1)]
        for number, view in enumerate(locals_):
            out, _ = self.forward("model", params, {NAME: view}, jax.random.fold_in(small, number), train)
            logits.append(answer(out, "prototypes")[None])
        chances, centre = self._assigned(taught["prototypes"], "prototypes", extra, every, step)
        each = compared(jnp.concatenate(logits), chances.reshape(G, len(images), -1), self.temperatures[0])
        metrics = {"loss": weighted(each, weights)}
        centres = {"prototypes": centre}
        if self.koleo:
            spread = koleo_of_views(made["hidden"][:, 0], weights, G)
            metrics["koleo_loss"] = weighted(spread, weights)
        if self.patches:
            count = given["at"].shape[1]
            flat = answer(taught, "patches").reshape(len(every) * count, -1)
            wanted, centres["patches"] = self._assigned(flat, "patches", extra, jnp.repeat(every, count), step)
            seen = jax.nn.log_softmax(answer(made, "patches").astype(jnp.float32) / self.temperatures[0])
            each = -(wanted.reshape(seen.shape) * seen).sum(-1).mean(-1)
            metrics["patch_loss"] = weighted(each, every)
        mean = (chances * every[:, None]).sum(0) / every.sum()
        one = jnp.float32(1)
        metrics |= {
            "teacher_entropy": weighted(entropy(chances), every),
            "prototype_use": (jnp.exp(entropy(mean)), one),
            "rank": (rank(taught["hidden"][:, 0], every), one),
        }
        extra = {**extra, "centre": jax.lax.stop_gradient(centres)} if train else extra
        return *self.summed(metrics, batch, sown), extra

    def _hidden(self, views, rng):
        """Numbers of the hidden patches of each view of each row, and which patches those are."""
        (p, q), (rows, height, width, _) = self.model.patch, views[0].shape
        grid = height // p, width // q
        splits = [mask_of(self.mask)(jax.random.fold_in(rng, i), rows, grid) for i in range(len(views))]
        masks = [split.mask(grid[0] * grid[1]) for split in splits]
        return jnp.concatenate([split.hidden for split in splits]), jnp.concatenate(masks)

    def _assigned(self, logits, name, extra, weights, step):
        """The teacher's probabilities for rows [R K], without a gradient, and the new centre."""
        logits = jax.lax.stop_gradient(logits.astype(jnp.float32))
        logits = jnp.where(weights[:, None] > 0, logits, 0)
        temperature = linear(*self.temperatures[1:], step)
        mean = (logits * weights[:, None]).sum(0) / jnp.maximum(weights.sum(), 1e-6)
        centre = self.centre * extra["centre"][name] + (1 - self.centre) * mean
        if self.centring == "sinkhorn":
            return sinkhorn(logits / temperature, weights), centre
        own = jax.lax.stop_gradient(extra["centre"][name])
        return jax.nn.softmax((logits - own) / temperature), centre

    def after_update(self, params, extra, step):
        """The teacher follows the network."""
        return {**extra, "teacher": followed(extra["teacher"], params, cosine_momentum(self.momentum, step))}

    def failure(self, step, values):
        """A sentence where the teacher has collapsed: to one prototype, to none in particular, or to one direction."""
        if step < self.grace or "prototype_use" not in values:
            return None
        K = self._prototypes()
        way = "lower the learning rate, raise the teacher's momentum, or warm its temperature up for longer"
        if values["prototype_use"] < 1.5:
            return f"the teacher has collapsed: it assigns all images to one of {K} prototypes; {way}"
        if values["teacher_entropy"] > 0.999 * np.log(K):
            return f"the teacher has collapsed: it assigns every image to all {K} prototypes alike; {way}"
        if values["rank"] < 1.05:
            return f"the teacher has collapsed: the features of all images lie on one line; {way}"
        return None

    def _prototypes(self) -> int:
        return self.model.heads["prototypes"].get("prototypes", 65_536)

    def baseline(self, data):
        """The loss of assigning an image to all prototypes alike."""
        return {"uniform": float(np.log(self._prototypes()))}


def views_of(batch: Mapping[str, Array], weights: Float[Array, "B"]) -> tuple[list[Array], list[Array]]:
    """The large and the small views of a batch, with zeros in rows that do not count; two large ones at least."""
    clean = {
        name: jnp.where(weights[:, None, None, None] > 0, x, 0)
        for name, x in sorted(batch.items())
        if name.rpartition("/")[2] == NAME
    }
    large = [x for name, x in clean.items() if not name.startswith(LOCAL)]
    return large * 2 if len(large) == 1 else large, [x for name, x in clean.items() if name.startswith(LOCAL)]


def compared(logits: Float[Array, "V B K"], chances: Float[Array, "G B K"], temperature: float) -> Float[Array, "B"]:
    """The cross-entropy of each view with the assignment of each large view but itself, the mean over these pairs.

    Caron et al. 2021, equation 3; the first G views are the large ones.
    """
    seen = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    each = -jnp.einsum("gbk,vbk->gvb", chances, seen)
    apart = ~jnp.eye(len(chances), len(logits), dtype=bool)
    return (each * apart[..., None]).sum((0, 1)) / apart.sum()


def koleo_of_views(x: Float[Array, "G*B D"], weights: Float[Array, "B"], views: int) -> Float[Array, "B"]:
    """The mean of `koleo` over the views, each of which is compared with the same view of other images."""
    return sum(koleo(part, weights) for part in jnp.split(x, views)) / views
