"""MaskAlign: features of the visible patches of an image are to be those that a teacher has of the whole image.

Xue, Gao, Li, Qiao, Sun, Li, Luo, "Stare at What You See: Masked Image Modeling without Reconstruction" (2023); the loss
is that of the authors' program.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Count
from xfm.objectives.alignment import Alignment
from xfm.objectives.base import Objective, counted, row_weights, weighted
from xfm.objectives.masks import Split, mask_of, split_of
from xfm.objectives.monitors import mean_row
from xfm.objectives.targets import Distance, distance, of_normal
from xfm.objectives.teachers import require_teacher
from xfm.parts.embed.latents import rows_of
from xfm.structures import build


def whitened(x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
    """Of mean 0 and variance 1 over the features, in float32: a layer norm without parameters."""
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-5)


@dataclasses.dataclass(frozen=True)
class MaskAlign(Objective):
    """Twice the distance of aligned features to the teacher's, the mean over layers, tokens and features.

    The network reads the visible patches alone, and its `taps` are the streams that are aligned. The teacher reads the
    whole image, is never trained, and is kept in extra["teacher"]; its leading tokens are as many as the network's, and
    these are aligned too. The parameters are the network's, which can be used with them as they are, and beside them
    "alignment" (see alignment.py).
    teacher: as in distillation.  read: the layers of the teacher whose streams are targets.  width: of its features.
    mask: spec of a sampler (see masks.py).  scale: "whitened" targets have mean 0 and variance 1 in each token; "none".
    """

    unit: ClassVar[str] = "of each feature"

    teacher: Mapping[str, Any] = FrozenDict()
    read: tuple[Count, ...] = (8, 9, 10, 11, 12)
    width: Count = 768
    mask: Mapping[str, Any] = FrozenDict(kind="random", rate=0.7)
    scale: Literal["whitened", "none"] = "whitened"
    distance: Distance = "smooth"

    def __post_init__(self):
        require_teacher("mask_align", self.teacher)
        mask_of(self.mask, "multi_block", "by_loss")

    @cached_property
    def networks(self):
        teacher = build({**self.teacher["network"], "taps": self.read})
        return {"model": self.model, "teacher": teacher, "alignment": Alignment(self.read, self.width)}

    def init(self, rng, batch):
        """Fresh parameters, and as extra["teacher"] the teacher's: random until a run puts its source's there."""
        first, second, third = jax.random.split(rng, 3)
        params, extra = super().init(first, batch)
        streams = jax.eval_shape(lambda p: layers_of(self.forward("model", p, batch)[0]), params)
        streams = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), streams)
        own = self.networks["alignment"].init(second, streams)["params"]
        teacher = self.networks["teacher"].init(third, batch)["params"]
        return {**params, "alignment": own}, {**extra, "teacher": teacher}

    def params_of(self, name, params):
        """All for the network, which ignores what is not its own; for the alignment its own."""
        return params["alignment"] if name == "alignment" else params

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "mean_image" is the loss of predicting at each position the batch's mean of the targets.

        A network whose loss is not below it has learned positions alone.
        """
        choose, drop = jax.random.split(rng)
        images, weights = counted(batch)
        split = split_of(self.mask, self.model.patch, images, choose)
        aligned, sown = self.aligned(params, {**batch, "images": images}, split, drop, train)
        whole = self.features(extra["teacher"], images)
        wanted = self._visible(whole, split)
        mean = self._visible({name: mean_row(x, weights) for name, x in whole.items()}, split)
        every = row_weights(batch, next(iter(wanted.values())).shape[:2])
        metrics = {"loss": weighted(self._apart(aligned, wanted), every)}
        metrics |= {"mean_image": weighted(self._apart(mean, wanted), every)}
        return *self.summed(metrics, batch, sown), extra

    def aligned(
        self, params: Any, batch: Mapping[str, Array], split: Split, rng: Array | None = None, train: bool = False
    ) -> tuple[dict[str, Float[Array, "B L+V width"]], Mapping[str, Any]]:
        """The features of each layer that is read, from the visible patches alone, and what the network sowed."""
        out, sown = self.forward("model", params, {**batch, "visible": split.visible}, rng, train)
        return self.forward("alignment", params, layers_of(out))[0], sown

    def targets(
        self, teacher: Any, images: Float[Array, "B height width C"], split: Split
    ) -> dict[str, Float[Array, "B L+V width"]]:
        """The teacher's features of leading tokens and visible patches, from the whole image."""
        return self._visible(self.features(teacher, images), split)

    def features(
        self, teacher: Any, images: Float[Array, "B height width C"]
    ) -> dict[str, Float[Array, "B L+T width"]]:
        """The teacher's features of all tokens of the whole image, for each layer that is read."""
        lead, own = self.networks["teacher"].lead, self.model.lead
        if lead != own:
            raise XfmError(f"the teacher has {lead} tokens before the patches and the network {own}; make them as many")
        seen, _ = self.forward("teacher", teacher, {"images": images})
        found = jax.lax.stop_gradient(layers_of(seen))
        return {name: whitened(x) if self.scale == "whitened" else x for name, x in found.items()}

    def _visible(self, features: Mapping[str, Array], split: Split) -> dict[str, Float[Array, "B L+V width"]]:
        """The leading tokens and the visible patches of features of all tokens."""
        lead = self.model.lead
        return {
            name: jnp.concatenate([x[:, :lead], rows_of(x[:, lead:], split.visible)], axis=1)
            for name, x in features.items()
        }

    def _apart(self, features: Mapping[str, Array], wanted: Mapping[str, Array]) -> Float[Array, "B L+V"]:
        """Twice the distance of each token, the mean over layers."""
        each = [2 * distance(features[name], wanted[name], self.distance).mean(-1) for name in wanted]
        return jnp.stack(each).mean(0)

    def baseline(self, data):
        """The loss of a predictor of zeros, if whitened features are normally distributed."""
        return {"zeros": 2 * of_normal(self.distance)} if self.scale == "whitened" else {}


def layers_of(out: Mapping[str, Any]) -> dict[str, Array]:
    """The streams that taps put out, by name."""
    return {name: x for name, x in out.items() if name.startswith("layer_")}
