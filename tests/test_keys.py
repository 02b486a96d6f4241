"""The hashed keys of tests draw what Threefry's do: their uniform and normal numbers, splits and folds."""

import jax
import numpy as np

from tests.keys import key


def normals(one):
    return np.asarray(jax.random.normal(one, (100, 100)))


def test_moments_and_independence():
    first, second = jax.random.split(key(3))
    draws = [normals(one) for one in (key(3), key(4), first, second, jax.random.fold_in(key(3), 7), key(3 + 2**31))]
    for x in draws:
        assert abs(x.mean()) < 0.05 and abs(x.std() - 1) < 0.05 and abs((x**4).mean() - 3) < 0.3
        assert abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.05, "rows"
        assert abs(np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1]) < 0.05, "neighbours"
    together = np.corrcoef([x.ravel() for x in draws]) - np.eye(len(draws))
    assert np.abs(together).max() < 0.05
    assert (normals(key(3)) == draws[0]).all()


def test_whole_numbers_are_even():
    counts = np.bincount(np.asarray(jax.random.randint(key(1), (8000,), 0, 8)), minlength=8)
    assert abs(counts - 1000).max() < 150
