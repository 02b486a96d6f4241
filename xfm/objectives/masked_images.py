"""Masked image modelling: what is hidden of an image, or of a video, is predicted from the rest.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (MAE, 2022); Xie et al., "SimMIM" (2022); Bao et al.,
"BEiT: BERT Pre-Training of Image Transformers" (2022); Tong et al., "VideoMAE" (2022), of videos; Tian et al.,
"Designing BERT for Convolutional Networks" (SparK, 2023). They differ in what the encoder is given, in the shape of the
mask, and in the target.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.objectives.base import Objective, answer, array_of, counted, row_weights, weighted
from xfm.objectives.masks import Split, mask_of, side_of, split_of
from xfm.objectives.targets import TARGETS, Target
from xfm.parts.embed.latents import rows_of
from xfm.parts.embed.patchify import patchify, seen_in
from xfm.spec import build


@dataclasses.dataclass(frozen=True)
class MaskedImages(Objective):
    """The loss of the head "patches", or of the image that the head "pixels" makes, at hidden patches alone.

    mask: spec of a sampler (see masks.py).  target: spec of what is predicted (see targets.py).
    shown: what the encoder is given, "visible" patches alone, for a network of kind "autoencoder" (MAE), or all patches
    with mask "tokens" in place of the hidden ones, for an embedding with such a token (BEiT, SimMIM), or all patches,
    the hidden ones as "padding" of zeros, which no part of a network lets reach a visible one (SparK).
    """

    unit: ClassVar[str] = "of each patch"

    mask: Mapping[str, Any] = FrozenDict(kind="random")
    target: Mapping[str, Any] = FrozenDict(kind="pixels", scale="patch")
    shown: Literal["visible", "tokens", "padding"] = "visible"

    def __post_init__(self):
        mask_of(self.mask, "multi_block", "by_loss")
        if self.shown == "padding":
            self._check_squares()
        self.wanted  # noqa: B018 (a wrong spec is refused here)

    @property
    def wanted(self) -> Target:
        """The target."""
        return build(TARGETS, self.target)

    @property
    def seen(self) -> str:
        """The name in a batch of what the network reads: images, or a video."""
        return seen_in(self.model.patch)

    def init(self, rng, batch):
        """Fresh parameters, and as extra["target"] what the target keeps, if it keeps anything."""
        params, extra = super().init(rng, batch)
        state = self.wanted.start(rng, array_of(batch, self.seen), self.model.patch)
        return params, {**extra, **({"target": state} if state else {})}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. The loss is the mean over hidden patches; targets may have further metrics."""
        choose, code, drop = jax.random.split(rng, 3)
        (images, weights), target = counted(batch, self.seen), self.wanted
        batch = {**batch, self.seen: images}
        if train and "target" in extra:
            state = target.updated(extra["target"], images, self.model.patch, weights, step, code)
            extra = {**extra, "target": jax.lax.stop_gradient(state)}
        split = self.split(images, choose)
        predicted, sown = self.predicted(params, batch, split, drop, train)
        wanted = hidden_of(target.of(extra.get("target", {}), images, self.model.patch), split)
        measured = target.measured(predicted, jax.lax.stop_gradient(wanted))
        every = row_weights(batch, split.hidden.shape)
        return *self.summed({name: weighted(x, every) for name, x in measured.items()}, batch, sown), extra

    def split(self, images: Float[Array, "B *sides C"], rng: Array) -> Split:
        """Which patches of these images are hidden."""
        return split_of(self.mask, self.model.patch, images, rng)

    def predicted(
        self, params: Any, batch: Mapping[str, Array], split: Split, rng: Array | None = None, train: bool = False
    ) -> tuple[Float[Array, "B K X"], Mapping[str, Any]]:
        """The predictions of the hidden patches, and what the network sowed."""
        out, sown = self.forward("model", params, {**batch, **self.given(batch, split)}, rng, train)
        return self.read(out, split), sown

    def given(self, batch: Mapping[str, Array], split: Split) -> dict[str, Array]:
        """The arrays by which the network knows what is hidden."""
        if self.shown == "visible":
            return {"visible": split.visible, "predicted": split.hidden}
        hidden = split.mask(split.visible.shape[1] + split.hidden.shape[1])
        if self.shown == "tokens":
            return {"hidden": hidden}
        images, patch = batch[self.seen], self.model.patch
        grid = (side // one for side, one in zip(images.shape[1:-1], patch, strict=True))
        blank = hidden.reshape(len(images), *grid, 1)
        for axis, one in enumerate(patch):
            blank = blank.repeat(one, axis + 1)
        segments = jnp.pad(1 - hidden.astype(jnp.int32), ((0, 0), (self.model.lead, 0)), constant_values=1)
        return {self.seen: jnp.where(blank, 0, images), "segments": segments}

    def read(self, out: Mapping[str, Array], split: Split) -> Float[Array, "B K X"]:
        """The predictions of the hidden patches among the network's outputs."""
        if self.shown == "visible":
            return answer(out, "patches")[:, -split.hidden.shape[1] :]
        if "pixels" in out:
            return hidden_of(patchify(out["pixels"], self.model.patch), split)
        made = answer(out, "patches")  # at all patches, and at what is before them where the head is at every token
        return hidden_of(made[:, made.shape[1] - split.visible.shape[1] - split.hidden.shape[1] :], split)

    def baseline(self, data):
        """Those of the target: of predictors that know the mean pixel or image, or nothing of the codes."""
        return self.wanted.baseline(data, self.model.patch)

    def _check_squares(self) -> None:
        """Raises XfmError where a token of a pyramid's coarsest grid may cover visible and hidden pixels."""
        side, coarsest = side_of(self.mask), (1, 1)
        for stride in self.model.strides().values():
            coarsest = tuple(map(max, stride, coarsest))
        if any(side * one % stride for one, stride in zip(self.model.patch[-2:], coarsest, strict=True)):
            hides = " x ".join(str(side * one) for one in self.model.patch[-2:])
            raise XfmError(
                f"masked_images with shown='padding' hides squares of {hides} pixels, and a token of the last stage "
                f"has {coarsest[0]} x {coarsest[1]}; set mask to kind 'units' with a unit of as many patches"
            )


def hidden_of(x: Array, split: Split) -> Array:
    """The rows of x [B T …] that belong to hidden patches, [B K …]."""
    if x.ndim == 2:
        return jnp.take_along_axis(x, split.hidden, axis=1)
    return rows_of(x, split.hidden)


def require_autoencoder(kind: str, model: Any) -> None:
    """Raises XfmError unless the network encodes visible patches and decodes the others."""
    if not hasattr(model, "decoder"):
        raise XfmError(f"{kind} needs a network of kind 'autoencoder', with a decoder; set config.model")
