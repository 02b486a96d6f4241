"""The contract of a structure: what it states about itself, so that no other package reads its spec."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.embed import EMBEDS
from xfm.spec import SpecError, build


class Layer(NamedTuple):
    """Where a sublayer keeps its parameters.

    path: of its module.  stacked: whether its parameters have a leading axis of repeats.  index: along that axis.
    group: the group of layers that it belongs to, such as "layer" for all of a Stack's and "block_1" for those of a
    Funnel's block.
    """

    path: str
    stacked: bool
    index: int
    group: str


class Structure(nn.Module):
    """Abstract base of networks, with a field `embed`, the spec of the part that reads the batch.

    whole_row: why the output for a text depends on the rest of its row, None where it does not; a structure with a
    reason refuses layout "tokens", which puts several texts into a row.
    mixes_all: whether it mixes tokens outside its layers too, and so refuses a batch where some only attend.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    @property
    def vocab(self) -> int | None:
        """The number of ids that the embedding reads; None where it reads none."""
        return getattr(self._embedding(), "vocab", None)

    @property
    def types(self) -> int | None:
        """The number of token types that the embedding has; None where it has no table of them."""
        types = getattr(self._embedding(), "types", None)
        return types if isinstance(types, int) else None

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes of the arrays of a batch that it reads; "" for those without one."""
        return ("",)

    @nn.nowrap
    def ids(self) -> dict[str, tuple[int, int]]:
        """The ids that the embedding's tables have rows for; see `Embed.ids`."""
        return getattr(self._embedding(), "ids", dict)()

    @nn.nowrap
    def most(self) -> int | None:
        """The largest number of tokens in a row, None for any number."""
        return getattr(self._embedding(), "most", lambda: None)()

    @property
    def patch(self) -> tuple[int, ...]:
        """Rows and columns of a patch of an image, or frames, rows and columns of a tubelet of a video.

        Raises XfmError where the embedding reads neither.
        """
        embed = self._embedding()
        if not hasattr(embed, "step"):
            raise XfmError(f"embed {self.embed['kind']!r} does not divide images into patches; use kind 'patches'")
        return tuple(embed.step())

    @property
    def lead(self) -> int:
        """The number of tokens before those of an image's patches, such as that of a class."""
        return getattr(self._embedding(), "lead", 0)

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        """Where each sublayer keeps its parameters, in the order in which they run; one that loops is listed once."""
        return []

    @nn.nowrap
    def strides(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of pixels from one position of a feature map to the next, for each map that it outputs."""
        return {}

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array that the embedding needs of a row of `length` tokens; see `Embed.row`."""
        embed = self._embedding()
        if not hasattr(embed, "row"):
            raise XfmError(
                f"embed {self.embed['kind']!r} does not say what a row of its batch holds; give its class a method "
                "row(length), or set config.data to a source that says so"
            )
        return embed.row(length)

    @nn.nowrap
    def _embedding(self) -> nn.Module:
        return build(EMBEDS, self.embed, parent=None)

    def _embedded(self, batch: Mapping[str, Array], ctx: Context) -> tuple[Float[Array, "B T D"], Context]:
        """The embedding's stream and context, with padding cleaned so that nothing in it can spread."""
        if self.mixes_all:
            ctx.refuse_heard(f"structure '{type(self).__name__.lower()}'")
        x, ctx = build(EMBEDS, self.embed, name="embed")(Given(batch, self.embed["kind"]), ctx)
        return ctx.clean(x), ctx.replace(padding="finite")

    def _refuse_cells(self, batch: Mapping[str, Array]) -> None:
        """Raises SpecError where the batch is in layout "tokens" and this structure needs a row per text."""
        if "cells" in batch and self.whole_row is not None:
            raise SpecError(refusal(type(self).__name__.lower(), self.whole_row))


class Given(dict):
    """A batch in which a missing array is an XfmError that names the embedding and the arrays that there are."""

    def __init__(self, batch: Mapping[str, Array], kind: str):
        super().__init__(batch)
        self.kind = kind

    def __missing__(self, name: str):
        has = ", ".join(self) or "nothing"
        raise XfmError(
            f"embed {self.kind!r} reads {name!r} of a batch, and this batch has {has}; choose an embedding that "
            "reads these, or data that has the other"
        )


def refusal(kind: str, why: str) -> str:
    """The sentence with which layout "tokens" is refused."""
    return f"layout 'tokens' puts several texts into a row, and {kind!r} {why}; set layout 'padded'"
