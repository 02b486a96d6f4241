"""Closeness of trees of arrays, relative to the scale of each leaf; errors name the leaf's path."""

import jax
import numpy as np


def assert_close(actual, expected, *, rtol: float = 1e-5, of: str = "") -> None:
    """max |actual - expected| <= rtol · max |expected| for every leaf.

    A leaf that is all but zero is held to a tenth of the largest leaf's scale: what cancels exactly in theory leaves
    the rounding of its terms, not of their sum.
    """
    a, e = (jax.tree_util.tree_leaves_with_path(tree) for tree in (actual, expected))
    assert [p for p, _ in a] == [p for p, _ in e], f"{of}: trees differ"
    a, e = ([(path, np.asarray(x).astype(np.float64)) for path, x in leaves] for leaves in (a, e))
    largest = max(np.abs(x).max(initial=0) for _, x in e)
    for (path, left), (_, right) in zip(a, e, strict=True):
        assert left.shape == right.shape, f"{of}{jax.tree_util.keystr(path)}: {left.shape} is not {right.shape}"
        assert np.isfinite(left).all(), f"{of}{jax.tree_util.keystr(path)} is not finite"
        scale = max(np.abs(right).max(initial=0.0), 0.1 * largest, 1e-30)
        error = np.abs(left - right).max(initial=0.0) / scale
        assert error <= rtol, f"{of}{jax.tree_util.keystr(path)}: error {error:.2e} of the scale, {rtol:.0e} allowed"
