"""The suite that every implementation of attention passes: values and all gradients against the definition.

Float32 tolerances are relative to the scale of the result: sums of at most a few hundred products of numbers of order
one, each rounded at 6e-8, differ by a few 1e-6 between orders of summation; 1e-5 leaves no room for a wrong term.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from xfm.kernels.attention import IMPLEMENTATIONS, Buckets, Dense, Dropout, Mask, Slopes, attention

xla_module = importlib.import_module("xfm.kernels.attention.xla")
FORMS = ["xla", "xla_long"]  # xla_long: the form for long rows, met here by small ones


@pytest.fixture(params=FORMS)
def implementation(request, monkeypatch):
    """The name to ask for; every implementation but the definition itself must stand here."""
    assert {form.split("_")[0] for form in FORMS} == set(IMPLEMENTATIONS) - {"naive"}
    if request.param == "xla_long":
        monkeypatch.setattr(xla_module, "SHORT", 4)
        monkeypatch.setattr(xla_module, "CHUNK", 16)
    return request.param.split("_")[0]


def inputs(B=2, T=37, S=None, N=4, K=4, H=32, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((B, T, N, H), (B, S or T, K, H), (B, S or T, K, H))
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)


def packed(B, T):
    """Rows of two texts and padding at the end; the second row has padding in the middle and an all-padding tail."""
    segments = np.ones((B, T), np.int32)
    segments[:, T // 3 :] = 2
    segments[:, T - T // 5 :] = 0
    segments[1:, T // 4] = 0
    return jnp.asarray(segments)


def values_and_gradients(arrays, weight, extra=None, **arguments):
    """y, and the gradients of sum(y · weight) with respect to q, k, v and the arrays of `extra` (a bias)."""

    def loss(arrays, extra):
        y = attention(*arrays, bias=extra, **arguments)
        return (y.astype(jnp.float32) * weight).sum(), y

    run = jax.value_and_grad(loss, argnums=(0, 1) if extra is not None else 0, has_aux=True)
    (_, y), gradients = jax.jit(run)(arrays, extra)
    return y, gradients


def check(implementation, arrays, rtol=1e-5, **arguments):
    weight = jnp.asarray(np.random.default_rng(9).normal(size=arrays[0].shape), jnp.float32)
    expected = values_and_gradients(arrays, weight, implementation="naive", **arguments)
    actual = values_and_gradients(arrays, weight, implementation=implementation, **arguments)
    assert_close(actual, expected, rtol=rtol)
    return expected[0]


MASKS = {
    "full": lambda B, S: Mask.full(),
    "causal": lambda B, S: Mask.causal(),
    "window": lambda B, S: Mask.window(3, 5),
    "causal window": lambda B, S: Mask.causal() & Mask.window(6, 6),
    "wide window": lambda B, S: Mask.window(10 * S, 10 * S),
    "prefix": lambda B, S: Mask.causal(jnp.arange(S)[None] < jnp.arange(3, 3 + B)[:, None]),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("segments", ["none", "packed"])
def test_masks_and_segments(implementation, mask, segments):
    B, T = 2, 37
    check(
        implementation,
        inputs(B, T),
        mask=MASKS[mask](B, T),
        segments=packed(B, T) if segments == "packed" else None,
    )


@pytest.mark.parametrize("T", [1, 7, 49, 197])
def test_odd_lengths(implementation, T):
    check(implementation, inputs(1, T, N=2, K=2), mask=Mask.window(20, 20), segments=jnp.ones((1, T), jnp.int32))


@pytest.mark.parametrize("H", [32, 64, 80, 96, 128])
def test_head_widths(implementation, H):
    check(implementation, inputs(1, 21, N=2, K=2, H=H))


@pytest.mark.parametrize("K", [1, 2])
def test_grouped_queries(implementation, K):
    check(implementation, inputs(2, 21, N=4, K=K), mask=Mask.causal(), segments=packed(2, 21))


@pytest.mark.parametrize("T,S", [(5, 33), (33, 5), (1, 40)])
def test_queries_and_keys_of_different_length(implementation, T, S):
    segments = (jnp.ones((2, T), jnp.int32), packed(2, S).at[:].set(jnp.minimum(packed(2, S), 1)))
    check(implementation, inputs(2, T, S), segments=segments)


@pytest.mark.parametrize("window", [None, 4])
def test_offset_is_the_place_of_the_first_query(implementation, window):
    """The last queries of a row, given their offset, see what they see in the whole row."""
    q, k, v = inputs(2, 30)
    mask = Mask.causal() & Mask.window(window, 0) if window else Mask.causal()
    whole = attention(q, k, v, mask=mask, implementation="naive")
    part = attention(q[:, 22:], k, v, mask=mask & Mask(offset=jnp.int32(22)), implementation=implementation)
    assert_close(part, whole[:, 22:])


BIASES = {
    "slopes": lambda T: Slopes(jnp.array([0.5, 0.25, 0.1, 0.01])),
    "buckets, two sides": lambda T: Buckets(jax.random.normal(jax.random.key(1), (8, 4)), reach=16, sides=2),
    "buckets, one side": lambda T: Buckets(jax.random.normal(jax.random.key(1), (8, 4)), reach=16, sides=1),
    "dense": lambda T: Dense(jax.random.normal(jax.random.key(1), (2, 4, T, T))),
    "dense, shared": lambda T: Dense(jax.random.normal(jax.random.key(1), (1, 1, T, T))),
}


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("mask", ["full", "window"])
def test_biases_and_their_gradients(implementation, bias, mask):
    T = 29
    check(implementation, inputs(2, T), extra=BIASES[bias](T), mask=MASKS[mask](2, T), segments=packed(2, T))


def test_dropout_is_the_same_everywhere(implementation):
    dropout = Dropout.of(0.3, jax.random.key(5))
    check(implementation, inputs(2, 37), dropout=dropout, mask=Mask.causal(), segments=packed(2, 37))


def test_dropout_keeps_its_share_and_differs_between_heads():
    dropout = Dropout.of(0.25, jax.random.key(5))
    keep = [np.asarray(dropout.keep(b, n, jnp.arange(200), jnp.arange(200))) for b, n in ((0, 0), (0, 1), (1, 0))]
    for one in keep:  # 40,000 draws: five deviations are 0.011
        assert abs(one.mean() - 0.75) < 0.011
        assert abs(one.mean(0) - 0.75).max() < 0.16 and abs(one.mean(1) - 0.75).max() < 0.16
    for one, other in ((0, 1), (0, 2), (1, 2)):  # independent heads agree on 0.75² + 0.25² of the places
        assert abs((keep[one] == keep[other]).mean() - 0.625) < 0.013


def test_bfloat16(implementation):
    """Against float32 of the same rounded inputs: weights and values are rounded at 2^-9, the gradients twice."""
    arrays = inputs(2, 37, dtype=jnp.bfloat16)
    weight = jnp.ones(arrays[0].shape, jnp.float32)
    exact = tuple(a.astype(jnp.float32) for a in arrays)
    expected = values_and_gradients(exact, weight, implementation="naive", segments=packed(2, 37))
    actual = values_and_gradients(arrays, weight, implementation=implementation, segments=packed(2, 37))
    assert actual[0].dtype == jnp.bfloat16
    assert_close(actual, expected, rtol=4 * 2**-9)


def test_padding_filled_with_nan_changes_nothing(implementation):
    arrays, segments = inputs(2, 37), packed(2, 37)
    real = (segments > 0)[:, :, None, None]
    weight = jnp.where(real, 1.0, 0.0)
    clean = values_and_gradients(
        tuple(jnp.where(real, a, 0) for a in arrays), weight, implementation=implementation, segments=segments
    )
    dirty = values_and_gradients(
        tuple(jnp.where(real, a, jnp.nan) for a in arrays), weight, implementation=implementation, segments=segments
    )
    assert_close(dirty, clean, rtol=0)
    assert not jnp.where(real, 0, dirty[0]).any(), "padding gives zeros"


def test_packed_equals_separate(implementation):
    q, k, v = inputs(1, 30)
    segments = jnp.array([[1] * 11 + [2] * 14 + [0] * 5])
    together = attention(q, k, v, segments=segments, bias=Slopes(jnp.ones(4) * 0.1), implementation=implementation)
    for start, end in ((0, 11), (11, 25)):
        alone = attention(
            *(a[:, start:end] for a in (q, k, v)), bias=Slopes(jnp.ones(4) * 0.1), implementation=implementation
        )
        assert_close(together[:, start:end], alone)


def test_a_row_of_padding_gives_zeros(implementation):
    arrays = inputs(2, 20)
    segments = jnp.stack([jnp.ones(20, jnp.int32), jnp.zeros(20, jnp.int32)])
    y, gradients = values_and_gradients(
        arrays, jnp.ones(arrays[0].shape), implementation=implementation, segments=segments
    )
    assert not y[1].any() and not any(g[1].any() for g in gradients)


def test_twice_gives_the_same_bits(implementation):
    arrays = inputs(2, 37)
    run = jax.jit(lambda a: values_and_gradients(a, 1.0, implementation=implementation, segments=packed(2, 37)))
    assert_close(run(arrays), run(arrays), rtol=0)


@pytest.mark.parametrize(
    "arguments",
    [dict(), dict(mask=Mask.causal()), dict(bias=Slopes(jnp.ones(2))), dict(mask=Mask.window(64, 64))],
    ids=["plain", "causal", "slopes", "window"],
)
def test_memory_grows_linearly_with_length(arguments):
    """Temporary memory of forward and backward at four times the length: four times as much, not sixteen."""

    def temporary(T):
        shape = jax.ShapeDtypeStruct((1, T, 2, 32), jnp.float32)
        segments = jax.ShapeDtypeStruct((1, T), jnp.int32)

        def loss(q, k, v, segments):
            return jnp.square(attention(q, k, v, segments=segments, **arguments)).sum()

        run = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
        return run.lower(shape, shape, shape, segments).compile().memory_analysis().temp_size_in_bytes

    assert temporary(16_384) < 4.2 * temporary(4_096)


@pytest.mark.parametrize(
    "wrong,arguments,said",
    [
        (dict(K=3), {}, "multiple of the key heads, not 4 and 3"),
        ({}, dict(segments=jnp.ones((2, 9), jnp.int32)), r"queries have shape \(2, 9\); \(2, 37\) is needed"),
        ({}, dict(bias=Slopes(jnp.ones(3))), "bias is of 3 heads, the queries of 4"),
        ({}, dict(bias=Dense(jnp.ones((1, 1, 5, 5)))), "does not fit scores"),
        ({}, dict(mask=Mask.window(-1, 0)), "reaches 0 or more tokens"),
        ({}, dict(implementation="cudnn"), "no implementation 'cudnn'; it has naive, xla"),
    ],
)
def test_bad_arguments(wrong, arguments, said):
    with pytest.raises(ValueError, match=said):
        attention(*inputs(**wrong), **arguments)


def test_masks_combine():
    both = Mask.causal() & Mask.window(4, 2) & Mask.window(9, 1)
    assert (both.order, both.before, both.after) == ("causal", 4, 1) and both.reach == (4, 0)
    row = Mask.window(1, 0).visible(jnp.arange(4), jnp.arange(4))
    assert row.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    prefix = Mask.causal(jnp.array([[True, True, False, False]])).visible(
        jnp.arange(4), jnp.arange(4), jnp.array([True, True, False, False])
    )
    assert prefix.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
