"""The number of keys that a query attends to by the mask alone, for counts of operations."""

import jax
import numpy as np

from .mask import Mask


def keys_of_a_query(mask: Mask, T: int, S: int) -> float:
    """The mean number of keys that the window and the pattern leave visible to a query, at most S.

    The count follows the custom of papers: causal order does not halve it, a window is as wide at the ends of a row as
    inside, and segments mask nothing. `everyone`, and a pattern computed in the program, have values that are unknown
    while tracing, and do not change the count.
    """
    counts = [S]
    before, after = mask.near
    if before is not None and after is not None:
        counts.append(before + 1 + after)
    if mask.pattern is not None and mask.pattern.at is None and not isinstance(mask.pattern.shown, jax.core.Tracer):
        size, shown = mask.pattern.size, np.asarray(mask.pattern.shown)
        queries, keys = (np.clip(length - size * np.arange(-(-length // size)), 0, size) for length in (T, S))
        shares = np.einsum("nqk,q,k->", shown, queries, keys) / (len(shown) * T)
        counts.append(int(shares) if shares == int(shares) else float(shares))
    return min(counts)
