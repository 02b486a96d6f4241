"""SegFormer's head: maps of all stages, each mapped to one width and enlarged, joined by one more linear map.

Xie, Wang, Yu, Anandkumar, Alvarez, Luo, "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", 2021, section 3.2 and equation 4. The oracle is transformers' SegformerDecodeHead.

Enlarging is linear and its weights add up to 1, so it may come after the joining map: each stage's share of the joint
map is computed at that stage's own size, which takes a third of the products.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.activation import activation
from xfm.parts.head.maps import maps_of
from xfm.parts.linear import Linear, linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.resize import resize_maps
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm", eps=1e-5))


def joined(maps: Sequence[Float[Array, "B h w F"]], kernel: Float[Array, "levels*F E"]) -> Float[Array, "B H W E"]:
    """All maps, enlarged to the first one's size and concatenated, the last one first, times the kernel."""
    backwards = maps[::-1]
    shares = jnp.split(kernel, np.cumsum([one.shape[-1] for one in backwards])[:-1])
    return sum(resize_maps(linear(one, k), maps[0].shape[1:3]) for one, k in zip(backwards, shares, strict=True))


class Join(nn.Module):
    """Owns the kernel of `joined`."""

    width: int

    @nn.compact
    def __call__(self, maps: Sequence[Float[Array, "B h w F"]]) -> Float[Array, "B H W width"]:
        shape = (sum(one.shape[-1] for one in maps), self.width)
        return joined(maps, param(self, "kernel", nn.initializers.lecun_normal(), shape).astype(maps[0].dtype))


class AllMLP(nn.Module):
    """Logits [B h w classes] over the finest map.

    width: F, to which every map is mapped.  norm, activation, drop: after the joining map, which has no bias.
    norm is a layer norm here; the paper's is `fixed_batchnorm` once its statistics are known.
    """

    classes: CountOrZero
    width: Count = 256
    norm: Spec | None = LAYERNORM
    activation: str = "relu"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B h w classes"]:
        maps = maps_of(x, ctx, "head 'all_mlp'")
        maps = [Linear(self.width, name=f"level_{i}")(one) for i, one in enumerate(maps)]
        y = Join(self.width, name="join")(maps)
        if self.norm is not None:
            y = build(NORMS, self.norm, name="norm")(y)
        y = nn.Dropout(self.drop)(activation(self.activation)(y), deterministic=not ctx.train)
        return Linear(self.classes, name="out")(y)
