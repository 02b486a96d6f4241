"""Clicks of a user who is simulated: on an object, around it, and where a prediction errs most.

Liu et al., "SimpleClick", 2023, section 3.2; Sofiiuk, Petrov, Konushin, "Reviving Iterative Training with Mask Guidance
for Interactive Segmentation", 2022, section 3.3; their numbers are those of SimpleClick's program. A click is (row,
column, sign): 1 on the object, -1 off it, and 0 for none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

FAR = 1 << 14  # pixels, more than any image has along a side; its square is an int32
ERODED = 7  # pixels: three erosions by 3 x 3
KEPT = 10  # pixels that an eroded object has more of; else it is taken whole
EROSION, GROWTH = 0.9, 0.1  # how often an object is eroded; its border's width, of the root of its area
STRATEGIES = (0.1, 0.4, 0.5)  # chances of the background, of other objects, and of the border, for a negative click


class Target(NamedTuple):
    """An object to be segmented in each image.

    wanted: its pixels.  others: those of other objects.  counts: those whose label is known.  number: its number in the
    mask, 0 where an image has no object.
    """

    wanted: Bool[Array, "B H W"]
    others: Bool[Array, "B H W"]
    counts: Bool[Array, "B H W"]
    number: Int[Array, "B"]


def keys_of(key: Array, rows: Int[Array, "B"]) -> Array:
    """A key for each row, by its number."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def drawn_target(keys: Array, labels: Int[Array, "B H W"], least: int, ignore: int, most: int = 256) -> Target:
    """One of the objects of at least `least` pixels of each image, all equally likely.

    keys: one for each row.  labels: 0 for the background, `ignore` for pixels that do not count, and the numbers of
    objects, below `most`.
    """

    def one(key, labels):
        areas = jnp.zeros(most, jnp.int32).at[labels.reshape(-1)].add(1, mode="drop")
        numbers = jnp.arange(most)
        possible = (areas >= least) & (numbers > 0) & (numbers != ignore)
        chosen = jnp.argmax(jnp.where(possible, jax.random.uniform(key, (most,), minval=0.5), 0))
        return jnp.where(possible.any(), chosen, 0)

    number = jax.vmap(one)(keys, labels)
    wanted = (labels == number[:, None, None]) & (number > 0)[:, None, None]
    counts = (labels != ignore) & (labels >= 0)
    return Target(wanted, counts & ~wanted & (labels > 0), counts, number)


def along(inside: Bool[Array, "B H W"], axis: int) -> Int[Array, "B H W"]:
    """The distance of each pixel to the nearest one inside along an axis; FAR or more where there is none."""
    at = jax.lax.broadcasted_iota(jnp.int32, inside.shape, axis)
    before = jax.lax.cummax(jnp.where(inside, at, -FAR), axis)
    after = jax.lax.cummin(jnp.where(inside, at, 2 * FAR), axis, reverse=True)
    return jnp.minimum(at - before, after - at)


def squared_distances(inside: Bool[Array, "B H W"]) -> Int[Array, "B H W"]:
    """The square of the Euclidean distance of each pixel to the nearest one that is not inside; exact.

    Pixels around the image are not inside. It runs on the device, within a training step, where SciPy's cannot. Along
    rows the distance is found at once, and over rows r of a column as the least of (row - r)² + distance(r)², one r
    after another: H · H · W operations.
    """
    H, W = inside.shape[1:]
    rows, columns = jnp.arange(H)[:, None], jnp.arange(W)
    across = jnp.minimum(along(~inside, 2), jnp.minimum(columns + 1, W - columns)) ** 2

    def nearer(least, row):
        r, square = row
        return jnp.minimum(least, (rows - r) ** 2 + square[:, None]), None

    edge = jnp.broadcast_to(jnp.minimum(rows + 1, H - rows) ** 2, inside.shape)
    return jax.lax.scan(nearer, edge, (jnp.arange(H), across.swapaxes(0, 1)))[0]


def errors(predicted: Bool[Array, "B H W"], target: Target) -> tuple[Int[Array, "B H W"], Int[Array, "B H W"]]:
    """How deep, squared, each pixel lies within what is missed of the object, and within what is not of it."""
    missed = target.wanted & ~predicted & target.counts
    wrong = ~target.wanted & predicted & target.counts
    return tuple(jnp.split(squared_distances(jnp.concatenate([missed, wrong])), 2))


def deeper(missed: Int[Array, "B H W"], wrong: Int[Array, "B H W"]) -> tuple[Int[Array, "B H*W"], Int[Array, "B"]]:
    """The map of the deeper error, and the sign of a click there; 0 where nothing is wrong."""
    missed, wrong = (depth.reshape(len(depth), -1) for depth in (missed, wrong))
    positive = missed.max(1) > wrong.max(1)
    depth = jnp.where(positive[:, None], missed, wrong)
    return depth, jnp.where(depth.max(1) > 0, jnp.where(positive, 1, -1), 0)


