"""Each parameter starts with the mean and deviation that tests/parts/starts.py declares. No network is compiled."""

import functools

import jax
import numpy as np
import pytest

from tests.keys import key
from tests.parts.examples import every_example
from tests.parts.starts import STARTS
from tests.parts.test_owed import of
from xfm.paths import first_match, flatten

DRAWS, KEY = 64, key(0)


@functools.cache
def drawn(program: str) -> np.ndarray:
    """[DRAWS, ...] of what a program draws."""
    return np.asarray(jax.jit(jax.vmap(PROGRAMS[program]))(jax.random.split(KEY, DRAWS)), np.float64)


PROGRAMS = {}  # the program written out -> what runs it, so that each is compiled once


@pytest.mark.parametrize("slot,kind,number", every_example())
def test_start(slot, kind, number):
    one = of(slot, kind, number)
    assert one.starts.keys() == flatten(one.params.get("params", {})).keys()
    for path, start in one.starts.items():
        declared = first_match(f"{slot}/{kind}/{path}", STARTS)
        assert declared is not None, f"{slot}/{kind}/{path} is not declared in tests/parts/starts.py"
        program = str(jax.make_jaxpr(start)(KEY))
        PROGRAMS.setdefault(program, start)
        values = drawn(program)
        assert values.shape[1:] == start.shape, f"{path} has another shape where only shapes are traced"
        mean, deviation = declared(one.part, values.shape[1:]) if callable(declared) else declared
        error = deviation / np.sqrt(values.size)  # of the mean, and at most times 1/sqrt(2) of the deviation
        assert abs(values.mean() - mean) <= 5 * error + 1e-7, path
        assert abs(values.std() - deviation) <= 4 * error + 1e-7, path
