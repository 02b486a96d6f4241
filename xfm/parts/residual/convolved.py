"""A residual connection to which a convolution of the embedding is added: DeBERTa-v2's, after its first layer.

He et al. 2021 (DeBERTa), section 5.2 ("n-gram information": the models of 0.9 and 1.5 billion parameters); the order
of the norms follows the authors' files.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.kernels.conv import grouped
from xfm.parts.activation import activation
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.residual.thinning import thinned
from xfm.spec import Spec, SpecError, build, freeze

NORM = freeze(dict(kind="layernorm"))


class Conv(nn.Module):
    """Owns the kernel and the bias of a convolution over `width` positions."""

    width: int
    groups: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        D = x.shape[-1]
        if self.width % 2 == 0 or D % self.groups:
            raise SpecError(
                f"a convolution has an odd width and groups that divide {D}, not {self.width} and {self.groups}"
            )
        kernel = param(
            self, "kernel", nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2), (self.width, D // self.groups, D)
        )
        bias = param(self, "bias", nn.initializers.zeros, (D,))
        return grouped(x, kernel, bias=bias, segments=ctx.segments)


class Convolved(nn.Module):
    """conv_norm(norm(x + y) + activation(conv(e))), e being the embedding's output, ctx.shared["embedded"].

    width: positions that the convolution reads, odd.  drop: rate of dropout on y and on the convolution.
    """

    width: Count
    groups: Count = 1
    activation: str = "tanh"
    norm: Spec = NORM
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], y: Float[Array, "B T D"], ctx: Context):
        if "embedded" not in ctx.shared:
            raise SpecError('residual "convolved" reads the embedding of a stack, and stands in none')
        ctx.refuse_heard("residual 'convolved'")
        x = build(NORMS, self.norm, name="norm")(ctx.clean(x) + thinned(self, y, ctx, self.drop, 0.0))
        e = Conv(self.width, self.groups, name="conv")(ctx.shared["embedded"], ctx)
        e = nn.Dropout(self.drop, name="conv_drop")(e, deterministic=not ctx.train)
        return build(NORMS, self.norm, name="conv_norm")(x + activation(self.activation)(e))
