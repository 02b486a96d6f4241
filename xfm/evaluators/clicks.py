"""How many clicks a segmenter needs for a mask that is good enough (NoC).

Liu et al., "SimpleClick", 2023, section 4, as in its program, without zooming in and without flipped copies.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.masks import as_picture, beside, coloured
from xfm.evaluators.rows import predict
from xfm.fields import Count, CountOrZero, Fraction, Integer, Name
from xfm.objectives.clicks import at_size, overlap
from xfm.objectives.simulated_clicks import drawn_target, farthest_click, keys_of
from xfm.rows import NumberedRows

SEED = 0


def first_good(overlaps: Float[np.ndarray, "R clicks"], threshold: float) -> np.ndarray:
    """The number of the first click after which the overlap is at least the threshold; that of all clicks if none is.

    overlaps: of each row after each click.
    """
    good = overlaps >= threshold
    return np.where(good.any(1), good.argmax(1) + 1, overlaps.shape[1])


@dataclasses.dataclass(frozen=True)
class NumberOfClicks(Evaluator):
    """The mean number of clicks until the mask of the head `head` overlaps its object by each of the `thresholds`.

    One object of each validation image is drawn by the row's number. Each click is at the pixel deepest within what is
    missed or wrong of the last mask, the first one deepest within the object.
    clicks: the most, which count where a threshold is never reached.  least, threshold, ignore: as in the objective
    `clicks`.  shown: the number of examples, also as pictures: the image, its object, and the mask after the last
    click.
    """

    thresholds: Sequence[Fraction] = (0.8, 0.85, 0.9)
    clicks: Count = 20
    head: Name = "mask"
    least: Count = 1
    threshold: Fraction = 0.49
    ignore: Integer = 255
    shown: CountOrZero = 3

    def run(self, forward, params, extra, data, mesh):
        """For a threshold of 0.9, "noc_90", and "failed_90", the share of objects that never reach it.

        "iou_1" and so on are the mean overlaps after one click and after all. All are NaN without an object.
        """
        found = self._clicked(forward, params, data.valid, range(len(data.valid)), mesh)
        there = found["number"] > 0
        overlaps = found["overlaps"][there] if there.any() else np.full((1, self.clicks), np.nan)
        scores = {}
        for threshold in self.thresholds:
            name = f"{100 * threshold:g}"
            scores[f"noc_{name}"] = float(first_good(overlaps, threshold).mean() if there.any() else np.nan)
            scores[f"failed_{name}"] = float((overlaps.max(1) < threshold).mean() if there.any() else np.nan)
        return scores | {f"iou_{n}": float(overlaps[:, n - 1].mean()) for n in (1, self.clicks)}

    def examples(self, forward, params, extra, data, mesh):
        """For each image, the overlaps after its clicks."""
        few = spread_out(len(data.valid), self.shown)
        found = self._clicked(forward, params, data.valid, few, mesh) if few else {"overlaps": ()}
        return [
            f"validation row {i}: object {number}, overlap after each click: "
            + " ".join(f"{overlap:.2f}" for overlap in overlaps)
            for i, number, overlaps in zip(few, found.get("number", ()), found["overlaps"], strict=True)
        ]

    def pictures(self, forward, params, extra, data, mesh):
        """Picture "clicks": a row for each example, as the class says."""
        few, lines = spread_out(len(data.valid), self.shown), []
        found = self._clicked(forward, params, data.valid, few, mesh) if few else None
        for j, i in enumerate(few):
            row = data.valid[i]
            ignored = np.asarray(row["labels"]) == self.ignore
            masks = [np.asarray(row["labels"]) == found["number"][j], found["last"][j]]
            sides = [coloured(mask.astype(np.int32), ignored) for mask in masks]
            lines.append(beside([as_picture(np.asarray(row["images"])), *sides]))
        return {"clicks": np.concatenate(lines)} if lines else {}

    def _clicked(self, forward, params, rows, chosen, mesh):
        """Of each row: its object's number, the overlaps [clicks] and the last mask."""

        def run(params, batch):
            labels, size = batch["labels"], batch["labels"].shape[1:]
            keys = keys_of(jax.random.key(SEED), batch["row"])
            target = drawn_target(keys, labels, self.least, self.ignore)
            row = jnp.arange(len(labels))

            def another(given, i):
                clicks, chance, clicked = given
                click = farthest_click(chance > self.threshold, target, clicked)
                clicks = clicks.at[:, i].set(click)
                clicked = clicked.at[row, click[:, 0], click[:, 1]].max(click[:, 2] != 0)
                logits = output(forward, self.head, params, {**batch, "clicks": clicks, "mask": chance})
                chance = jax.nn.sigmoid(at_size(logits, size))
                return (clicks, chance, clicked), overlap(chance > self.threshold, target.wanted, target.counts)

            none = jnp.zeros(labels.shape, bool)
            start = jnp.zeros((len(labels), self.clicks, 3), jnp.int32), none.astype(jnp.float32), none
            last, overlaps = jax.lax.scan(another, start, jnp.arange(self.clicks))
            return {"number": target.number, "overlaps": overlaps.T, "last": last[1] > self.threshold}

        return predict(run, params, NumberedRows(rows, tuple(chosen)), mesh, self.batch)
