"""The loss of pixels by its formula: ignored labels, weights of classes, enlarged logits, a further head."""

import jax
import numpy as np

from tests.close import assert_close
from tests.objectives.test_rows import example
from tests.parts.maps import enlarged


def test_pixels_count_by_the_weights_of_their_classes():
    one, params, batch = example("segmentation")

    @jax.jit
    def run(params):
        _, metrics, _ = one.loss(params, {}, batch, jax.random.key(0), train=False)
        return metrics, one.model.apply({"params": params}, batch)

    metrics, out = run(params)
    labels = batch["labels"]
    counts, weights = labels < 3, np.array([1.0, 2.0, 0.5, 0, 0])[labels]  # 4 is ignored, and 3 is no class
    for head, name in (("mask", "loss"), ("further", "loss/further")):
        logits = enlarged(np.asarray(out[head], np.float64), labels.shape[1:])
        chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        chosen = np.take_along_axis(chances, np.minimum(labels, 2)[..., None], -1)[..., 0]
        assert_close(metrics[name], (np.float32(-(weights * np.log(chosen)).sum()), np.float32(weights.sum())))
        if head == "mask":
            right = (logits.argmax(-1) == labels)[counts].sum()
            assert tuple(map(float, metrics["accuracy"])) == (right, counts.sum())
