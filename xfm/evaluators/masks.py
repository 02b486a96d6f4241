"""Scores of a segmenter, which predicts a class for each pixel. Long, Shelhamer, Darrell 2015, section 5.

Pixels are counted once each, over all images together, by their true and predicted class; the counts are whole numbers.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.pictures import enlarged
from xfm.evaluators.rows import predict
from xfm.fields import CountOrZero, Integer, Name
from xfm.objectives.segmentation import counted
from xfm.parts.resize import resize_maps


def confusion(truth: Int[Array, "B H W"], predicted: Int[Array, "B H W"], classes: int, ignore: int):
    """[B classes classes]: the number of pixels of each true class, in rows, and predicted class, in columns."""
    cells = jnp.where(counted(truth, classes, ignore), truth * classes + predicted, classes**2)

    def one(cells):
        return jnp.zeros(classes**2 + 1, jnp.int32).at[cells.reshape(-1)].add(1)[:-1].reshape(classes, classes)

    return jax.vmap(one)(cells)


def scores_of(counts: Int[np.ndarray, "classes classes"]) -> dict[str, float]:
    """mean_iou, over classes that are true or predicted anywhere; mean_accuracy, over those that are true; and
    pixel_accuracy. All are NaN without a pixel.
    """
    right, true, predicted = np.diag(counts).astype(np.float64), counts.sum(1), counts.sum(0)
    either = true + predicted - right
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mean_iou": float(np.nanmean(np.where(either > 0, right / either, np.nan))) if either.any() else np.nan,
            "mean_accuracy": float(np.nanmean(np.where(true > 0, right / true, np.nan))) if true.any() else np.nan,
            "pixel_accuracy": float(right.sum() / counts.sum()),
        }


@dataclasses.dataclass(frozen=True)
class Masks(Evaluator):
    """The mean intersection over union, and accuracies, of the likeliest class of the head `head` at each pixel.

    ignore: the label of pixels that do not count.  shown: the number of examples, also as pictures: the image, its true
    and its predicted classes, in colours.
    """

    head: Name = "mask"
    ignore: Integer = 255
    shown: CountOrZero = 3

    def run(self, forward, params, extra, data, mesh):
        def counts(params, batch):
            logits = self._logits(forward, params, batch)
            return confusion(batch["labels"], logits.argmax(-1), logits.shape[-1], self.ignore)

        return scores_of(predict(counts, params, data.valid, mesh, self.batch).sum(0, dtype=np.int64))

    def examples(self, forward, params, extra, data, mesh):
        """A few validation images, each with the share of its pixels that are right, and which classes are missed."""
        lines = []
        for i, row, predicted in self._few(forward, params, data, mesh):
            labels = np.asarray(row["labels"])
            judged = labels != self.ignore
            right = (predicted == labels)[judged].mean() if judged.any() else np.nan
            missed = sorted(set(labels[judged].tolist()) - set(predicted[judged].tolist()))
            names = ", ".join(str(data.classes[c] if c < len(data.classes) else c) for c in missed)
            lines.append(f"validation row {i}: {right:.0%} of its pixels are right; classes missed: {names or 'none'}")
        return lines

    def pictures(self, forward, params, extra, data, mesh):
        """Picture "masks": a row for each example, with the image, its true and its predicted classes."""
        rows = []
        for _, row, predicted in self._few(forward, params, data, mesh):
            labels = np.asarray(row["labels"])
            sides = [as_picture(np.asarray(row["images"])), coloured(labels, labels == self.ignore)]
            rows.append(beside([*sides, coloured(predicted, labels == self.ignore)]))
        return {"masks": np.concatenate(rows)} if rows else {}

    def _few(self, forward, params, data, mesh):
        """(number, row, predicted classes) of each example."""
        few = spread_out(len(data.valid), self.shown)
        rows = [data.valid[i] for i in few]
        if not rows:
            return []

        def likeliest(params, batch):
            return self._logits(forward, params, batch).argmax(-1)

        return list(zip(few, rows, predict(likeliest, params, rows, mesh, self.batch), strict=True))

    def _logits(self, forward, params, batch):
        logits = output(forward, self.head, params, batch).astype(jnp.float32)
        return resize_maps(logits, batch["labels"].shape[1:])


GAP = 4  # pixels between pictures


def beside(images: list[np.ndarray]) -> np.ndarray:
    """Pictures [H W 3] side by side, each pixel as a square where they are small, with white between them."""
    return np.concatenate(
        [np.pad(enlarged(x), ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for x in images], axis=1
    )


def as_picture(image: np.ndarray) -> np.ndarray:
    """The image's range of numbers as [H W 3] uint8."""
    low, high = image.min(), image.max()
    levels = np.rint(255 * (image - low) / max(high - low, 1e-9)).astype(np.uint8)
    return np.broadcast_to(levels if levels.shape[-1] in (1, 3) else levels[..., :1], (*levels.shape[:2], 3))


def coloured(labels: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """[H W 3] uint8: a colour for each class, black for class 0, and white where labels are ignored.

    The bits of a number choose its colour, from the highest bits of red, green and blue down, so that numbers near each
    other differ; this is the map of colours of PASCAL VOC's masks.
    """
    labels, colours = labels.astype(np.int64), np.zeros((*labels.shape, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[..., channel] |= ((labels >> (3 * bit + channel)) & 1) << (7 - bit)
    return np.where(ignored[..., None], 255, colours).astype(np.uint8)
