"""Attention of each token to a coarser grid: spatial reduction of keys and values.

Wang et al. 2021 (PVT), section 3.3, with a strided convolution; Wang et al. 2022 (PVT v2), section 3.2.1, also with a
pool to a fixed number of tokens, whose cost is linear in the grid's tokens.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.grid import of_grid
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import Spec, SpecError, build

MEMORY = "reduced"


class Reduced(nn.Module):
    """`mixer` with `down(x)` as its memory "reduced".

    down: spec of the slot `down`; it keeps the width.  mixer: spec of an attention with memory="reduced".
    A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "reads a coarser grid of a whole row"
    mixes_all: ClassVar[bool] = True

    mixer: Spec
    down: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("reduced", ctx, state)
        mixer = build("mixer", self.mixer, name="mixer")
        if getattr(mixer, "memory", None) != MEMORY:
            raise SpecError(
                f"mixer 'reduced' gives its mixer a coarser grid as the memory {MEMORY!r}; set mixer.memory={MEMORY!r}"
            )
        ctx, x = of_grid(ctx, x.shape[1]), ctx.clean(x)
        coarse, there = build("down", self.down, name="down")(x, ctx)
        memory = there.remember(MEMORY, coarse).memory
        return mixer(x, ctx.replace(memory=memory))[0], None
