"""What language-model objectives share: special ids and the unigram baseline."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from xfm.objectives.base import some_rows
from xfm.vocabulary import Vocabulary


def is_special(tokens: Int[Array, "B T"], vocabulary: Vocabulary) -> Bool[Array, "B T"]:
    """Which ids are special, and so neither predicted nor counted."""
    return jnp.isin(tokens, jnp.array(vocabulary.special or (-1,)))


def unigram(data: Any) -> float:
    """Nats per validation token of a model that knows only how often each id occurs in the training data.

    Counts are over `some_rows` of each, with one added per id; special ids are left out.
    """
    size, special = data.vocabulary.size, list(data.vocabulary.special)

    def counts(source):
        total = np.zeros(size)
        for row in some_rows(source):
            tokens = row["tokens"][row["segments"] > 0] if "segments" in row else row["tokens"]
            total += np.bincount(tokens, minlength=size)[:size]
        total[special] = 0
        return total

    known = counts(data.train) + 1
    known[special] = 0
    seen = counts(data.valid)
    with np.errstate(divide="ignore"):
        surprise = np.where(seen > 0, -np.log(known / known.sum()), 0.0)
    return float((seen * surprise).sum() / max(seen.sum(), 1))
