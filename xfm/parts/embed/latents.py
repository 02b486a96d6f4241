"""The input of a decoder that predicts hidden patches: an encoder's tokens, and a mask token for each hidden patch.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022), section 3; Assran et al. (I-JEPA, 2023), section
3, whose predictor reads the same. The oracles are the decoders of transformers' ViTMAEForPreTraining and
VideoMAEForPreTraining.
"""

import math
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
from xfm.parts.embed.patchify import seen_in
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
    predicted [B K], the numbers of these patches in row-major order of the grid; and of its images only their size, or
    of its video where a patch has three sides.
    patch: P, or (rows, columns), or (frames, rows, columns), of the encoder.  width: D, to which latents are mapped.
    position: spec of the position slot, of leading tokens and all patches of the grid, of which each token takes its
    own.  bias: of the map to D.  norm: of the latents before that map, none if None.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    patch: Count | tuple[Count, Count] | tuple[Count, Count, Count]
    width: Count
    position: Spec = NO_POSITION
    bias: bool = True
    norm: Spec | None = None

    @nn.nowrap
    def step(self) -> tuple[int, ...]:
        """Rows and columns of a patch, or frames, rows and columns."""
        return (self.patch, self.patch) if isinstance(self.patch, int) else tuple(self.patch)

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """One leading token and three visible patches of an image of four, of which the last is predicted."""
        *frames, p, q = self.step()
        seen = {self._seen(): ((*frames, 2 * p, 2 * q, 3), np.float32)}
        return dict(latents=((4, self.width), np.float32), encoded=((3,), np.int32), predicted=((1,), np.int32)) | seen

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        sides = batch[self._seen()].shape[1:-1]
        grid = tuple(side // one for side, one in zip(sides, self.step(), strict=True))
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
        x = Linear(self.width, self.bias, name="in")(x)
        token = param(self, "mask", nn.initializers.normal(0.02), (self.width,)).astype(x.dtype)
        x = jnp.concatenate([x, jnp.broadcast_to(token, (*predicted.shape, self.width))], axis=1)

        empty = jnp.zeros((1, lead + math.prod(grid), self.width), x.dtype)
        places = build(POSITIONS, self.position, name="position").add(empty, ctx.replace(grid=grid))
        first = jnp.broadcast_to(places[:, :lead], (x.shape[0], lead, self.width))
        own = rows_of(places[:, lead:], jnp.concatenate([encoded, predicted], axis=1))
        return x + jnp.concatenate([first, own], axis=1), ctx

    @nn.nowrap
    def _seen(self) -> str:
        """The name in a batch of what the encoder reads."""
        return seen_in(self.step())
