"""The suite that every implementation of a convolution passes: values, all gradients, packing, streaming, refusals."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from xfm.kernels.conv import IMPLEMENTATIONS, depthwise, depthwise_grid, grouped, neighbours, tail_after
from xfm.kernels.platform import compiling_for
from xfm.plan.flops import total

B, T, N, H = 2, 11, 3, 4
SEGMENTS = np.array([[1, 1, 1, 2, 2, 0, 2, 3, 0, 0, 4], [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]], np.int32)
KINDS = {  # operation, shape of x, of the kernel for W taps, of the bias
    "channels": (depthwise, (B, T, 6), lambda W: (W, 6), (6,)),
    "shared by the channels of a head": (depthwise, (B, T, N, H), lambda W: (W, N, 1), (N, H)),
    "of each token": (depthwise, (B, T, N, H), lambda W: (W, B, T, N, 1), (N, H)),
    "one group": (grouped, (B, T, 6), lambda W: (W, 6, 4), (4,)),
    "two groups": (grouped, (B, T, 6), lambda W: (W, 3, 8), (8,)),
}
WIDTHS = {"one tap": (1, None), "centred, odd": (5, None), "centred, even": (4, None), "other even": (4, 1),
          "causal": (4, 3), "wider than the row": (15, None)}  # fmt: skip


def numbers(kind, W, dtype=np.float32):
    rng, (_, x, kernel, bias) = np.random.default_rng(W), KINDS[kind]
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in (x, kernel(W), bias))


run_depthwise, run_grouped = (
    jax.jit(one, static_argnames=("before", "implementation")) for one in (depthwise, grouped)
)


@cache
def compiled(kind, W, before, implementation):
    """Values, and the gradients of x, kernel and bias for a fixed cotangent, in one compiled function."""
    operation = KINDS[kind][0]

    @jax.jit
    def both(x, kernel, bias):
        def run(x, kernel, bias):
            given = dict(segments=SEGMENTS, before=before, implementation=implementation)
            return operation(x, kernel, bias=bias, **given)

        y, back = jax.vjp(run, x, kernel, bias)
        return y, back(jnp.asarray(np.sin(np.arange(y.size)).reshape(y.shape), y.dtype))

    return both


CASES = [
    (kind, width) for kind in KINDS for width in WIDTHS if kind == "channels" or width in ("centred, odd", "causal")
]


@pytest.mark.parametrize("implementation", [name for name in IMPLEMENTATIONS if name != "naive"])
@pytest.mark.parametrize("kind,width", CASES)
def test_values_and_gradients_equal_the_definition(kind, width, implementation):
    """Padding holds NaN for both, and no gradient comes out of it."""
    W, before = WIDTHS[width]
    x, kernel, bias = numbers(kind, W)
    x = np.where((SEGMENTS > 0).reshape(B, T, *[1] * (x.ndim - 2)), x, np.float32(np.nan))
    expected = compiled(kind, W, before, "naive")(x, kernel, bias)
    found = compiled(kind, W, before, implementation)(x, kernel, bias)
    jax.tree.map(assert_close, found, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert not np.asarray(found[1][0])[SEGMENTS == 0].any()


@pytest.mark.parametrize("kind", ["channels", "two groups"])
def test_bfloat16_is_rounded_once(kind):
    x, kernel, bias = numbers(kind, 5, jnp.bfloat16)
    exact, _ = compiled(kind, 5, None, "xla")(np.asarray(x, np.float32), np.asarray(kernel, np.float32), bias)
    found, _ = compiled(kind, 5, None, "xla")(x, kernel, bias)
    assert found.dtype == jnp.bfloat16
    assert (np.abs(np.asarray(found, np.float32) - exact) <= 2**-8 * np.abs(exact) + 1e-6).all()


def test_gradients_of_many_taps_are_rounded_once():
    """Of 65 taps of 1/4, each of which rounds to no change where the sum so far is held in bfloat16."""
    x, kernel = np.zeros((1, 200, 1), jnp.bfloat16), np.full((65, 1), 0.25, jnp.bfloat16)
    kernel[0] = 256
    grad = jax.jit(jax.grad(lambda x: depthwise(x, kernel).astype(jnp.float32).sum()))(x)
    assert float(grad[0, 100, 0]) == 272 and grad.dtype == jnp.bfloat16


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_definition_is_a_loop(implementation):
    x, kernel, bias = (np.asarray(a, np.float64) for a in numbers("channels", 4))
    ids = np.asarray(SEGMENTS)
    expected = np.tile(bias, (B, T, 1))
    for b, t, w in np.ndindex(B, T, 4):
        s = t - 3 + w
        if 0 <= s and ids[b, s] == ids[b, t] > 0:
            expected[b, t] += kernel[w] * x[b, s]
    given = [jnp.asarray(a, jnp.float32) for a in (x, kernel)]
    y = run_depthwise(
        *given, bias=jnp.asarray(bias, jnp.float32), segments=SEGMENTS, before=3, implementation=implementation
    )
    assert_close(y, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_packed_equals_separate(implementation):
    x, kernel, _ = numbers("two groups", 5)
    x, ids = np.asarray(x), np.array([[1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]] * B, np.int32)
    y = run_grouped(x, kernel, segments=ids, implementation=implementation)
    alone = [run_grouped(part, kernel, implementation=implementation) for part in (x[:, :4], x[:, 4:])]
    assert_close(y, np.concatenate(alone, axis=1))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("cuts", [(1, 2, 5, 9), tuple(range(1, T))])
def test_a_stream_in_pieces_equals_the_row(cuts, implementation):
    """One piece after another with the tail of those before; ids that change within, at and between the cuts."""
    W = 4
    x, kernel, bias = numbers("channels", W)
    x = np.where((SEGMENTS > 0)[..., None], x, np.float32(np.nan))
    whole = run_depthwise(x, kernel, bias=bias, segments=SEGMENTS, before=W - 1, implementation=implementation)
    tail, held, ys, after = np.zeros((B, W - 1, 6), np.float32), np.zeros(B, np.int32), [], jax.jit(tail_after)
    for start, end in zip((0, *cuts), (*cuts, T), strict=True):
        piece, ids = x[:, start:end], SEGMENTS[:, start:end]
        given = dict(bias=bias, segments=ids, before=W - 1, tail=tail, tail_segment=held, implementation=implementation)
        ys.append(run_depthwise(piece, kernel, **given))
        last = [max((int(i) for i in row[:end]), default=0) for row in SEGMENTS]  # ids grow along these rows
        last = np.array(last, np.int32)
        tail, held = after(piece, ids, tail, held, last), last
    assert_close(np.concatenate(ys, axis=1), whole)


def test_neighbours_are_what_a_convolution_sums():
    x, kernel, _ = numbers("one group", 4)
    near = jax.jit(lambda x: neighbours(x, 4, segments=SEGMENTS, before=1))(x)
    assert near.shape == (B, T, 4, 6)
    summed = np.einsum("btwi,wio->bto", near, kernel)
    assert_close(summed, run_grouped(x, kernel, segments=SEGMENTS, before=1))


GRID = (B, 4, 5, 6)
IDS = np.array([[[1, 1, 1, 2, 2], [1, 1, 2, 2, 2], [0, 1, 1, 2, 0], [0, 0, 3, 3, 3]], [[7] * 5] * 4], np.int32)


def on_grid(target, size, segments, implementation):
    """Values, and the gradients of x and kernel, of a program that is traced for a platform."""
    rng = np.random.default_rng(size[0])
    x, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in (GRID, (*size, 6)))
    x = x if segments is None else np.where(segments[..., None] > 0, x, np.float32(np.nan))

    def run(x, kernel):
        ids = None if segments is None else jnp.asarray(segments)
        return depthwise_grid(x, kernel, segments=ids, implementation=implementation)

    def both(x, kernel):
        x, kernel = jnp.asarray(x), jnp.asarray(kernel)
        with compiling_for(target):
            y, back = jax.vjp(run, x, kernel)
        return y, back(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    return jax.jit(both)(x, kernel)


@pytest.mark.parametrize("size", [(3, 3), (5, 1)])
@pytest.mark.parametrize("target,segments", [("cpu", None), ("cpu", IDS), ("gpu", None), ("gpu", IDS)])
def test_on_a_grid_it_equals_the_definition(target, segments, size):
    """Sums of shifted grids, and where there are no segments XLA's convolution on other platforms than a CPU."""
    found, expected = (on_grid(target, size, segments, name) for name in (None, "naive"))
    assert_close(found, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_products_on_a_grid_are_counted(target):
    with compiling_for(target):
        traced = jax.make_jaxpr(lambda x, kernel: depthwise_grid(x, kernel))(jnp.zeros(GRID), jnp.zeros((3, 5, 6)))
    assert total(traced.jaxpr) == 2 * 15 * np.prod(GRID)


def test_the_definition_on_a_grid_is_a_loop():
    rng = np.random.default_rng(1)
    x, kernel, bias = rng.standard_normal(GRID), rng.standard_normal((3, 3, 6)), rng.standard_normal(6)
    expected = np.zeros(GRID) + bias
    for b, i, j, a, c in np.ndindex(B, 4, 5, 3, 3):
        k, m = i + a - 1, j + c - 1
        if 0 <= k < 4 and 0 <= m < 5 and IDS[b, i, j] == IDS[b, k, m] > 0:
            expected[b, i, j] += kernel[a, c] * x[b, k, m]
    given = [jnp.asarray(a, jnp.float32) for a in (x, kernel)]
    for implementation in IMPLEMENTATIONS:
        found = depthwise_grid(*given, bias=bias, segments=jnp.asarray(IDS), implementation=implementation)
        assert_close(found, expected)


X = jax.device_put(np.zeros((B, T, 6), np.float32))
MISTAKES = {
    "taps": (lambda: depthwise(X, jnp.zeros((3, 5))), ValueError, "a tap has shape .5,., which does not broadcast"),
    "a wider result": (lambda: depthwise(X, jnp.zeros((3, 4, 1, 1, 6))), ValueError, "does not broadcast to x"),
    "reach": (lambda: depthwise(X, jnp.zeros((3, 6)), before=3), ValueError, "with 3 taps it must be from 0 to 2"),
    "groups": (lambda: grouped(X, jnp.zeros((3, 4, 6))), ValueError, "6 channels cannot be divided into groups of 4"),
    "outputs": (lambda: grouped(X, jnp.zeros((3, 3, 5))), ValueError, "or 5 outputs among the groups"),
    "bias": (lambda: grouped(X, jnp.zeros((3, 6, 4)), bias=jnp.zeros(6)), ValueError, r"bias has shape \(6,\)"),
    "segments": (lambda: neighbours(X, 3, segments=jnp.ones((B, 3), int)), ValueError, "segments has shape"),
    "floats": (lambda: neighbours(X, 3, segments=jnp.ones((B, T))), ValueError, "it must be of an integer dtype"),
    "whole numbers": (lambda: neighbours(X.astype(int), 3), ValueError, "x is .* of a floating dtype"),
    "a tail that is not read": (
        lambda: depthwise(X, jnp.zeros((3, 6)), tail=jnp.zeros((B, 2, 6))), ValueError, "a tail needs a causal"
    ),
    "whose tail": (
        lambda: depthwise(X, jnp.zeros((3, 6)), before=2, segments=SEGMENTS, tail=jnp.zeros((B, 2, 6))),
        ValueError, "a tail needs tail_segment",
    ),
    "whose segment": (
        lambda: depthwise(X, jnp.zeros((3, 6)), before=2, tail=jnp.zeros((B, 2, 6)), tail_segment=jnp.ones(B, int)),
        ValueError, "it needs a tail and segments",
    ),
    "a kernel without a middle": (
        lambda: depthwise_grid(jnp.zeros(GRID), jnp.zeros((3, 4, 6))), ValueError, "p and q being odd"
    ),
    "segments of a grid": (
        lambda: depthwise_grid(jnp.zeros(GRID), jnp.zeros((3, 3, 6)), segments=jnp.ones((B, 20), int)),
        ValueError, r"it has to be \(2, 4, 5\)",
    ),
    "implementation": (lambda: depthwise(X, jnp.zeros((3, 6)), implementation="cuda"), NotImplementedError, "'cuda'"),
}  # fmt: skip


@pytest.mark.parametrize("call,error,words", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()
