"""Several positions at once, such as rotations of q and k together with a bias on their scores.

Fan et al. 2024 (RMT), whose authors' program has RetNet's rotations beside its decay.
"""

from typing import Annotated

from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import NotEmpty
from xfm.kernels.attention import Bias
from xfm.parts.position.base import Position
from xfm.spec import Spec, SpecError, build


class Joined(Position):
    """What each of the positions does, one after the other; one of them at most has a bias.

    positions: specs of the position slot.
    """

    positions: Annotated[tuple[Spec, ...], NotEmpty()]

    def setup(self):
        self.parts = [build("position", spec) for spec in self.positions]

    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        for part in self.parts:
            x = part.add(x, ctx)
        return x

    def rotate(self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context):
        for part in self.parts:
            q, k = part.rotate(q, k, ctx)
        return q, k

    def value(self, v: Float[Array, "B T K H"], ctx: Context) -> Float[Array, "B T K H"]:
        for part in self.parts:
            v = part.value(v, ctx)
        return v

    def bias(self, heads: int, ctx: Context) -> Bias | None:
        """Raises SpecError where several of the positions have a bias."""
        found = [bias for part in self.parts if (bias := part.bias(heads, ctx)) is not None]
        if len(found) > 1:
            kinds = " and ".join(repr(spec["kind"]) for spec in self.positions)
            raise SpecError(f"position 'joined' has several biases among {kinds}; leave all but one out")
        return found[0] if found else None
