"""The input of a decoder that predicts hidden patches: an encoder's tokens, and a mask token for each hidden patch.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022), section 3; Assran et al. (I-JEPA, 2023), section
3, whose predictor reads the same. The oracle is the decoder of transformers' ViTMAEForPreTraining.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.embed.base import Embed
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NO_POSITION = freeze(dict(kind="none"))


def rows_of(table: Float[Array, "#B T D"], numbers: Int[Array, "B K"]) -> Float[Array, "B K D"]:
    """The rows of these numbers, of each batch row's own table or of one that all share."""
    table = jnp.broadcast_to(table, (numbers.shape[0], *table.shape[1:]))
    return jnp.take_along_axis(table, numbers[..., None], axis=1)


class Latents(Embed):
    """Leading tokens, then visible patches, then a mask token for each patch to predict, all with their positions.

    Of a batch it reads: latents [B L+V E], the encoder's L leading tokens and V visible patches; encoded [B V] and
    predicted [B K], the numbers of these patches in row-major order of the grid; and of its images only their size.
    patch: P, or (rows, columns), of the encoder.  width: D, to which latents are mapped.  position: spec of the
    position slot, of leading tokens and all patches of the grid, of which each token takes its own.  norm: of the
    latents before they are mapped, none if None.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    patch: Count | tuple[Count, Count]
    width: Count
    position: Spec = NO_POSITION
    norm: Spec | None = None

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """One leading token and three visible patches of an image of four, of which the last is predicted."""
        p, q = (self.patch, self.patch) if isinstance(self.patch, int) else self.patch
        images = ((2 * p, 2 * q, 3), np.float32)
        return dict(
            latents=((4, self.width), np.float32), encoded=((3,), np.int32), predicted=((1,), np.int32), images=images
        )

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        p, q = (self.patch, self.patch) if isinstance(self.patch, int) else self.patch
        h, w = batch["images"].shape[1] // p, batch["images"].shape[2] // q
        latents, encoded, predicted = batch["latents"], batch["encoded"], batch["predicted"]
        lead = latents.shape[1] - encoded.shape[1]
        if lead < 0:
            raise XfmError(
                f"the batch has {latents.shape[1]} latents and {encoded.shape[1]} patches are encoded; there must be a "
                "latent of each"
            )
        x = latents.astype(ctx.dtype)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        x = Linear(self.width, name="in")(x)
        token = param(self, "mask", nn.initializers.normal(0.02), (self.width,)).astype(x.dtype)
        x = jnp.concatenate([x, jnp.broadcast_to(token, (*predicted.shape, self.width))], axis=1)

        empty = jnp.zeros((1, lead + h * w, self.width), x.dtype)
        places = build(POSITIONS, self.position, name="position").add(empty, ctx.replace(grid=(h, w)))
        first = jnp.broadcast_to(places[:, :lead], (x.shape[0], lead, self.width))
        own = rows_of(places[:, lead:], jnp.concatenate([encoded, predicted], axis=1))
        return x + jnp.concatenate([first, own], axis=1), ctx
