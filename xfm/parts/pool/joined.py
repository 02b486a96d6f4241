"""Several pooled vectors side by side, as DINOv2's linear classifiers read an image: its cls token and its patches.

Oquab et al. 2023 (DINOv2), section 7.1; the oracle is transformers' Dinov2ForImageClassification.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.spec import Spec, build, freeze

CLS_AND_MEAN = (freeze(dict(kind="cls")), freeze(dict(kind="patch_mean")))


class Joined(nn.Module):
    """The vectors of all `pools`, one after the other.  pools: specs of the pool slot."""

    pools: Sequence[Spec] = CLS_AND_MEAN

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B pools*D"]:
        made = [build("pool", pool, name=f"pool_{i}")(x, ctx) for i, pool in enumerate(self.pools)]
        return jnp.concatenate(made, axis=-1)
