"""Attention scores fall with the Manhattan distance between the patches of a grid, with a rate for each head.

Fan, Huang, Chen, Liu, He, "RMT: Retentive Networks Meet Vision Transformers" (2024), section 3.2. The published program
adds the logarithm of the decay to the scores, and takes RetNet's decays (Sun et al. 2023, section 2.3), spread evenly
over the heads.
"""

import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import NotNegative, Positive
from xfm.kernels.attention import GridDecay
from xfm.parts.position.base import Position
from xfm.spec import SpecError


def rates(heads: int, first: float = 2.0, spread: float = 4.0) -> Float[Array, "N"]:
    """-log(1 - 2^-(first + spread · n / N)) for n = 0 … N - 1: by how much each step lowers a score of head n."""
    return -np.log1p(-(2.0 ** -(first + spread * np.arange(heads) / heads))).astype(np.float32)


class DecayOverGrid(Position):
    """A bias on scores that falls with the Manhattan distance between patches.

    first, spread: a step multiplies the weights of the heads by 1 - 2^-first to 1 - 2^-(first + spread).
    Needs the grid of an image in the context, and rows that hold its patches alone.
    """

    first: Positive = 2.0
    spread: NotNegative = 4.0

    def bias(self, heads: int, ctx: Context) -> GridDecay:
        if ctx.grid is None or len(ctx.grid) != 2:
            raise SpecError(f"position 'grid_decay' needs the grid (h, w) of a picture in the context, not {ctx.grid}")
        return GridDecay(rates(heads, self.first, self.spread), ctx.grid)
