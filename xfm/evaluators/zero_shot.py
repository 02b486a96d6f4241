"""Classes named by texts alone: how often an image is nearest to the text of its own class.

Radford et al. 2021 (CLIP), section 3.1.2; several prompts of a class are averaged as vectors (section 3.1.4).
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.batch import spread_out
from xfm.errors import XfmError
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.fields import CountOrZero, Name
from xfm.parts.unit import unit


def of_classes(vectors: Float[Array, "classes prompts D"]) -> Float[Array, "classes D"]:
    """The unit vector of each class: the direction of the mean of the unit vectors of its prompts."""
    return unit(unit(vectors).mean(axis=1))


@dataclasses.dataclass(frozen=True)
class ZeroShot(Evaluator):
    """ "zero_shot", the share of validation images that are nearest to a text of their own class, by cosine.

    The network has the structure `towers`, and the data has the names of classes and `labels`.

    prompts: sentences with a {} in which the name of a class is put.  classes: other names for the classes, in the
    order of their numbers; those of the data if empty.  images, texts: the towers of both.  shown: number of examples.
    """

    prompts: Sequence[str] = ("a photo of a {}.",)
    classes: Sequence[str] = ()
    images: Name = "vision"
    texts: Name = "text"
    shown: CountOrZero = 3

    def __post_init__(self):
        if not self.prompts or any("{}" not in prompt for prompt in self.prompts):
            raise XfmError(f"zero_shot: prompts={tuple(self.prompts)} must be sentences with {{}} for the class's name")

    def run(self, forward, params, extra, data, mesh):
        """The accuracy; XfmError for data without classes."""
        scores = self._scores(forward, params, data, data.valid, mesh)
        labels = np.array([data.valid[i]["labels"] for i in range(len(data.valid))])
        return {"zero_shot": float((scores.argmax(-1) == labels).mean())}

    def examples(self, forward, params, extra, data, mesh):
        """A few validation images with the nearest class and their own."""
        few, names = spread_out(len(data.valid), self.shown), self._names(data)
        rows = [data.valid[i] for i in few]
        scores = self._scores(forward, params, data, rows, mesh) if rows else ()
        return [
            f"validation row {i}: nearest to {names[int(one.argmax())]!r}; it is {names[int(row['labels'])]!r}"
            for i, row, one in zip(few, rows, scores, strict=True)
        ]

    def _names(self, data) -> Sequence[str]:
        names = self.classes or data.classes
        if not names or "labels" not in data.valid[0]:
            raise XfmError("zero_shot needs data with the names of classes; set config.data.label to their column")
        if len(names) != len(data.classes):
            raise XfmError(f"zero_shot: {len(names)} classes are named, and the data has {len(data.classes)}")
        return names

    def _scores(self, forward, params, data, rows, mesh) -> Float[np.ndarray, "rows classes"]:
        """The cosine of each row's image and each class."""
        tokens, segments = f"{self.texts}/tokens", f"{self.texts}/segments"
        first, names = data.valid[0], self._names(data)
        length, visible = len(first[tokens]), bool(first[segments].all())
        sentences = [prompt.format(name) for name in names for prompt in self.prompts]
        pad, written = data.vocabulary.pad, []
        for ids, _, _ in data.tokenizer.joined([sentences], length):
            row = np.full(length, pad, np.int32)
            row[: len(ids)] = ids
            seen = np.ones(length, bool) if visible else np.arange(length) < len(ids)
            written.append({tokens: row, segments: seen.astype(np.int32)})

        def vector(tower):
            def of(params, batch):
                mine = {name: x for name, x in batch.items() if name.startswith(f"{tower}/")}
                return output(forward, f"{tower}/vector", params, mine)

            return of

        classes = predict(vector(self.texts), params, written, mesh, self.batch)
        classes = of_classes(jnp.asarray(classes).reshape(len(names), len(self.prompts), -1))
        return predict(vector(self.images), params, rows, mesh, self.batch) @ np.asarray(classes).T
