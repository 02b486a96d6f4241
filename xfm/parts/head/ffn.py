"""A feed-forward layer before another head, with a residual connection around it and a norm after it.

Zaheer et al. 2020 (BigBird), whose published question-answering models end in this way.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Rate
from xfm.parts.ffn import FFNS
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

NORM = freeze(dict(kind="layernorm"))


class FFNHead(nn.Module):
    """head(norm(x + ffn(x))), at every token.

    ffn, head: specs of those slots.  norm: none if None.  drop: rate of dropout on the input and the output of the ffn.
    """

    ffn: Spec
    head: Spec
    norm: Spec | None = NORM
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *any"]:
        x, drop = ctx.clean(x), nn.Dropout(self.drop, deterministic=not ctx.train)
        y, _ = build(FFNS, self.ffn, name="ffn")(drop(x), ctx)
        y = x + drop(y)
        if self.norm is not None:
            y = build(NORMS, self.norm, name="norm")(y)
        return build("head", self.head, name="head")(y, ctx)
