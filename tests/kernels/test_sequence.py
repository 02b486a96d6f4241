"""The suite that every recurrence over a row passes, in each implementation: values, all gradients, segments, state.

float32 results are held to the definition run in float64, with a tolerance relative to the scale of the result: sums
of a few hundred products of numbers of order one, each rounded at 6e-8, come to a few 1e-7 for values and a few 1e-6
for gradients that are sums over the whole row; 1e-5 leaves no room for a wrong term. What equals another result of the
same implementation does so to 2e-6.

Compiling is what costs time here. Most tests therefore call one compiled function of each implementation, with rows of
the same length: a shorter text stands at the beginning of a row that is padded.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.kernels.sequence_cases import CASES, SLOW, exact, of_tokens, poisoned, program, results, texts, weighing
from xfm.kernels.backwards import backwards

B, T, CHUNK = 4, 37, 16
BOTH = [(case, name) for case, entry in CASES.items() for name in entry.implementations]
CHUNKED = [(case, name) for case, name in BOTH if name != "naive"]
every = pytest.mark.parametrize(("case", "implementation"), BOTH)
chunked = pytest.mark.parametrize(("case", "implementation"), CHUNKED)


def packed():
    """Segments [4 37]: borders at those of chunks; borders inside, and a text of one token; one text that is padded at
    both ends and inside, also over a whole chunk; nothing but padding.
    """
    rows = [
        texts(T, (16, 32)),
        texts(T, (5, 17, 18, 31), padding=(9, 17 + 12)),
        texts(T, (), padding=(0, 1, *range(12, 34), 36)),
        np.zeros(T, np.int32),
    ]
    return np.stack(rows)


ONE = np.full((B, T), 5, np.int32)


@functools.cache
def expected(case, log_decay=None, with_segments=True):
    arrays = CASES[case].arrays(log_decay=log_decay)
    segments = packed() if with_segments else ONE
    return exact(case, poisoned(arrays, segments), segments)


@functools.cache
def values(case, implementation):
    """A compiled function from arrays and segments to y and the last state."""

    def run(arrays, segments):
        return CASES[case].run(**arrays, segments=segments, implementation=implementation, chunk=CHUNK)

    compiled = jax.jit(run)
    return lambda arrays, segments: tuple(map(np.asarray, compiled(arrays, segments)))


def changed(arrays, change):
    """The arrays of tokens with `change` applied to each, and the others as they are."""
    names = of_tokens(arrays)
    return {name: change(v) if name in names else v for name, v in arrays.items()}


def moved(v, start, stop):
    """[B T ...] with the tokens from start to stop in front, and zeros after them."""
    return np.concatenate([v[:, start:stop], np.zeros_like(v[:, : v.shape[1] - (stop - start)])], axis=1)


def shortened(arrays, segments, start, stop):
    """The arrays and segments of the tokens from start to stop, padded to the length that there was."""
    return changed(arrays, lambda v: moved(v, start, stop)), moved(segments, start, stop)


@every
@pytest.mark.parametrize("log_decay", [None, 0.0, -np.inf], ids=["mixed", "decay 1", "decay 0"])
def test_values_and_gradients(case, implementation, log_decay):
    """Packed rows with NaN in their padding, and a state that goes in and comes out."""
    arrays, segments = CASES[case].arrays(log_decay=log_decay), packed()
    actual = results(case, implementation, poisoned(arrays, segments), segments)
    assert_all(actual, expected(case, log_decay))
    assert not actual["y"][segments == 0].any(), "padding gives values"
    for name in of_tokens(arrays):
        assert not actual[f"d {name}"][segments == 0].any(), f"gradients of {name} in padding"
    np.testing.assert_array_equal(actual["last"][3], arrays["state"][3], "padding alone changes the state")
    np.testing.assert_array_equal(actual["d state"][3], weighing(arrays)["last"][3])


def assert_all(actual, right, rtol=1e-5):
    assert actual.keys() == right.keys()
    for name in actual:
        assert_close(actual[name], right[name], rtol=rtol, of=name)


LENGTHS = {  # T, the length of chunks, the sizes, and what is not given
    "one token": (1, 16, {}, ()),
    "shorter than a chunk": (7, 16, dict(N=4, H=24), ("state",)),
    "chunks of one token": (3, 1, {}, ("d",)),
    "chunks of an odd length": (29, 5, dict(H=4, M=24), ()),
    "whole chunks": (32, 16, dict(H=16, M=16), ("state",)),
    "an image of 196 patches": (197, 64, dict(H=64), ("state",)),
    "two chunks": (300, 256, dict(H=80), ()),
    "wide heads": (70, 64, dict(H=128, M=128), ()),
}
LONG, EVERYDAY = ("an image of 196 patches", "two chunks", "wide heads"), ("ssd", "gla by channel")


def daily(case, length):
    return () if case in EVERYDAY or length not in LONG else pytest.mark.slow


@pytest.mark.parametrize(
    ("case", "implementation", "length"),
    [pytest.param(*both, length, marks=daily(both[0], length)) for both in CHUNKED for length in LENGTHS],
)
def test_lengths(case, implementation, length):
    """A single segment, for which `segments` is None."""
    T, chunk, sizes, absent = LENGTHS[length]
    arrays = CASES[case].arrays(**dict(B=2, T=T) | sizes)
    weights = weighing(arrays)
    arrays = {name: v for name, v in arrays.items() if name not in absent}
    actual = results(case, implementation, arrays, chunk=chunk, weights=weights)
    assert_all(actual, exact(case, arrays, weights=weights))


@every
def test_packed_equals_separate_and_nothing_leaks(case, implementation):
    """With slow decay: a state that passes a border, or a gradient, would be as large as what belongs there."""
    arrays, segments = CASES[case].arrays(log_decay=SLOW), packed()
    together, last = values(case, implementation)(arrays, segments)
    alone = dict(arrays, state=np.zeros_like(arrays["state"]))
    for row in (0, 1):
        borders = [(0, 16), (16, 32), (32, T)] if row == 0 else [(0, 5), (5, 17), (17, 18), (18, 31), (31, T)]
        for start, stop in borders:
            own = (segments[row] == segments[row, stop - 1]) & (segments[row] > 0)
            begun = arrays if start == 0 else alone
            y, after = values(case, implementation)(*shortened(begun, np.where(own, segments, 0), start, stop))
            assert_close(together[row, start:stop], y[row, : stop - start], rtol=1e-6, of=f"text from {start}")
        assert_close(last[row], after[row], rtol=1e-6, of="the state after the last text")
    one = (segments == segments[:, 20:21]) & (segments > 0)  # of rows 0 and 1: a text that is not the first one
    weights = weighing(arrays, y=one, last=False)
    actual = results(case, implementation, arrays, segments, weights=weights)
    for name in of_tokens(arrays):
        gradient = np.abs(actual[f"d {name}"][:2])
        # that of a gate is a difference of sums, which may leave their rounding
        allowed = 1e-6 * gradient.max() if name in CASES[case].gates else 0
        assert gradient[~one[:2]].max() <= allowed, f"gradients of {name} leave the text"
        # the decay of a text's first token meets a state of zeros
        meets = one[:2] & np.pad(one[:2, :-1], ((0, 0), (1, 0))) if name == "log_decay" else one[:2]
        assert gradient[meets].all(), name
    assert not actual["d state"][:2].any()


@every
def test_state_passes_over_padding(case, implementation):
    """Tokens that stand apart, with padding between them, are those that stand side by side."""
    arrays, segments = CASES[case].arrays(log_decay=SLOW), ONE.copy()
    segments[:, [0, 11, 12, 15, 16, 17, 30, 36]] = 0
    y, last = values(case, implementation)(poisoned(arrays, segments), segments)
    real = segments[0] > 0
    order = np.concatenate([np.flatnonzero(real), np.flatnonzero(~real)])
    dense, after = values(case, implementation)(changed(arrays, lambda v: v[:, order]), segments[:, order])
    assert_close(y[:, order], dense, rtol=1e-6, of="y")
    assert_close(last, after, rtol=1e-6, of="last state")


@every
def test_parts_with_a_carried_state_equal_the_whole(case, implementation):
    arrays = CASES[case].arrays()
    run = values(case, implementation)
    whole, last = run(arrays, ONE)
    state, parts = arrays["state"], []
    for start, stop in ((0, 5), (5, 32), (32, T)):
        y, state = run(*shortened(dict(arrays, state=state), ONE, start, stop))
        parts.append(y[:, : stop - start])
    assert_close(np.concatenate(parts, axis=1), whole, rtol=1e-6, of="y")
    assert_close(state, last, rtol=1e-6, of="last state")


def stepped(case, arrays, segments, order):
    """y [B T ...] and the state after the tokens were taken one by one, in this order."""
    take, names = jax.jit(CASES[case].step), of_tokens(arrays)
    arrays, y = dict(arrays), {}
    for t in order:
        token = {name: v[:, t] if name in names else v for name, v in arrays.items()}
        y[t], arrays["state"] = take(**token, segments=segments[:, t])
    return np.stack([y[t] for t in sorted(y)], axis=1), np.asarray(arrays["state"])


@every
def test_steps_equal_the_row_in_both_directions(case, implementation):
    arrays, segments = CASES[case].arrays(), ONE.copy()
    segments[0, [3, 4]], segments[3] = 0, 0
    arrays = poisoned(arrays, segments)
    run = functools.partial(CASES[case].run, implementation=implementation, chunk=CHUNK)
    for direction, order in ((run, range(T)), (backwards(run), reversed(range(T)))):
        y, last = jax.jit(direction)(**arrays, segments=segments)
        steps, after = stepped(case, arrays, segments, order)
        assert_close(np.asarray(y), steps, rtol=1e-6, of="y")
        assert_close(np.asarray(last), after, rtol=1e-6, of="last state")


@every
def test_backwards_in_segments(case, implementation):
    """Two texts of a row, read backwards, are each read backwards alone, the last one first."""
    arrays, segments = CASES[case].arrays(log_decay=SLOW), np.stack([texts(T, (16,))] * B)
    run = values(case, implementation)
    reverse = backwards(lambda segments, **arrays: run(arrays, segments))
    y, last = map(np.asarray, reverse(**arrays, segments=segments))
    mirrored = changed(arrays, lambda v: v[:, ::-1]), segments[:, ::-1]
    second, _ = run(*shortened(*mirrored, 0, T - 16))
    zero = np.zeros_like(last)
    first, after = run(*shortened(dict(mirrored[0], state=zero), mirrored[1], T - 16, T))
    assert_close(y[:, 16:], second[:, : T - 16][:, ::-1], rtol=1e-6, of="second text")
    assert_close(y[:, :16], first[:, :16][:, ::-1], rtol=1e-6, of="first text")
    assert_close(last, after, rtol=1e-6, of="last state")


@every
def test_what_forgets_at_once_sees_the_present_alone(case, implementation):
    """Decay 0 is the same as a border between any two tokens."""
    entry = CASES[case]
    gone, kept = entry.arrays(log_decay=-np.inf), entry.arrays(log_decay=SLOW)
    if not entry.gates:
        pytest.skip("there is no decay")
    alone = np.tile(np.arange(T, dtype=np.int32) % 7 + 1, (B, 1))
    zero = np.zeros_like(kept["state"])
    run = values(case, implementation)
    (y, last), (right, after) = run(gone, ONE), run(dict(kept, state=zero), alone)
    assert_close(y, right, rtol=1e-6, of="y")
    assert_close(last, after, rtol=1e-6, of="last state")


def cosine(a, b):
    a, b = (np.asarray(v, np.float64).ravel() for v in (a, b))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@chunked
def test_directions_of_gradients(case, implementation, dtype):
    """Slow and fast decays over chunks of 64 tokens: the gradients of gates are sums in which most terms cancel."""
    entry = CASES[case]
    arrays = entry.arrays(B=1, T=128, H=16, M=16)
    half = {name: v.astype(jnp.bfloat16) for name, v in arrays.items() if dtype == "bfloat16" and name in entry.half}
    actual = results(case, implementation, arrays | half, chunk=64)
    right = exact(case, arrays | {name: v.astype(np.float32) for name, v in half.items()})
    least = 0.9999 if dtype == "float32" else 0.99
    for name in right:
        assert cosine(actual[name], right[name]) > least, name
        # roundings of 2^-9 that a term meets; a gate's meets more
        roundings = entry.roundings * (2 if name[2:] in entry.gates else 1)
        assert_close(actual[name], right[name], rtol=1e-5 if dtype == "float32" else roundings * 2.0**-9, of=name)
    assert actual["y"].dtype == jnp.dtype(dtype) and actual["last"].dtype == np.float32


@chunked
def test_a_long_row_stays_exact(case, implementation):
    """65,536 tokens in bfloat16, with a decay so slow that half of the row is remembered."""
    entry = CASES[case]
    arrays = entry.arrays(B=1, T=65536, N=1 if "groups" not in case else 2, H=4, M=4, log_decay=-2e-5)
    arrays |= {name: arrays[name].astype(jnp.bfloat16) for name in entry.half}
    wide = {name: v.astype(np.float32) for name, v in arrays.items()}
    run = jax.jit(functools.partial(entry.run, implementation=implementation, chunk=64))
    y, last = run(**arrays)
    right, after = jax.jit(functools.partial(entry.run, implementation="naive"))(**wide)
    assert_close(np.asarray(y, np.float32), np.asarray(right), rtol=4 * 2.0**-9, of="y")
    assert_close(np.asarray(last), np.asarray(after), rtol=2.0**-9, of="last state")


@chunked
def test_gradients_stay_finite_where_decays_underflow(case, implementation):
    arrays = CASES[case].arrays()
    for name in CASES[case].gates:
        arrays[name] = arrays[name] * 1e3
    actual = program(case, implementation, CHUNK)(arrays, packed(), weighing(arrays))
    for name, v in actual.items():
        assert np.isfinite(v).all(), name
