"""Features of a network's layers as mixtures that are to equal the layers of another one: Dynamic Alignment.

Xue, Gao, Li, Qiao, Sun, Li, Luo, "Stare at What You See: Masked Image Modeling without Reconstruction" (MaskAlign,
2023); the start of the weights is that of the authors' program.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.linear import Linear
from xfm.parts.param import param


def mixed(streams: Float[Array, "S B T D"], weights: Float[Array, "R S"]) -> Float[Array, "R B T D"]:
    """R sums of the S streams, each with weights of its own."""
    return jnp.einsum("rs,sbtd->rbtd", weights.astype(streams.dtype), streams)


class Alignment(nn.Module):
    """A mixture of all streams for each layer that is read, and a linear map of it.

    read: numbers of the other network's layers.  width: of its features.  The weights start at 0.01, and at 1.01 for
    the stream of the same number.
    """

    read: tuple[Count, ...]
    width: Count

    @nn.compact
    def __call__(
        self, streams: Mapping[str, Float[Array, "B T D"]], *, train: bool = False
    ) -> dict[str, Float[Array, "B T width"]]:
        """The features of each layer that is read, such as "layer_8", from streams of such names.

        Raises XfmError where there is no stream of the number of a layer that is read.
        """
        names = sorted(streams, key=lambda name: int(name.rpartition("_")[2]))
        for layer in self.read:
            if f"layer_{layer}" not in streams:
                raise XfmError(
                    f"layer {layer} of the teacher is read, and the network puts out {', '.join(names) or 'no layer'}; "
                    f"let config.model.taps have {layer}"
                )

        def start(rng, shape):
            own = [[float(name == f"layer_{layer}") for name in names] for layer in self.read]
            return jnp.array(own) + 0.01

        weights = param(self, "mix", start, (len(self.read), len(names)))
        made = mixed(jnp.stack([streams[name] for name in names]), weights)
        return {
            f"layer_{layer}": Linear(self.width, name=f"out_{layer}")(x)
            for layer, x in zip(self.read, made, strict=True)
        }
