"""An object's mask from clicks on it: interactive segmentation, with clicks that are simulated while it is trained.

Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers", 2023,
section 3.2; the loss is that of Sofiiuk, Barinova, Konushin, "AdaptIS: Adaptive Instance Selection Network", 2019,
section 3.4, as SimpleClick's program has it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Fraction, Integer, NotNegative, Share
from xfm.objectives.base import Objective, answer, array_of, row_weights, some_rows, weighted
from xfm.objectives.simulated_clicks import drawn_click, drawn_target, first_clicks, keys_of
from xfm.parts.resize import resize_corners

Map = Float[Array, "B H W"]


def normalised_focal(
    logits: Map, wanted: Bool[Array, "B H W"], counts: Bool[Array, "B H W"], alpha: float, gamma: float
) -> Float[Array, "B"]:
    """The focal loss of each image, whose factors (1 - p)^gamma are scaled to a mean of 1; p is the truth's chance.

    The scale has no gradient.  alpha: weight of the object's pixels, the others having 1 - alpha.  counts: which pixels
    there are.
    """
    right = jnp.where(wanted, logits, -logits).astype(jnp.float32)
    factors = jnp.where(counts, jax.nn.sigmoid(-right) ** gamma, 0)
    pixels = counts.sum((1, 2))
    scale = jax.lax.stop_gradient(pixels / (factors.sum((1, 2)) + 1e-12))
    losses = -jnp.where(wanted, alpha, 1 - alpha) * factors * jax.nn.log_sigmoid(right)
    return scale * losses.sum((1, 2)) / jnp.maximum(pixels, 1)


def overlap(predicted: Bool[Array, "B H W"], wanted: Bool[Array, "B H W"], counts: Bool[Array, "B H W"]):
    """[B]: the intersection of two masks over their union."""
    both, either = (mask & counts for mask in (predicted & wanted, predicted | wanted))
    return both.sum((1, 2)) / jnp.maximum(either.sum((1, 2)), 1)


def at_size(logits: Float[Array, "B h w 1"], size: tuple[int, int]) -> Map:
    """The logits of an object at the size of the images, in float32.

    Their first and last samples are those of the image, as in the paper's program. Raises XfmError for logits of
    several classes.
    """
    if logits.ndim != 4 or logits.shape[-1] != 1:
        raise XfmError(
            f"clicks need a head with one number for each position, and this one's output is of shape {logits.shape}; "
            "set its classes to 1"
        )
    return resize_corners(logits.astype(jnp.float32), size)[..., 0]


@dataclasses.dataclass(frozen=True)
class Clicks(Objective):
    """The normalised focal loss of the head "mask" for one object of each image, given clicks and the last mask.

    An object is drawn of batch["labels"] [B H W] (0 is the background), then clicks on and around it; up to `further`
    times, the same number for the whole batch, the network predicts a mask, and a click is added where it errs.
    points: the most positive, and the most negative, clicks before the network's own.  share: each number of clicks is
    this much as likely as one fewer.  least: pixels of an object.  alpha, gamma: of the loss.  threshold: the chance
    from which a pixel is predicted to be the object's.  ignore: the label of pixels that do not count.
    """

    points: Count = 24
    further: CountOrZero = 3
    share: Fraction = 0.8
    least: Count = 1
    alpha: Share = 0.5
    gamma: NotNegative = 2.0
    threshold: Fraction = 0.49
    ignore: Integer = 255

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "iou", the intersection over union of the predicted mask.

        An image without an object does not count.
        """
        labels = array_of(batch, "labels")
        size, rows = labels.shape[1:], jnp.arange(len(labels))
        choose, begin, often, more, drop = jax.random.split(rng, 5)
        target = drawn_target(keys_of(choose, rows), labels, self.least, self.ignore)
        clicks = first_clicks(keys_of(begin, rows), target, self.points, self.share)
        clicks = jnp.pad(clicks, ((0, 0), (0, self.further), (0, 0)))
        fixed = jax.lax.stop_gradient(params)

        def another(i, given):
            clicks, mask = given
            out, _ = self.forward("model", fixed, {**batch, "clicks": clicks, "mask": mask})
            mask = jax.nn.sigmoid(at_size(answer(out, "mask"), size))
            click = drawn_click(keys_of(jax.random.fold_in(more, i), rows), mask > self.threshold, target)
            return clicks.at[:, 2 * self.points + i].set(click), mask

        times = jax.random.randint(often, (), 0, self.further + 1)
        clicks, mask = jax.lax.fori_loop(0, times, another, (clicks, jnp.zeros(labels.shape)))
        out, sown = self.forward("model", params, {**batch, "clicks": clicks, "mask": mask}, drop, train)
        logits = at_size(answer(out, "mask"), size)
        weights = row_weights(batch, rows.shape) * (target.number > 0)
        metrics = {
            "loss": weighted(normalised_focal(logits, target.wanted, target.counts, self.alpha, self.gamma), weights),
            "iou": weighted(overlap(jax.nn.sigmoid(logits) > self.threshold, target.wanted, target.counts), weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The loss of a chance of one half for all pixels of the validation data's objects.

        A smaller one for all can lose less than a good mask does, since the loss is scaled to the pixels that are
        wrong; no mask is then predicted, and "iou" is 0.
        """
        losses = []
        for row in some_rows(data.valid):
            labels = np.asarray(array_of(row, "labels"))
            known = labels[labels != self.ignore]
            areas = np.unique(known[known > 0], return_counts=True)[1]
            shares = areas[areas >= self.least] / max(known.size, 1)
            if shares.size:
                losses.append(np.log(2) * (self.alpha * shares + (1 - self.alpha) * (1 - shares)).mean())
        return {"even chances": float(np.mean(losses))} if losses else {}
