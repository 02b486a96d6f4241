"""The first block of a stage of a ResNet: a bottleneck whose skip connection is a linear map, at strides.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2016, figure 5 and section 3.3, option B; the
stride stands at the convolution in the middle, as in torchvision and timm.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.grid import as_grid
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build, freeze

BATCHNORM, PLAIN = freeze(dict(kind="batchnorm")), freeze(dict(kind="plain"))


class Bottleneck(nn.Module):
    """residual(shortcut_norm(S x), out_norm(W a(mixer_norm(down(mixer(a(in_norm(V x)))))))), no map having a bias.

    width: of the output.  inner: width of V x.  mixer, down: specs of parts of that width, each the identity if None;
    S reads every so many rows and columns as `down` has tokens.  residual: spec of the residual slot.  norm: spec of
    the norms.
    """

    width: Count
    inner: Count
    mixer: Spec | None = None
    down: Spec | None = None
    activation: str = "relu"
    norm: Spec = BATCHNORM
    residual: Spec = PLAIN

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return (1, 1) if self.down is None else build("down", self.down, parent=None).step()

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        a = activation(self.activation)

        def normed(place, h):
            return build(NORMS, self.norm, name=f"{place}_norm")(h)

        x = ctx.clean(x)
        skip = Conv(self.width, (1, 1), self.step(), (0, 0), bias=False, name="shortcut")
        skip = normed("shortcut", skip(as_grid(x, ctx, "down 'bottleneck'")))
        h, coarse = a(normed("in", Linear(self.inner, bias=False, name="in")(x))), ctx
        if self.mixer is not None:
            h, _ = build("mixer", self.mixer, name="mixer")(ctx.clean(h), ctx)
        if self.down is not None:
            h, coarse = build("down", self.down, name="down")(ctx.clean(h), ctx)
        if skip.shape[1:3] != coarse.grid:
            raise SpecError(
                f"down 'bottleneck' makes a grid of {coarse.grid} of one of {ctx.grid}, and its skip connection one of "
                f"{skip.shape[1:3]}; choose an image size and a patch that give a grid which the strides divide"
            )
        h = normed("out", Linear(self.width, bias=False, name="out")(a(normed("mixer", h))))
        skip = skip.reshape(h.shape)
        return build("residual", self.residual, name="skip")(skip, h, coarse), coarse
