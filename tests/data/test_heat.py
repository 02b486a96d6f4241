"""The heat equation's exact solution, and the pairs of its states."""

import numpy as np

from tests.close import assert_close
from xfm.data import open_data
from xfm.data.heat import solution


def test_a_mode_decays_by_its_frequency():
    """cos(2π (x + 2 y)) has |k|² = 5; the equation is linear, and what a time does twice, twice the time does once."""
    modes = np.zeros((5, 5), complex)
    modes[3, 4] = 1  # frequencies 1 and 2
    x, y = np.meshgrid(np.arange(8) / 8, np.arange(8) / 8, indexing="ij")
    expected = np.exp(-4 * np.pi**2 * 0.01 * 5 * 0.3) * np.cos(2 * np.pi * (x + 2 * y))
    assert_close(solution(modes, 8, 0.01, 0.3), expected, rtol=1e-12)
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(5, 5)) + 1j * rng.normal(size=(5, 5))
    k = np.arange(-2, 3)
    later = mixed * np.exp(-4 * np.pi**2 * 0.02 * 0.4 * (k[:, None] ** 2 + k**2))
    assert_close(solution(mixed, 8, 0.02, 0.7), solution(later, 8, 0.02, 0.3), rtol=1e-12)


def test_all_pairs_of_a_trajectory(tmp_path):
    spec = dict(kind="heat", size=6, trajectories=3, validation=1, steps=4, modes=2, diffusion=0.02)
    data = open_data(spec, tmp_path)
    assert len(data.train) == 3 * 15 and len(data.valid) == 15
    rows = [data.train[15 + i] for i in range(15)]  # the second trajectory
    assert sorted(float(row["times"]) for row in rows) == [0.0] * 5 + [0.25] * 4 + [0.5] * 3 + [0.75] * 2 + [1.0]
    states = {i: rows[i]["target/images"] for i in range(5)}  # of the pairs that begin at time 0
    assert np.abs(states[0]).max() == 1
    for row, (i, j) in zip(rows, data.train.pairs, strict=True):
        np.testing.assert_array_equal(row["images"], states[i])
        np.testing.assert_array_equal(row["target/images"], states[j])
        assert row["times"] == np.float32((j - i) / 4)
    assert not np.array_equal(data.valid[0]["images"], data.train[0]["images"])
    assert not np.array_equal(data.train[0]["images"], data.train[15]["images"])
