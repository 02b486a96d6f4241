"""An MLP whose maps are block-diagonal. Jiang et al. 2020 (ConvBERT), section 4.3, "grouped linear operator"."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.param import param
from xfm.spec import SpecError


def grouped(
    x: Float[Array, "*any D"], kernel: Float[Array, "G d f"], bias: Float[Array, "F"]
) -> Float[Array, "*any F"]:
    """Each of G equal groups of channels times its own matrix, concatenated, plus the bias."""
    G, d, _ = kernel.shape
    y = jnp.einsum("...gd,gdf->...gf", x.reshape(*x.shape[:-1], G, d), kernel.astype(x.dtype))
    return y.reshape(*x.shape[:-1], -1) + bias.astype(x.dtype)


class GroupedLinear(nn.Module):
    """A linear map [*any D] -> [*any features] in `groups` groups of channels that do not mix."""

    features: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any features"]:
        D, G = x.shape[-1], self.groups
        if G < 1 or D % G or self.features % G:
            raise SpecError(f"grouped_mlp: widths of {D} and {self.features} do not divide among {G} groups")
        init = nn.initializers.lecun_normal(batch_axis=0)
        kernel = param(self, "kernel", init, (G, D // G, self.features // G))
        return grouped(x, kernel, param(self, "bias", nn.initializers.zeros, (self.features,)))


class GroupedMLP(nn.Module):
    """down(activation(up(x))), both maps in groups.

    hidden: F.  groups: G.  drop: rate of dropout on the hidden units.
    """

    hidden: Count
    groups: Count
    activation: str = "gelu"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        h = activation(self.activation)(GroupedLinear(self.hidden, self.groups, name="up")(ctx.clean(x)))
        h = nn.Dropout(self.drop)(h, deterministic=not ctx.train)
        return GroupedLinear(x.shape[-1], self.groups, name="down")(h), state
