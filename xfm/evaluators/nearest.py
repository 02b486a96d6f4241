"""Whether texts that belong together have similar vectors: among all validation texts, or by their scores."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from xfm.batch import over_parts, part_of, spread_out, texts_of_row
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.evaluators.scores import NUMBERS, ranks, scored
from xfm.fields import CountOrZero, Name
from xfm.parts.unit import unit


@dataclasses.dataclass(frozen=True)
class Nearest(Evaluator):
    """Similarity of each row's query and positive, by the cosine of their vectors (rows: see `texts_of_row`).

    head: the head that gives the vectors.  shown: the number of examples.
    """

    head: Name = "vector"
    shown: CountOrZero = 3

    def run(self, forward, params, extra, data, mesh):
        """If rows have labels, the correlations of each pair's cosine with them; else the ranks of the positives.

        A query's positive is ranked among those of all validation rows. recall_at_k: share of the queries whose own
        positive is among the k nearest.  mrr: mean of 1 / rank.
        """
        x = self.vectors(forward, params, data, mesh)
        if "labels" in data.valid[0]:
            truth = [float(data.valid[i]["labels"]) for i in range(len(data.valid))]
            return scored(tuple(NUMBERS), NUMBERS, truth, (x[:, 0] * x[:, 1]).sum(-1))
        rank = _ranks(x)
        return {
            "recall_at_1": float((rank <= 1).mean()),
            "recall_at_10": float((rank <= 10).mean()),
            "mrr": float((1 / rank).mean()),
        }

    def vectors(self, forward, params, data, mesh) -> Float[np.ndarray, "rows n D"]:
        """The vector of each text, of length 1."""

        prefixes = texts_of_row(len({name.rpartition("/")[0] for name in data.valid[0]}))

        def encode(params, batch):
            parts = [part_of(batch, prefix) for prefix in prefixes]
            done = over_parts(lambda part, _: unit(output(forward, self.head, params, part)), parts)
            return jnp.stack(done, 1) if isinstance(done, list) else done.reshape(-1, len(parts), done.shape[-1])

        return predict(encode, params, data.valid, mesh, self.batch)

    def examples(self, forward, params, extra, data, mesh):
        """A few validation queries, each with the nearest of all positives, and its own positive with its rank."""
        x = self.vectors(forward, params, data, mesh) if self.shown else ()

        def text(index, which):
            one = part_of(data.valid[index], texts_of_row(2)[which])
            return " ".join(data.tokenizer.decode(one["tokens"][one["segments"] > 0]).split())

        lines = []
        for i in spread_out(len(data.valid), self.shown):
            scores = x[:, 1] @ x[i, 0]
            best = int(scores.argmax())
            rank = int(ranks(scores[None], [i])[0])
            lines.append(f"{text(i, 0)}\n    nearest: {text(best, 1)}; its own, of rank {rank}: {text(i, 1)}")
        return lines


def _ranks(x: Float[np.ndarray, "rows n D"], block: int = 1024) -> np.ndarray:
    """The rank of each query's own positive among all, computed for `block` queries at a time."""
    found = [ranks(x[i : i + block, 0] @ x[:, 1].T, range(i, min(i + block, len(x)))) for i in range(0, len(x), block)]
    return np.concatenate(found)
