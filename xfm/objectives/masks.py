"""Which patches of an image or a video are hidden: samplers with exact counts, so that shapes are static under jit.

Each takes a key, the number of rows, and the grid (h, w) or (t, h, w) of patches, and returns the numbers of the
visible and the hidden patches of each row, in row-major order of the grid. Counts follow from the settings and the grid
alone.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Positive, Share
from xfm.spec import function_of

Grid = tuple[int, ...]
BLOCKS = 64  # the most blocks that `block` draws for a row
UNIT = 2  # the side of the squares of `units`, in patches


class Split(NamedTuple):
    """The patches of each row, divided.

    visible [B V], hidden [B K]: numbers of patches, ascending.  Samplers of several targets have hidden [B targets K].
    real [B V]: which of the visible numbers count, where rows have fewer than V visible patches; None means all.
    """

    visible: Int[Array, "B V"]
    hidden: Int[Array, "B *targets K"]
    real: Bool[Array, "B V"] | None = None

    def mask(self, patches: int) -> Bool[Array, "B T"]:
        """Whether each patch is hidden."""
        rows = self.hidden.shape[0]
        empty = jnp.zeros((rows, patches), bool)
        return empty.at[jnp.arange(rows)[:, None], self.hidden.reshape(rows, -1)].set(True)


def first(priority: Float[Array, "B T"], hidden: int) -> Split:
    """The `hidden` patches of lowest priority of each row are hidden; the others are visible."""
    order = jnp.argsort(priority, axis=1)
    return Split(jnp.sort(order[:, hidden:], axis=1), jnp.sort(order[:, :hidden], axis=1))


def budget(rate: float, cells: int) -> int:
    """The number of `cells` that are hidden: as in MAE's program, the visible ones are rounded down; never none."""
    visible = math.floor(cells * (1 - rate) + 1e-9)
    if not 0 < visible < cells:
        raise XfmError(
            f"a rate of {rate} hides {cells - visible} of {cells} patches; choose one that hides some and not all"
        )
    return cells - visible


def of_image(grid: Grid) -> tuple[int, int]:
    """The grid of a sampler that draws squares or rectangles. Raises XfmError for that of a video."""
    if len(grid) != 2:
        raise XfmError(f"this mask is of images, and the grid {grid} is of videos; choose the kind 'tube' or 'random'")
    return grid


def random(rng: Key[Array, ""], rows: int, grid: Grid, *, rate: Fraction = 0.75) -> Split:
    """Every set of patches is as likely as any other of its size. He et al. 2022 (MAE), section 3."""
    T = math.prod(grid)
    return first(jax.random.uniform(rng, (rows, T)), budget(rate, T))


def tube(rng: Key[Array, ""], rows: int, grid: Grid, *, rate: Fraction = 0.9) -> Split:
    """The same random patches of every frame of a video. Tong et al. 2022 (VideoMAE), section 3.3."""
    *frames, h, w = grid
    t, hidden = math.prod(frames), budget(rate, h * w)
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(rng, (rows, h * w)), axis=1), axis=1)
    return first(jnp.tile(rank, (1, t)) + jnp.arange(t * h * w) / (2.0 * t * h * w), t * hidden)


