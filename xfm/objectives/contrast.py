"""Losses over the vectors of texts that belong together, as functions of arrays.

Each takes the vectors [B n D] of B rows of n texts (query, positive, then negatives), the rows' scores if they have
some, and which rows are real, all if None. A row that is not real is never a candidate, and its loss has no meaning.
The functions take all rows of the batch: under jit, with the rows spread over devices, that is the global batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from xfm.errors import XfmError
from xfm.fields import Count, NotNegative, Positive
from xfm.parts.unit import unit
from xfm.spec import function_of

Vectors = Float[Array, "B n D"]
Real = Bool[Array, "B"] | None
Loss = tuple[Float[Array, "B"], Float[Array, "B"]]  # each row's loss, and whether its prediction is right


def candidates(count: int, real: Real = None, among: int | None = None) -> Bool[Array, "B B"]:
    """Which rows are candidates of each of `count` rows: itself and the among - 1 real ones after it.

    All real ones if among is None. A row that is not real is a candidate of none.
    """
    row = jnp.arange(count)
    number, all_real = (row, count) if real is None else (jnp.cumsum(real) - 1, jnp.maximum(real.sum(), 1))
    near = (number[None] - number[:, None]) % all_real < (count if among is None else among)
    return near if real is None else near & real


def infonce(
    vectors: Vectors,
    labels: Array | None,
    real: Real = None,
    temperature: Positive = 0.05,
    ways: Literal["query", "both"] = "query",
    among: Count | None = None,
) -> Loss:
    """-log softmax of each query's own positive among all positives and negatives of the batch, by cosine.

    van den Oord et al. 2018 (InfoNCE), equation 4; negatives of the batch: Henderson et al. 2017, Karpukhin et al.
    2020. ways: "query" for this loss alone; "both" for its mean with the loss of each positive among all queries.
    among: the candidates of a query are its own texts and those of the among - 1 rows after it, or of all rows if there
    are fewer.
    """
    x = unit(vectors)
    B, n, _ = x.shape
    scores = jnp.einsum("bd,cnd->bnc", x[:, 0], x[:, 1:]) / temperature  # [query, which text, of which row]
    row, near = jnp.arange(B), candidates(B, real, among)
    shown = jnp.where(near[:, None], scores, -jnp.inf)
    own = scores[row, 0, row]
    loss = jax.nn.logsumexp(shown.reshape(B, -1), axis=-1) - own
    if ways == "both":
        loss = (loss + jax.nn.logsumexp(jnp.where(near, scores[:, 0].T, -jnp.inf), axis=-1) - own) / 2
    first = (~(shown.reshape(B, -1) < own[:, None])).sum(-1) == 1  # itself alone: equal vectors predict nothing
    return loss, first


def cosine(vectors: Vectors, labels: Float[Array, "B"], real: Real = None) -> Loss:
    """Squared error of the cosine against the score. Reimers, Gurevych 2019 (Sentence-BERT), section 3."""
    x = unit(vectors)
    predicted = (x[:, 0] * x[:, 1]).sum(-1)
    return (predicted - labels) ** 2, jnp.abs(predicted - labels) < 0.5


def triplet(
    vectors: Vectors,
    labels: Array | None,
    real: Real = None,
    margin: NotNegative = 1.0,
    distance: Literal["euclidean", "cosine"] = "euclidean",
) -> Loss:
    """max(0, margin + distance to the positive - distance to the negative), the mean over the negatives.

    Schroff et al. 2015 (FaceNet), equation 3, with plain distances as in Reimers, Gurevych 2019, section 3.
    """
    if vectors.shape[1] < 3:
        raise XfmError("the triplet loss needs rows of three texts: query, positive, negative; this data has two")
    x = unit(vectors) if distance == "cosine" else vectors.astype(jnp.float32)
    if distance == "cosine":
        apart = 1 - jnp.einsum("bd,bnd->bn", x[:, 0], x[:, 1:])
    else:
        squares = ((x[:, 1:] - x[:, :1]) ** 2).sum(-1)
        apart = jnp.sqrt(jnp.maximum(squares, 1e-12))  # the square root has no finite derivative at 0
    return jnp.maximum(margin + apart[:, :1] - apart[:, 1:], 0).mean(-1), (apart[:, :1] < apart[:, 1:]).all(-1)


def cosent(vectors: Vectors, labels: Float[Array, "B"], real: Real = None, scale: Positive = 20.0) -> Loss:
    """log(1 + Σ exp(scale · (cosine of i - cosine of j))) over all pairs of rows where i's score is below j's.

    Su, "CoSENT: a more efficient sentence vector scheme than Sentence-BERT" (2022). It is one loss for the whole batch.
    """
    x = unit(vectors)
    predicted = (x[:, 0] * x[:, 1]).sum(-1)
    wrong = scale * (predicted[:, None] - predicted[None])
    lower = labels[:, None] < labels[None]
    if real is not None:
        lower &= real[:, None] & real
    terms = jnp.where(lower, wrong, -jnp.inf)
    loss = jax.nn.logsumexp(jnp.concatenate([jnp.zeros(1), terms.reshape(-1)]))
    ordered = jnp.where(lower, predicted[:, None] < predicted[None], True).all(1)
    return jnp.broadcast_to(loss, labels.shape), ordered


LOSSES: Mapping[str, Callable[..., Loss]] = {
    "infonce": infonce,
    "cosine": cosine,
    "triplet": triplet,
    "cosent": cosent,
}
SCORED = ("cosine", "cosent")  # those that need a score for each pair


def loss_of(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind and the settings of {"kind": a name of LOSSES, …}.  Raises XfmError for settings that it lacks."""
    return function_of(LOSSES, spec, "loss of retrieval", given=("real", "among"))
