"""An MLP of patches with a depthwise convolution, whose mean over the patches scales the tokens before them.

Lu et al. 2022 (DHVT): the dynamic aggregation feed-forward. Since it moves information between tokens it
is a mixer, though it takes the place of an ffn. The oracle is the authors' program.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Depthwise
from xfm.parts.grid import pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class AggregatedMLP(nn.Module):
    """p = norm(down(h + a(norm(conv(h))))) with h = a(norm(up(x))) for patches; x · W a(V · mean of p) for the others.

    a: the activation.  hidden: F.  inner: width of V.  size: rows and columns of the convolution, odd.  norm: each of
    the three.  A row holds one text: tokens of a class, then the patches of a grid; without a grid all tokens but the
    first are one of one row.
    """

    whole_row: ClassVar[str | None] = "takes the mean of a whole row"
    mixes_all: ClassVar[bool] = True

    hidden: Count
    inner: Count
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"
    norm: Spec = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("aggregated_mlp", ctx, state)
        a, x, D = activation(self.activation), ctx.clean(x), x.shape[-1]
        grid = ctx.grid or (1, x.shape[1] - 1)
        lead = x.shape[1] - math.prod(grid)
        if lead < 1:
            raise SpecError(
                f"mixer 'aggregated_mlp' scales the tokens before the patches, and all {x.shape[1]} are patches; set "
                "embed.cls=1"
            )
        first, patches = x[:, :lead], x[:, lead:]
        inner = ctx.replace(grid=grid, segments=None if ctx.segments is None else ctx.segments[:, lead:])

        def norm(name, y):
            return build(NORMS, self.norm, name=name)(y)

        h = a(norm("up_norm", Linear(self.hidden, name="up")(patches)))
        h = h + a(norm("conv_norm", Depthwise(pair(self.size), "mixer 'aggregated_mlp'", name="conv")(h, inner)))
        y = norm("down_norm", Linear(D, name="down")(h))
        real = inner.real(y)[..., None]
        mean = jnp.where(real, y, 0).sum(1, dtype=jnp.float32) / jnp.maximum(real.sum(1), 1)
        g = Linear(D, name="excite")(a(Linear(self.inner, name="squeeze")(mean.astype(y.dtype))))
        return jnp.concatenate([first * g[:, None], y], axis=1), None