def clicks_at(index: Int[Array, "B"], sign: Int[Array, "B"], width: int) -> Int[Array, "B 3"]:
    """Clicks at these numbers of pixels in row-major order; (0, 0, 0) for none."""
    at = jnp.stack([index // width, index % width], -1) * (sign != 0)[..., None]
    return jnp.concatenate([at, sign[..., None]], -1).astype(jnp.int32)


def farthest_click(predicted: Bool[Array, "B H W"], target: Target, clicked: Bool[Array, "B H W"]) -> Int[Array, "B 3"]:
    """The click of an evaluation: at the pixel deepest within an error, the first of several.

    clicked: where clicks are already; none is repeated.
    """
    depth, sign = deeper(*(jnp.where(clicked, 0, depth) for depth in errors(predicted, target)))
    return clicks_at(depth.argmax(1), sign, predicted.shape[2])


def drawn_click(keys: Array, predicted: Bool[Array, "B H W"], target: Target) -> Int[Array, "B 3"]:
    """The click of a training step: within the deeper error, at one of the pixels of more than half of its depth."""
    depth, sign = deeper(*errors(predicted, target))
    inner = 4 * depth > depth.max(1, keepdims=True)
    index = jax.vmap(lambda key, among: drawn(key, among, 1)[0][0])(keys, inner)
    return clicks_at(index, sign, predicted.shape[2])


def drawn(key: Array, among: Bool[Array, "P"], count: int) -> tuple[Int[Array, " count"], Bool[Array, ""]]:
    """Numbers of pixels among those, all equally likely and drawn anew each time, and whether there are any."""
    upto = jnp.cumsum(among)
    nth = jnp.ceil((1 - jax.random.uniform(key, (count,))) * upto[-1]).astype(upto.dtype)
    return jnp.searchsorted(upto, jnp.maximum(nth, 1)).clip(max=len(among) - 1).astype(jnp.int32), upto[-1] > 0


def how_many(key: Array, most: int, share: float) -> Int[Array, ""]:
    """A number from 0 to most - 1, each `share` times as likely as the one before it."""
    return jax.random.categorical(key, jnp.arange(most) * jnp.log(share))


def eroded(inside: Bool[Array, "B H W"]) -> Bool[Array, "B H W"]:
    """The pixels whose neighbours in the image, three to each side, are all inside."""
    size, strides = (1, ERODED, ERODED), (1, 1, 1)
    return jax.lax.reduce_window(inside, True, jax.lax.bitwise_and, size, strides, "SAME")


def border(inside: Bool[Array, "B H W"]) -> Bool[Array, "B H W"]:
    """The pixels around an object, up to a tenth of the root of its area, rounded up, along rows and columns."""
    reach = jnp.ceil(GROWTH * jnp.sqrt(inside.sum((1, 2), keepdims=True))).astype(jnp.int32)
    return (along(along(inside, 2) <= reach, 1) <= reach) & ~inside


def first_clicks(keys: Array, target: Target, points: int, share: float) -> Int[Array, "B 2*points 3"]:
    """The clicks with which a training step begins: 1 to `points` positive ones, and 0 to `points` negative ones.

    Positive ones lie on the object, mostly away from its edge; a negative one lies in the background, on another object
    or near the object's border.  share: see `how_many`.
    """
    B, _, W = target.wanted.shape
    inner = eroded(target.wanted)
    inner = jnp.where((inner.sum((1, 2)) > KEPT)[:, None, None], inner, target.wanted)
    outside = target.counts & ~target.wanted
    others = jnp.where(target.others.any((1, 2))[:, None, None], target.others, outside)
    around = border(target.wanted) & target.counts

    def one(key, wanted, inner, *negative):
        erode, many, where, few, which = jax.random.split(key, 5)
        given = jnp.where(jax.random.bernoulli(erode, EROSION), inner, wanted)
        at, there = jax.vmap(drawn, (0, 0, None))(jax.random.split(where, 4), jnp.stack([given, *negative]), points)
        chosen = 1 + jax.random.categorical(which, jnp.log(jnp.array(STRATEGIES)), shape=(points,))
        number = jnp.arange(points)
        positive = (number <= how_many(many, points, share)) & there[0]
        taken = (number < how_many(few, points + 1, share)) & there[chosen]
        index = jnp.concatenate([at[0], at[chosen, number]])
        return clicks_at(index, jnp.concatenate([positive.astype(jnp.int32), -taken.astype(jnp.int32)]), W)

    masks = (target.wanted, inner, outside, others, around)
    return jax.vmap(one)(keys, *(mask.reshape(B, -1) for mask in masks))
