"""Attention whose queries, keys and values are one projection of each head: a step that compresses the tokens.

Yu, Buchanan, Pai, Chu, Wu, Tong, Haeffele, Ma, "White-Box Transformers via Sparse Rate Reduction", 2023, equations 12
and 13 (multi-head subspace self-attention). That the maps back from the subspaces are free follows the authors'
program.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.kernels.attention import attention
from xfm.parts.linear import Linear
from xfm.spec import SpecError


class SubspaceAttention(nn.Module):
    """o(softmax(u uᵀ / sqrt(H)) u) with u = U x in each of N heads.

    heads: N subspaces.  width: H, D / N if None.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    width: Count | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        if state is not None:
            raise XfmError("mixer 'subspace_attention' keeps no state; give it state=None")
        N, D = self.heads, x.shape[-1]
        if self.width is None and D % N:
            raise SpecError(f"subspace_attention: a width of {D} does not divide among {N} heads; set heads or width")
        u = Linear((N, self.width or D // N), bias=False, name="q")(ctx.clean(x))
        y = attention(u, u, u, segments=ctx.attending, mask=ctx.mask)
        return Linear(D, axes=2, name="o")(y), None
