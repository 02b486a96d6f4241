"""Autoencoder: an encoder of the visible patches of an image, and a decoder that predicts the hidden ones.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022), section 3. I-JEPA's predictor (Assran et al. 2023)
is such a decoder too. The encoder's parameters are where a network that is the encoder alone has them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from xfm.spec import Spec
from xfm.structures.base import Layer, Structure
from xfm.structures.stack import Stack


class Autoencoder(Structure):
    """A Stack, and below "decoder" another one whose embedding is of kind "latents".

    encoder, decoder: the fields of the two, without `kind`. The decoder runs where the batch has `visible` [B V] and
    `predicted` [B K]; it reads the encoder's tokens, with its heads at all patches: first the visible ones, then those
    to predict. Without these arrays the network is the encoder, which reads whole images.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    encoder: Spec
    decoder: Spec

    @property
    def embed(self) -> Spec:
        """The spec of the encoder's embedding."""
        return self.encoder["embed"]

    @property
    def heads(self) -> Mapping[str, Spec]:
        """The encoder's heads, and the decoder's."""
        return {**self.encoder.get("heads", {}), **self.decoder.get("heads", {})}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """What the encoder returns, and beside it the output of each head of the decoder [B V+K …] by its name."""
        encoder = self._of(self.encoder, name="encoder")
        nn.share_scope(self, encoder)
        out = encoder(batch, train=train)
        if "predicted" in batch:
            visible, predicted = batch["visible"], batch["predicted"]
        elif self.is_initializing():  # so that a batch of images is enough to make all parameters
            visible = jnp.zeros((batch["images"].shape[0], out["hidden"].shape[1]), jnp.int32)
            predicted = visible[:, :1]
        else:
            return out
        given = dict(latents=out["hidden"], encoded=visible, predicted=predicted, images=batch["images"])
        lead = out["hidden"].shape[1] - visible.shape[1]
        count = visible.shape[1] + predicted.shape[1]
        given["at"] = jnp.broadcast_to(jnp.arange(lead, lead + count), (visible.shape[0], count))
        if "real" in batch:
            real = batch["real"].astype(jnp.int32)
            given["segments"] = jnp.pad(real, ((0, 0), (lead, predicted.shape[1])), constant_values=1)
        made = self._of(self.decoder, name="decoder")(given, train=train)
        return {**out, **{name: value for name, value in made.items() if name != "hidden"}}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        inner = (one._replace(path=f"decoder/{one.path}", group="decoder") for one in self._of(self.decoder).sublayers())
        return [*self._of(self.encoder).sublayers(), *inner]

    @nn.nowrap
    def _of(self, fields: Spec, **given: Any) -> Stack:
        from xfm.spec import build

        given = given or dict(parent=None)
        return build({"stack": Stack}, {"kind": "stack", **fields}, **given)