def units(rng: Key[Array, ""], rows: int, grid: Grid, *, rate: Fraction = 0.6, unit: Count = UNIT) -> Split:
    """Squares of `unit` x `unit` patches, hidden as a whole.

    Xie et al. 2022 (SimMIM), section 3.2; Ryali et al. 2023 (Hiera), whose mask units these are too.
    Raises XfmError for a grid that the squares do not divide.
    """
    h, w = of_image(grid)
    if h % unit or w % unit:
        raise XfmError(f"squares of {unit} x {unit} patches do not divide a grid of {h} x {w}; choose another 'unit'")
    above = (h // unit, w // unit)
    squares = math.prod(above)
    chance = jax.random.uniform(rng, (rows, squares))
    hidden = budget(rate, squares)
    order = jnp.argsort(chance, axis=1).argsort(axis=1) >= hidden
    whole = order.reshape(rows, *above).repeat(unit, 1).repeat(unit, 2).reshape(rows, h * w)
    return first(whole + jnp.arange(h * w) / (2.0 * h * w), hidden * unit * unit)


def block(
    rng: Key[Array, ""],
    rows: int,
    grid: Grid,
    *,
    rate: Fraction = 0.4,
    least: Count = 16,
    aspect: Positive = 0.3,
) -> Split:
    """Rectangles, one after another, until the count is reached; the last one is cut off after the patch that does so.

    Bao et al. 2022 (BEiT), algorithm 1: areas are uniform between `least` patches and what is left to hide, sides have
    ratios between `aspect` and its inverse, uniform in their logarithm.
    """
    h, w = of_image(grid)
    T = h * w
    hidden = budget(rate, T)
    row, column = jnp.divmod(jnp.arange(T), w)

    def one(key):
        """For one row the number of the block that each patch is in [T], BLOCKS where it is in none."""

        def add(covered, draw):
            number, chance = draw
            left = jnp.maximum(hidden - (covered < BLOCKS).sum(), 0)
            low = jnp.minimum(least, left)
            area = low + chance[0] * (left - low)
            ratio = jnp.exp((2 * chance[1] - 1) * -math.log(aspect))
            tall = jnp.clip(jnp.round(jnp.sqrt(area * ratio)), 1, h)
            wide = jnp.clip(jnp.round(jnp.sqrt(area / ratio)), 1, w)
            top, start = (
                jnp.floor(c * (n - size + 1)) for c, n, size in zip(chance[2:], grid, (tall, wide), strict=True)
            )
            inside = (row >= top) & (row < top + tall) & (column >= start) & (column < start + wide)
            return jnp.where(inside & (covered == BLOCKS), number, covered), None

        draws = jnp.arange(BLOCKS), jax.random.uniform(key, (BLOCKS, 4))
        return jax.lax.scan(add, jnp.full(T, BLOCKS), draws)[0]

    places, rest = jax.random.split(rng)
    number = jax.vmap(one)(jax.random.split(places, rows))
    # Within a block by rows; patches in no block, of which some are needed where blocks lie on each other, at random.
    within = jnp.where(number < BLOCKS, jnp.arange(T) / T, jax.random.uniform(rest, (rows, T)))
    return first(number + within, hidden)


def multi_block(
    rng: Key[Array, ""],
    rows: int,
    grid: Grid,
    *,
    targets: Count = 4,
    scale: tuple[Fraction, Fraction] = (0.15, 0.2),
    aspect: tuple[Positive, Positive] = (0.75, 1.5),
    context: tuple[Fraction, Share] = (0.85, 1.0),
    visible: Fraction = 0.4,
) -> Split:
    """Several target rectangles, which may overlap, and one large context rectangle without the targets' patches.

    Assran et al. 2023 (I-JEPA), section 3 and appendix A.1: areas are uniform in `scale` and `context`, shares of the
    grid, and the targets' ratios of height to width in `aspect`; the context is a square, or as near as it fits.
    Static shapes: of each target the first scale[0] · T patches by rows are kept, and of the context a random
    `visible` · T of them; a row whose context has fewer is filled up, and `real` is False there. The authors' program
    cuts all rows of a batch to the shortest one.
    """
    h, w = of_image(grid)
    T = h * w
    K, V = max(1, math.floor(scale[0] * T)), max(1, math.floor(visible * T))
    row, column = jnp.divmod(jnp.arange(T), w)

    def rectangle(chance, share, ratios):
        """A rectangle of at least K patches [T], for four uniform numbers."""
        area = (share[0] + chance[0] * (share[1] - share[0])) * T
        ratio = ratios[0] + chance[1] * (ratios[1] - ratios[0])
        tall = jnp.clip(jnp.round(jnp.sqrt(area * ratio)), math.ceil(K / w), h)
        wide = jnp.clip(jnp.round(jnp.sqrt(area / ratio)), jnp.ceil(K / tall), w)
        top, start = (jnp.floor(c * (n - size + 1)) for c, n, size in zip(chance[2:], grid, (tall, wide), strict=True))
        return (row >= top) & (row < top + tall) & (column >= start) & (column < start + wide)

    def one(key):
        """For one row the context's patches [V], those of the targets [targets K], and which of the former count."""
        chance = jax.random.uniform(key, (targets + 1, 4))
        whole = jax.vmap(lambda c: rectangle(c, scale, aspect))(chance[:-1])
        hidden = jnp.argsort(~whole, axis=1, stable=True)[:, :K]
        taken = jnp.zeros(T, bool).at[hidden.ravel()].set(True)
        free = rectangle(chance[-1], context, (1.0, 1.0)) & ~taken
        order = jnp.argsort(jnp.where(free, 0.0, 1.0) + 0.5 * jax.random.uniform(jax.random.fold_in(key, 1), (T,)))
        found = jnp.arange(V) < free.sum()
        chosen = jnp.sort(jnp.where(found, order[:V], T))
        return jnp.where(chosen < T, chosen, 0), hidden, chosen < T

    return Split(*jax.vmap(one)(jax.random.split(rng, rows)))


def by_loss(
    rng: Key[Array, ""],
    rows: int,
    grid: Grid,
    scores: Float[Array, "B T"],
    progress: Any,
    *,
    rate: Fraction = 0.75,
    hard: tuple[Share, Share] = (0.0, 0.5),
) -> Split:
    """The patches of which the highest loss is predicted, and for the rest of the count random ones.

    Wang et al. 2023 (HPM), section 3.3: the share of the hidden patches that is chosen by loss goes from hard[0] to
    hard[1].  scores: the predicted losses.  progress: 0 at the start of training and 1 at its end.
    """
    hidden = budget(rate, math.prod(grid))
    share = hard[0] + (hard[1] - hard[0]) * jnp.clip(progress, 0, 1)
    rank = jnp.argsort(jnp.argsort(-scores, axis=1), axis=1)
    chance = jax.random.uniform(rng, (rows, math.prod(grid)))
    return first(jnp.where(rank < jnp.round(share * hidden), -1.0, chance), hidden)


MASKS: Mapping[str, Callable[..., Split]] = {
    "random": random,
    "tube": tube,
    "units": units,
    "block": block,
    "multi_block": multi_block,
    "by_loss": by_loss,
}
GIVEN = ("rng", "rows", "grid", "scores", "progress")


def mask_of(spec: Mapping[str, Any], *refused: str) -> Callable[..., Split]:
    """The sampler of {"kind": a name of MASKS, …}, with its settings.  refused: kinds that the caller cannot use.

    Raises SpecError for settings that it lacks, and XfmError for one of `refused`.
    """
    kind, settings = function_of(MASKS, spec, "mask of images", given=GIVEN)
    if kind in refused:
        raise XfmError(
            f"this objective cannot use the mask {kind!r}; choose {', '.join(k for k in MASKS if k not in refused)}"
        )
    return lambda *given: MASKS[kind](*given, **settings)


def side_of(spec: Mapping[str, Any]) -> int:
    """The side, in patches, of the squares that this sampler hides as a whole; 1 for single patches."""
    kind, settings = function_of(MASKS, spec, "mask of images", given=GIVEN)
    return settings.get("unit", UNIT) if kind == "units" else 1


def split_of(
    spec: Mapping[str, Any], patch: tuple[int, ...], images: Float[Array, "B *sides C"], rng: Key[Array, ""]
) -> Split:
    """Which patches of these images are hidden, by the sampler of that spec; one that needs no scores."""
    grid = tuple(side // one for side, one in zip(images.shape[1:-1], patch, strict=True))
    return mask_of(spec)(rng, len(images), grid)
