"""Any mixer along one axis of a video's grid: within each frame, or over time at each place.

Bertasius, Wang, Torresani 2021 (TimeSformer), section 3, "divided space-time attention"; Arnab et al. 2021 (ViViT),
section 3.3, models 3 and 4. The oracle is transformers' TimesformerModel.
"""

from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from xfm.context import Context
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import Spec, SpecError, build


class Frames(NamedTuple):
    """The tokens of a row: `first` leading ones, then `time` frames of `places` tokens each."""

    first: int
    time: int
    places: int

    def by_frame(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B*time first+places *any"]:
        """Each frame as a row of its own, after a copy of the leading tokens."""
        B, rest = x.shape[0], x.shape[2:]
        first, grid = x[:, None, : self.first], x[:, self.first :].reshape(B, self.time, self.places, *rest)
        first = jnp.broadcast_to(first, (B, self.time, self.first, *rest))
        return jnp.concatenate([first, grid], axis=2).reshape(B * self.time, -1, *rest)

    def from_frames(self, x: Float[Array, "B*time first+places D"]) -> Float[Array, "B T D"]:
        """The rows as they were, each leading token being the mean of its copies."""
        x = x.reshape(-1, self.time, self.first + self.places, x.shape[-1])
        grid = x[:, :, self.first :].reshape(x.shape[0], -1, x.shape[-1])
        return jnp.concatenate([x[:, :, : self.first].mean(axis=1), grid], axis=1)

    def by_place(self, x: Shaped[Array, "B T *any"]) -> Shaped[Array, "B*places time *any"]:
        """Each place over time as a row of its own, without the leading tokens."""
        rest = x.shape[2:]
        x = x[:, self.first :].reshape(-1, self.time, self.places, *rest)
        return x.swapaxes(1, 2).reshape(-1, self.time, *rest)

    def from_places(self, x: Float[Array, "B*places time D"]) -> Float[Array, "B T D"]:
        """The rows as they were, with zeros for leading tokens."""
        x = x.reshape(-1, self.places, self.time, x.shape[-1]).swapaxes(1, 2)
        return jnp.pad(x.reshape(x.shape[0], -1, x.shape[-1]), ((0, 0), (self.first, 0), (0, 0)))


class Along(nn.Module):
    """`mixer` over each frame of a video ("space"), or over all frames at each place ("time").

    Leading tokens such as cls take part in each frame, and what they get is the mean over frames; over time they take
    no part and get zeros.
    mixer: spec of a mixer.  out: "linear" for a linear map of its output, leading tokens excepted.
    A row without a grid lies along the axis as a whole.
    Raises SpecError for a grid without time, and for a mixer that reads a memory.
    """

    whole_row: ClassVar[str | None] = "mixes a whole row along the axes of a video"
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    axis: Literal["space", "time"]
    out: Literal["none", "linear"] = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("along", ctx, state)
        frames = self.frames(x.shape[1], ctx.grid)
        apart, back = {
            "space": (frames.by_frame, frames.from_frames),
            "time": (frames.by_place, frames.from_places),
        }[self.axis]
        inner = ctx.replace(
            segments=None if ctx.segments is None else apart(ctx.segments),
            heard=None if ctx.heard is None else apart(ctx.heard),
            types=None if ctx.types is None else apart(ctx.types),
            positions=None,
            grid=ctx.grid[1:] if ctx.grid and self.axis == "space" else None,
        )
        mixer = build("mixer", self.mixer, name="mixer")
        if getattr(mixer, "memory", None) is not None:
            raise SpecError(
                f"mixer 'along' mixes the tokens of one axis, and {self.mixer['kind']!r} with memory={mixer.memory!r} "
                "reads others; make it an entry of the pattern by itself"
            )
        y, _ = mixer(apart(x), inner)
        return back(Linear(x.shape[-1], name="out")(y) if self.out == "linear" else y), None

    @nn.nowrap
    def frames(self, length: int, grid: tuple[int, ...] | None) -> Frames:
        """How a row of `length` tokens of this grid is divided; raises SpecError where it cannot be."""
        if grid is None:
            return Frames(0, 1, length) if self.axis == "space" else Frames(0, length, 1)
        if len(grid) != 3 or length < grid[0] * grid[1] * grid[2]:
            raise SpecError(
                f"mixer 'along' needs the tokens of a grid of time, rows and columns; the grid is {grid}, and the row "
                f"has {length} tokens; embed videos"
            )
        time, places = grid[0], grid[1] * grid[2]
        return Frames(length - time * places, time, places)
