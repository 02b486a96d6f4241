"""What SSD owes beside the suite of recurrences (test_sequence.py): exact decays, bfloat16, and refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.kernels.sequence_cases import compiled, float64
from xfm.kernels.ssd import IMPLEMENTATIONS, ssd

NAMES = ("x", "dt", "a", "b", "c", "d", "state")
forward = compiled(ssd)


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request):
    return request.param


def inputs(T, N=2, H=32, G=1, M=8, B=2, seed=0):
    """Float32 arrays by name: noise, and decays from almost none to a factor e^-2 a token."""
    rng = np.random.default_rng(seed)
    arrays = {
        "x": rng.normal(size=(B, T, N, H)),
        "dt": rng.uniform(0.01, 1.0, size=(B, T, N)),
        "a": -np.geomspace(0.01, 2.0, N),
        "b": rng.normal(size=(B, T, G, M)) / np.sqrt(M),
        "c": rng.normal(size=(B, T, G, M)),
        "d": rng.normal(size=N),
        "state": rng.normal(size=(B, N, H, M)),
    }
    return {name: np.asarray(v, np.float32) for name, v in arrays.items()}


@partial(jax.jit, static_argnames=("implementation", "chunk"))
def results(arrays, segments=None, implementation="naive", chunk=256):
    """y, the last state and the gradients, by name, of a fixed random weighting of both."""

    def loss(arrays):
        y, state = ssd(
            *(arrays[name] for name in NAMES[:5]),
            d=arrays.get("d"),
            state=arrays.get("state"),
            segments=segments,
            implementation=implementation,
            chunk=chunk,
        )
        rng = np.random.default_rng(9)
        weigh = lambda v: (v.astype(state.dtype) * rng.normal(size=v.shape)).sum()  # noqa: E731
        return weigh(y) + weigh(state), {"y": y, "last": state}

    (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(arrays)
    return values | gradients


def assert_same(actual, expected, rtol=1e-5):
    assert actual.keys() == expected.keys()
    for name in actual:
        assert_close(actual[name], np.asarray(expected[name], np.float64), rtol=rtol, of=name)


def test_weak_decay_after_strong_decay_is_exact(implementation):
    """Steps that forget everything in front of steps that forget nothing: a plain cumulative sum of
    the former, here 5000, is good to 2e-4 and no better, and so would the decays of the latter be.
    """
    arrays = inputs(128, N=1)
    arrays["a"] = np.array([-1.0], np.float32)
    arrays["dt"] = np.where(np.arange(128) < 50, 100.0, 0.01)[None, :, None].repeat(2, 0).astype(np.float32)
    with float64():
        wide = {name: jnp.asarray(v, jnp.float64) for name, v in arrays.items()}
        exact = forward(**wide, implementation="naive")[0][:, 60:]
    y, _ = forward(**arrays, implementation=implementation, chunk=128)
    assert_close(y[:, 60:], exact, rtol=2e-6, of="y after the strong decays")


def test_bfloat16_is_as_good_as_its_roundings(implementation):
    """A term of y meets at most three roundings (of its weight, of the state it went through and of
    y), one of the state only the first; each moves it by at most 2^-8. What the sizes of all terms
    come to is the result for the sizes of the inputs.
    """
    arrays = inputs(49, N=4, G=2)
    half = {name: arrays[name].astype(jnp.bfloat16) for name in ("x", "b", "c")}
    y, last = forward(**(arrays | half), implementation=implementation, chunk=16)
    assert y.dtype == jnp.bfloat16 and last.dtype == jnp.float32
    wide = arrays | {name: v.astype(np.float32) for name, v in half.items()}
    exact_y, exact_last = forward(**wide, implementation="naive")
    sizes = {name: v if name in ("a", "dt") else np.abs(v) for name, v in wide.items()}
    size_y, size_last = forward(**sizes, implementation="naive")
    unit, slack = 2.0**-8, 1.01  # products of roundings, and float32 sums
    assert (np.abs(y.astype(np.float32) - exact_y) <= 3 * slack * unit * size_y).all()
    assert (np.abs(last - exact_last) <= slack * unit * size_last).all()


def test_bfloat16_gradients(implementation):
    """They meet the same roundings; relative to their scale no worse than two of them."""
    arrays = inputs(49, N=4, G=2)
    half = {name: arrays[name].astype(jnp.bfloat16) for name in ("x", "b", "c")}
    wide = {name: v.astype(np.float32) for name, v in half.items()}
    actual = results(arrays | half, None, implementation=implementation, chunk=16)
    actual = jax.tree.map(lambda v: np.asarray(v, np.float32), actual)
    assert_same(actual, results(arrays | wide, None, chunk=16), rtol=2 * 2.0**-8)


def test_unknown_implementation_is_refused():
    with pytest.raises(NotImplementedError, match="'cuda'.*naive, xla"):
        ssd(**inputs(7), implementation="cuda")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("dt", np.ones((2, 7, 3), np.float32), r"dt has shape \(2, 7, 3\).*must be \(2, 7, 2\)"),
        ("a", np.ones(3, np.float32), r"a has shape \(3,\).*must be \(2,\)"),
        ("b", np.ones((2, 7, 3, 8), np.float32), "G must divide N"),
        ("c", np.ones((2, 7, 1, 9), np.float32), r"c has shape .*must be \(2, 7, 1, 8\)"),
        ("d", np.ones(1, np.float32), r"d has shape \(1,\).*must be \(2,\)"),
        ("x", np.ones((2, 7, 32), np.float32), r"x \(2, 7, 32\) must be \[B T N H\]"),
        ("x", np.ones((2, 7, 2, 32), np.int32), "x is int32; it must be of a floating dtype"),
        ("x", np.ones((2, 0, 2, 32), np.float32), "no axis may be empty"),
        (
            "state",
            np.ones((2, 2, 8, 32), np.float32),
            r"state has shape .*must be \(2, 2, 32, 8\)",
        ),
        ("segments", np.ones((2, 8), np.int32), r"segments has shape .*must be \(2, 7\)"),
        ("segments", np.ones((2, 7), bool), "segments is bool; it must be of an integer dtype"),
        ("chunk", 0, "chunk is 0; it must be a whole number of at least 1"),
        ("chunk", 2.5, "chunk is 2.5; it must be a whole number of at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        ssd(**(inputs(7) | {name: value}))
