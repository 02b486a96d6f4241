"""Mixers one after the other, without a residual connection between them: what the second one reads, the first made."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import NotEmpty
from xfm.spec import Spec, build


class InTurn(nn.Module):
    """mixers[-1](… mixers[0](x)), such as attention over what a state space made.  mixers: their specs."""

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    mixers: Annotated[Sequence[Spec], NotEmpty()]

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        if state is not None:
            raise XfmError("mixer 'in_turn' keeps no state; give it state=None")
        for i, spec in enumerate(self.mixers):
            x, _ = build("mixer", spec, name=f"mixer_{i}")(ctx.clean(x), ctx)
        return x, None
