"""Attention within blocks that do not overlap. Clark et al. 2021 (CANINE), section 3.2: the layer of characters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from xfm.context import positions_within
from xfm.fields import Count
from xfm.kernels.attention import Mask
from xfm.kernels.counting import included, stated
from xfm.parts.sight.base import Sight, texts, whole_texts_only


def blocks(segments: Int[Array, "B T"], size: int) -> Int[Array, "B T"]:
    """The number, from 1, of each token's block, 0 at padding: a text's blocks are counted from its first token.

    A text that padding interrupts begins again after it.
    """
    number = jnp.cumsum(positions_within(segments) % size == 0, axis=1)
    return jnp.where(segments > 0, number, 0)


def without_keys(number: Int[Array, "B T"], heard: Bool[Array, "B T"]) -> Bool[Array, "B T"]:
    """Which tokens are in a block none of whose keys may be attended to."""
    most = number.shape[1] + 1
    count = jax.vmap(lambda n, h: jax.ops.segment_sum(h.astype(jnp.int32), n, most)[n])(number, heard)
    return (count == 0) & (number > 0)


class BlockLocal(Sight):
    """A token attends to those of its own block. Time and memory are linear in length.

    block: tokens in one; the last of a text may be shorter.
    A block whose tokens all only attend returns the mean of their values, weighted by the position's bias if there is
    one, as a softmax does if the same large number is subtracted from every score.
    """

    block: Count = 128

    def __call__(self, projections, attend, ctx):
        whole_texts_only("block_local", ctx)
        own = projections[""]
        number = blocks(texts(ctx, own.q), self.block)
        segments = number
        if ctx.heard is not None:
            keyless = without_keys(number, ctx.heard)
            own = own._replace(q=jnp.where(keyless[..., None, None], 0, own.q))
            segments = number, jnp.where(ctx.heard | keyless, number, 0)
        with included():
            y = attend(own, segments=segments, mask=Mask.window(self.block - 1, self.block - 1))
        return stated(y, 4 * min(self.block, y.shape[1]))
