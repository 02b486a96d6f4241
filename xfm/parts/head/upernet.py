"""UPerNet's head: the coarsest map pooled at several scales, a feature pyramid, and all of its maps joined.

Xiao, Liu, Zhou, Jiang, Sun, "Unified Perceptual Parsing for Scene Understanding", 2018, section 3.2 and figure 4; the
pooling is that of Zhao et al. 2017 (PSPNet), section 3.2. The oracle is transformers' UperNetHead.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.head.conv_norm import ConvNorm
from xfm.parts.head.fpn import top_down
from xfm.parts.head.maps import maps_of
from xfm.parts.linear import Linear
from xfm.parts.resize import resize_maps
from xfm.spec import Spec, freeze

LAYERNORM = freeze(dict(kind="layernorm", eps=1e-5))


def pool_matrix(before: int, after: int) -> np.ndarray:
    """[after before]: the mean of the samples from i · before / after, rounded down, to the next, rounded up."""
    i, at = np.arange(after)[:, None], np.arange(before)
    inside = (at >= i * before // after) & (at < -(-(i + 1) * before // after))
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def pooled(x: Float[Array, "B h w D"], scale: int) -> Float[Array, "B scale scale D"]:
    """The means over scale x scale parts of the map, which overlap where its sides do not divide."""
    rows, columns = (jnp.asarray(pool_matrix(side, scale), x.dtype) for side in x.shape[1:3])
    return jnp.einsum("ph,qw,bhwd->bpqd", rows, columns, x)


class UPerNet(nn.Module):
    """Logits [B h w classes] over the finest map.

    width: of all maps in the head.  scales: sides of the grids to which the coarsest map is pooled.
    norm, activation: after each convolution; the paper's norm is `fixed_batchnorm` once its statistics are known.
    drop: before the last map.
    """

    classes: CountOrZero
    width: Count = 512
    scales: tuple[Count, ...] = (1, 2, 3, 6)
    norm: Spec | None = LAYERNORM
    activation: str = "relu"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B h w classes"]:
        def conv(size, name):
            return ConvNorm(self.width, size, self.norm, self.activation, name=name)

        *finer, top = maps_of(x, ctx, "head 'upernet'")
        parts = [conv(1, f"pool_{i}")(pooled(top, scale)) for i, scale in enumerate(self.scales)]
        parts = [resize_maps(part, top.shape[1:3]) for part in parts]
        top = conv(3, "top")(jnp.concatenate([top, *parts], -1))
        *finer, top = top_down([*(conv(1, f"lateral_{i}")(one) for i, one in enumerate(finer)), top], "bilinear")
        maps = [*(conv(3, f"level_{i}")(one) for i, one in enumerate(finer)), top]
        y = jnp.concatenate([resize_maps(one, maps[0].shape[1:3]) for one in maps], -1)
        y = nn.Dropout(self.drop)(conv(3, "join")(y), deterministic=not ctx.train)
        return Linear(self.classes, name="out")(y)
