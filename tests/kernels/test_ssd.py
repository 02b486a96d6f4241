"""The suite that every implementation of SSD passes: values, all gradients, and refusals.

Float32 results are held to the definition run in float64, with a tolerance relative to the scale of
the result: sums of a few hundred products of numbers of order one, each rounded at 6e-8, come to a
few 1e-7 for values and a few 1e-6 for gradients that sum over the whole row (of a, d and dt); 1e-5
leaves no room for a wrong term.
"""

from contextlib import contextmanager
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from xfm.kernels.ssd import IMPLEMENTATIONS, ssd, step

NAMES = ("x", "dt", "a", "b", "c", "d", "state")
compiled = jax.jit(ssd, static_argnames=("implementation", "chunk"))


def forward(**given):
    """y and the last state as arrays of NumPy, which are cut and compared without compiling."""
    return jax.tree.map(np.asarray, compiled(**given))


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request):
    return request.param


@contextmanager
def float64():
    """Both names that JAX has had for the same thing."""
    if hasattr(jax, "enable_x64"):
        with jax.enable_x64(True):
            yield
    else:
        from jax.experimental import enable_x64

        with enable_x64():
            yield


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


def packed(T):
    """[2 T]: three texts, one of a token, padding before, inside and after; then one, padded."""
    segments = np.full((2, T), 5, np.int32)
    segments[0, : T // 3], segments[0, T // 3], segments[0, T // 3 + 1 :] = 1, 2, 7
    segments[0, [0, T // 5, T // 2, T // 2 + 1, T - 1]] = 0
    segments[1, T - T // 4 :] = 0
    return segments


def poisoned(arrays, segments):
    """The arrays with NaN, and an infinity, in x, dt, b and c wherever segments is 0."""
    spoiled = dict(arrays)
    for name, poison in {"x": np.nan, "dt": np.inf, "b": np.nan, "c": np.nan}.items():
        spoiled[name] = np.array(arrays[name])
        spoiled[name][segments == 0] = poison
    return spoiled


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


# Lengths that trip a chunked form: T, chunk, sizes, whether there are segments, and a first state.
CASES = {
    "one token": (1, 16, {"H": 32}, False, True),
    "shorter than a chunk": (7, 16, {"N": 4, "G": 2}, False, False),
    "packed": (49, 16, {"N": 4, "H": 32, "G": 2}, True, True),
    "as an image of 196 patches": (197, 64, {"H": 64}, False, False),
    "two chunks": (300, 256, {"N": 1, "H": 80, "M": 16}, True, True),
}


def arguments(case):
    T, chunk, sizes, with_segments, with_state = CASES[case]
    arrays = inputs(T, **sizes)
    if not with_state:
        del arrays["state"]
    segments = packed(T) if with_segments else None
    return (poisoned(arrays, segments) if with_segments else arrays), segments, chunk


@lru_cache
def expected(case):
    """The definition in float64."""
    arrays, segments, _ = arguments(case)
    with float64():
        arrays = {name: jnp.asarray(v, jnp.float64) for name, v in arrays.items()}
        return jax.tree.map(np.asarray, results(arrays, segments))


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, implementation):
    arrays, segments, chunk = arguments(case)
    actual = results(arrays, segments, implementation=implementation, chunk=chunk)
    assert_same(actual, expected(case))
    if segments is not None:
        for name in (
            "y",
            "x",
            "dt",
            "b",
            "c",
        ):  # nothing comes out of padding, nor goes back into it
            assert not np.any(np.asarray(actual[name])[segments == 0]), name


def test_packed_equals_separate(implementation):
    lengths, arrays = (20, 1, 28), inputs(49, N=4, G=2)
    del arrays["state"]
    segments = np.repeat([[3, 1, 2]] * 2, lengths, axis=1).astype(np.int32)
    run = partial(forward, implementation=implementation, chunk=16)
    together, last = run(**arrays, segments=segments)
    start = 0
    for length in lengths:
        own = slice(start, start + length)
        alone, state = run(**{name: v[:, own] if name in ("x", "dt", "b", "c") else v for name, v in arrays.items()})
        assert_close(together[:, own], alone, rtol=1e-6, of=f"text of {length} tokens")
        start += length
    assert_close(last, state, rtol=1e-6, of="last state")


def test_state_passes_over_padding(implementation):
    arrays, segments = inputs(49, N=4, G=2), np.ones((2, 49), np.int32)
    segments[:, [0, 11, 12, 15, 16, 17, 30, 48]] = 0
    real = segments[0] > 0
    run = partial(forward, implementation=implementation, chunk=16)
    y, last = run(**poisoned(arrays, segments), segments=segments)
    kept = {name: v[:, real] if name in ("x", "dt", "b", "c") else v for name, v in arrays.items()}
    y_alone, last_alone = run(**kept)
    assert_close(y[:, real], y_alone, rtol=1e-6, of="y")
    assert_close(last, last_alone, rtol=1e-6, of="last state")


def test_nothing_but_padding_keeps_the_state(implementation):
    arrays, segments = inputs(7), np.zeros((2, 7), np.int32)
    y, last = forward(**poisoned(arrays, segments), segments=segments, implementation=implementation)
    assert not y.any()
    np.testing.assert_array_equal(last, arrays["state"])


def test_parts_with_a_carried_state_equal_the_whole(implementation):
    arrays = inputs(49, N=4, G=2)
    run = partial(forward, implementation=implementation, chunk=16)
    whole, last = run(**arrays)
    state, parts = arrays.pop("state"), []
    for own in (slice(0, 5), slice(5, 37), slice(37, 49)):
        part = {name: v[:, own] if v.ndim > 1 else v for name, v in arrays.items()}
        y, state = run(**part, state=state)
        parts.append(y)
    assert_close(np.concatenate(parts, axis=1), whole, rtol=1e-6, of="y")
    assert_close(state, last, rtol=1e-6, of="last state")


def test_steps_equal_the_row(implementation):
    arrays, segments = inputs(49, N=4, G=2), np.ones((2, 49), np.int32)
    segments[0, [3, 4]] = 0
    arrays = poisoned(arrays, segments)
    whole, last = forward(**arrays, segments=segments, implementation=implementation, chunk=16)
    a, d, state = arrays["a"], arrays["d"], arrays["state"]
    take, steps = jax.jit(step), []
    for t in range(49):
        x, dt, b, c = (arrays[name][:, t] for name in ("x", "dt", "b", "c"))
        y, state = take(x, dt, a, b, c, d=d, state=state, segments=segments[:, t])
        steps.append(np.asarray(y))
    assert_close(np.stack(steps, axis=1), whole, rtol=1e-6, of="y")
    assert_close(state, last, rtol=1e-6, of="last state")


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


def test_gradient_stays_finite_where_decay_underflows(implementation):
    arrays = inputs(49, N=4, G=2)
    arrays["dt"] = arrays["dt"] * 1e4
    for name, v in results(arrays, packed(49), implementation=implementation, chunk=16).items():
        assert np.isfinite(v).all(), name


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
