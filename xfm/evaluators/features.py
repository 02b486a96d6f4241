"""Whether the features of frozen networks tell classes apart: a linear classifier over them, and the nearest rows.

The features of training rows are computed once; what is fitted to them runs on the devices, over which rows are spread.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from xfm.batch import spread_out
from xfm.errors import XfmError
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict, spread
from xfm.fields import Count, CountOrZero, Name, NotNegative, Positive
from xfm.sharding import on_mesh

Rows = Float[Array, "R D"]


@dataclasses.dataclass(frozen=True)
class OfFeatures(Evaluator):
    """Abstract. A score of what a frozen network returns, against batch["labels"].

    features: "mean" of the last hidden state over the tokens, its first token ("cls"), or the name of another output
    [B D] of the network, or of a map such as [B h w D], of which the mean over positions is taken.  network: its name.
    rows: the most training rows, and the most validation rows; the first ones of a fixed random order.
    shown: the number of examples.
    """

    features: Name = "mean"
    network: Name = "model"
    rows: Count = 50_000
    shown: CountOrZero = 3

    def examples(self, forward, params, extra, data, mesh):
        """For a few validation rows the classes of the training rows whose features have the greatest cosines."""
        few = spread_out(len(data.valid), self.shown)
        if not few:
            return []
        x, y = self.of(forward, params, data.train, mesh)
        seen, truth = self.of(forward, params, [data.valid[i] for i in few], mesh)
        order = np.argsort(-(unit(seen) @ unit(x).T), axis=1, kind="stable")[:, :3]
        return [
            f"validation row {i} is of class {c}; the nearest training rows are of {', '.join(str(n) for n in y[near])}"
            for i, c, near in zip(few, truth, order, strict=True)
        ]

    def of(self, forward, params, source, mesh) -> tuple[np.ndarray, np.ndarray]:
        """Features [R D] and labels [R] of a source's rows, read like those of validation."""
        source = getattr(source, "plain", lambda: source)()
        if "labels" not in source[0]:
            raise XfmError(
                f"{type(self).__name__}: the rows of config.data have no labels; leave it out of config.evals"
            )
        order = np.sort(np.random.default_rng(0).permutation(len(source))[: self.rows])

        def read(params, batch):
            return self._read(forward, params, batch), batch["labels"]

        return predict(read, params, [source[int(i)] for i in order], mesh, self.batch)

    def _read(self, forward, params, batch) -> Float[Array, "B D"]:
        if self.features not in ("mean", "cls"):
            x = output(forward, self.features, params, batch, self.network).astype(jnp.float32)
            return x.mean(tuple(range(1, x.ndim - 1)))
        x = output(forward, "hidden", params, batch, self.network).astype(jnp.float32)
        return x.mean(1) if self.features == "mean" else x[:, 0]


def unit(x: np.ndarray) -> np.ndarray:
    """The rows scaled to length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def on_devices(x: np.ndarray, labels: np.ndarray, mesh: Any) -> tuple[Rows, Int[Array, "R"], Float[Array, "R"]]:
    """The rows spread over the mesh, with rows of weight 0 up to a multiple of the devices."""
    ways = mesh.shape["data"]
    count = -len(x) % ways
    weights = np.concatenate([np.ones(len(x), np.float32), np.zeros(count, np.float32)])
    rows = zip(np.pad(x, ((0, count), (0, 0))), np.pad(labels, (0, count)), weights, strict=True)
    batch = spread([dict(x=a, y=b, w=c) for a, b, c in rows], mesh)
    return batch["x"], batch["y"], batch["w"]


def fitted(
    x: Rows, labels: Int[Array, "R"], weights: Float[Array, "R"], classes: int, penalty: float, steps: int
) -> tuple[Float[Array, "D classes"], Float[Array, " classes"]]:
    """Kernel and bias of the multinomial logistic regression, by L-BFGS from zero.

    It minimises the mean cross-entropy + penalty / 2 · the squared kernel. Columns of x should have deviations near 1.
    """

    def loss(p):
        rows = optax.softmax_cross_entropy_with_integer_labels(x @ p[0] + p[1], labels)
        return (rows * weights).sum() / weights.sum() + penalty / 2 * (p[0] ** 2).sum()

    solver = optax.lbfgs()

    def step(carry, _):
        p, state = carry
        value, gradient = optax.value_and_grad_from_state(loss)(p, state=state)
        updates, state = solver.update(gradient, state, p, value=value, grad=gradient, value_fn=loss)
        return (optax.apply_updates(p, updates), state), value

    begin = jnp.zeros((x.shape[1], classes)), jnp.zeros(classes)
    (p, _), _ = jax.lax.scan(step, (begin, solver.init(begin)), length=steps)
    return p


@dataclasses.dataclass(frozen=True)
class LinearProbe(OfFeatures):
    """The accuracy of a linear classifier of frozen features, fitted to the training rows. Alain, Bengio 2016.

    Features are standardised by the training rows.  penalty: L2, of the kernel.  steps: of L-BFGS.
    shots: with a number, that many training rows of each class only, the first ones (few-shot evaluation).
    """

    penalty: NotNegative = 1e-4
    steps: Count = 100
    shots: Count | None = None

    def run(self, forward, params, extra, data, mesh):
        """{"probe_accuracy": share of the validation rows whose class is the likeliest}."""
        x, y = self.of(forward, params, data.train, mesh)
        if self.shots is not None:
            kept = np.sort(np.concatenate([np.flatnonzero(y == c)[: self.shots] for c in np.unique(y)]))
            x, y = x[kept], y[kept]
        seen, truth = self.of(forward, params, data.valid, mesh)
        mean, deviation = x.mean(0), x.std(0) + 1e-6
        classes = int(max(y.max(), truth.max())) + 1
        fit = jax.jit(on_mesh(mesh, fitted), static_argnums=(3, 4, 5))
        kernel, bias = fit(*on_devices((x - mean) / deviation, y, mesh), classes, self.penalty, self.steps)
        predicted = ((seen - mean) / deviation) @ np.asarray(kernel) + np.asarray(bias)
        name = "probe_accuracy" if self.shots is None else f"probe_accuracy_{self.shots}_shots"
        return {name: float((predicted.argmax(-1) == truth).mean())}


@dataclasses.dataclass(frozen=True)
class NearestRows(OfFeatures):
    """The accuracy of the vote of the k training rows whose features have the greatest cosines with a row's.

    Wu, Xiong, Yu, Lin 2018 (instance discrimination), section 3.4, whose votes weigh exp(cosine / temperature).
    """

    k: Count = 20
    temperature: Positive = 0.07

    def run(self, forward, params, extra, data, mesh):
        """{"knn_accuracy": share of the validation rows that are voted for right}."""
        x, y = self.of(forward, params, data.train, mesh)
        seen, truth = self.of(forward, params, data.valid, mesh)
        classes = int(max(y.max(), truth.max())) + 1
        known = (jnp.asarray(unit(x)), jnp.asarray(y))
        k = min(self.k, len(x))

        def vote(known, batch):
            cosine, at = jax.lax.top_k(batch["x"] @ known[0].T, k)
            ballots = jax.nn.one_hot(known[1][at], classes) * jnp.exp(cosine / self.temperature)[..., None]
            return ballots.sum(1).argmax(-1)

        voted = predict(vote, known, [{"x": row} for row in unit(seen)], mesh, self.batch)
        return {"knn_accuracy": float((voted == truth).mean())}
