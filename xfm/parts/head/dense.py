"""One more layer at each token before another head, as ModernBERT's and EuroBERT's heads have it.

Warner et al. 2024 (ModernBERT), whose heads share one such layer; Boizard et al. 2025 (EuroBERT).
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Rate
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class DenseHead(nn.Module):
    """head(norm(activation(W x + b))), at every token.

    head: spec of the head slot.  norm: none if None.  drop: before the head.
    """

    head: Spec
    activation: str = "gelu"
    bias: bool = True
    norm: Spec | None = None
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *any"]:
        x = activation(self.activation)(Linear(x.shape[-1], self.bias, name="dense")(ctx.clean(x)))
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        x = nn.Dropout(self.drop)(x, deterministic=not ctx.train)
        return build("head", self.head, name="head")(x, ctx)
