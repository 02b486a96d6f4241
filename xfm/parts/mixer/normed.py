"""A mixer with a norm of its own, inside of another mixer.

In a window that reaches beyond the grid, zeros that a norm turns into its bias are read like tokens (Wu et al. 2022,
TinyViT, whose program pads the grid before the norm); a norm of the sublayer would leave them zeros.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class Normed(nn.Module):
    """mixer(norm(x)).  mixer: spec of a mixer.  norm: spec of the norm slot."""

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        if state is not None:
            raise XfmError("mixer 'normed' keeps no state; give it state=None")
        return build("mixer", self.mixer, name="mixer")(build(NORMS, self.norm, name="norm")(ctx.clean(x)), ctx)
