"""A mixer of a narrower stream, between two linear maps: the branch of a ResNet's bottleneck block.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2016, figure 5; with another mixer in the place of
the convolution: Srinivas et al. 2021 (BoTNet), section 3; Bello 2021 (LambdaNetworks), section 5.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class Bottleneck(nn.Module):
    """out_norm(W a(mixer_norm(mixer(a(in_norm(V x)))))), with an activation a and no biases.

    inner: width of V x.  mixer: spec of a mixer of that width.  norm: spec of the three norms.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    inner: Count
    mixer: Spec
    activation: str = "relu"
    norm: Spec = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("bottleneck", ctx, state)
        a = activation(self.activation)

        def normed(place, h):
            return build(NORMS, self.norm, name=f"{place}_norm")(h)

        h = a(normed("in", Linear(self.inner, bias=False, name="in")(ctx.clean(x))))
        h = a(normed("mixer", build("mixer", self.mixer, name="mixer")(ctx.clean(h), ctx)[0]))
        return normed("out", Linear(x.shape[-1], bias=False, name="out")(h)), None
