"""The vector that an earlier head made, so that several heads share one pooler (BERT's next-sentence head)."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.spec import SpecError


class OfHead(nn.Module):
    """The output of the stack's head of this name; the tokens themselves are not read."""

    head: str

    @property
    def reads(self) -> str:
        """The head that has to run before."""
        return self.head

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        if self.head not in ctx.heads:
            raise SpecError(
                f"pool 'of_head' takes the output of head {self.head!r}, and there is none that runs before"
            )
        return ctx.heads[self.head]
