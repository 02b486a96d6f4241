"""A mixer that reads the positions anew in each layer, through a norm of their own.

Yu, Chen, Tang, Wang, Wang, Wang, Yang, "LaPE: Layer-adaptive Position Embedding for Vision Transformers with
Independent Layer Normalization", 2023, section 3.2: the norm of the tokens is the sublayer's.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class Positioned(nn.Module):
    """mixer(x + norm(p)), p being what the position adds to a stream of zeros.

    mixer: spec of a mixer.  position: spec of a position that is added: "shared" for one table of the stack's own
    `position`, or one without parameters.  norm: of the positions in this layer.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    position: Spec
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        if state is not None:
            raise XfmError("mixer 'positioned' keeps no state; give it state=None")
        empty = jnp.zeros_like(x if ctx.positions is not None else x[:1])
        p = build(POSITIONS, self.position, name="position").add(empty, ctx)
        x = ctx.clean(x) + build(NORMS, self.norm, name="norm")(p)
        return build("mixer", self.mixer, name="mixer")(x, ctx)
