"""PyramidAutoencoder: a pyramid that reads the visible units of an image, and a decoder that predicts the hidden ones.

Ryali et al., "Hiera" (2023), section 4: a unit is what becomes one token of the last stage, so that hiding whole units
leaves each stage a grid.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from xfm.fields import NotEmpty
from xfm.spec import Spec, build, freeze
from xfm.structures.autoencoder import SHARED, decoded
from xfm.structures.base import Layer, Structure
from xfm.structures.pyramid import Pyramid
from xfm.structures.stack import NO_HEADS, Stack
from xfm.structures.sublayer import NO_NORMS, PLAIN

FUSED = freeze(dict(kind="fused"))


class PyramidAutoencoder(Structure):
    """A Pyramid, whose fields and parameters these are, and below "decoder" a Stack.

    latents: spec of the head of the pyramid whose output [B V D], a vector for each visible unit, the decoder reads.
    decoder: as in Autoencoder; a patch of its embedding is a unit.
    The decoder runs where the batch has `visible` [B V] and `predicted` [B K], the numbers of units; its heads are at
    all units, first the visible ones. Without these arrays the network is the pyramid, which reads whole images.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    stages: Annotated[Sequence[Spec], NotEmpty()]
    decoder: Spec
    latents: Spec = FUSED
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    features: Sequence[str] | None = None
    feature_norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """What the pyramid returns, and beside it the output of each head of the decoder [B V+K …] by its name."""
        encoder = self._encoder(name="encoder")
        nn.share_scope(self, encoder)
        out = encoder(batch, train=train)
        latents = out.pop("latents")
        if "predicted" in batch:
            decoder = self._decoder(name="decoder")
            return {**out, **decoded(decoder, batch, latents, batch["visible"], batch["predicted"], train)}
        if self.is_initializing():  # so that a batch of images is enough to make all parameters
            first = jnp.zeros((latents.shape[0], 1), jnp.int32)
            decoded(self._decoder(name="decoder"), batch, latents[:, :1], first, first, train)
        return out

    @property
    def patch(self) -> tuple[int, ...]:
        """Rows and columns of pixels of a unit."""
        return self._decoder(parent=None).patch

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        inner = self._decoder(parent=None).sublayers()
        decoder = (one._replace(path=f"decoder/{one.path}", group="decoder") for one in inner)
        return [*self._encoder(parent=None).sublayers(), *decoder]

    @nn.nowrap
    def strides(self) -> dict[str, tuple[int, int]]:
        return self._encoder(parent=None).strides()

    @nn.nowrap
    def _encoder(self, **given: Any) -> Pyramid:
        own = ("embed", "stages", "norms", "residual", "norm", "features", "feature_norm", *SHARED)
        heads = {**self.heads, "latents": self.latents}
        return Pyramid(**{name: getattr(self, name) for name in own}, heads=heads, **given)

    @nn.nowrap
    def _decoder(self, **given: Any) -> Stack:
        shared = {name: getattr(self, name) for name in SHARED}
        return build({"stack": Stack}, {"kind": "stack", **shared, **self.decoder}, **given)
