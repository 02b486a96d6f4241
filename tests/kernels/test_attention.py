"""The suite that every implementation of attention passes: values and all gradients against the definition.

Float32 tolerances are relative to the scale of the result: sums of at most a few hundred products of numbers of order
one, each rounded at 6e-8, differ by a few 1e-6 between orders of summation; 1e-5 leaves no room for a wrong term.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.kernels.attention_cases import BIASES, CASES, FORMS, MASKS, Case, expected, met, packed
from xfm.kernels.attention import IMPLEMENTATIONS, Mask, Slopes, attention
from xfm.kernels.platform import platform


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def test_every_implementation_of_this_platform_stands_in_the_suite():
    here = {name for name, one in IMPLEMENTATIONS.items() if platform() in one.platforms}
    assert here - {"naive"} <= {form.implementation for form in FORMS.values()}


@pytest.mark.parametrize("form,name", met())
def test_values_and_gradients(form, name):
    case = CASES[name]
    assert_close(form.results(case), expected(case), rtol=1e-5)


ROUNDED = ("mask: full", "mask: window", "bias: slopes", "softmax: temperature, cap and sink", "windows of Swin")


@pytest.mark.parametrize("name", ROUNDED)
def test_bfloat16(form, name):
    """Against float32 of the same rounded inputs: weights and values are rounded at 2^-9, the gradients twice."""
    case = CASES[name]
    actual = form.results(case, jnp.bfloat16)
    assert actual[0][0].dtype == jnp.bfloat16 and all(a.dtype == jnp.float32 for a in actual[0][1:])
    assert_close(actual, expected(case, jnp.bfloat16), rtol=4 * 2**-9)


@functools.cache
def summed(form):
    """y, and the gradients of sum(y · weight) with respect to q, k and v, compiled once for each description."""

    def loss(arrays, weight, given, softmax):
        y = attention(*arrays, implementation=form.implementation, softmax=softmax, **given)
        return (y * weight).sum(), y

    run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=3)

    def call(arrays, weight, given, softmax="softmax"):
        (_, y), gradients = form.honoured(lambda: run(arrays, weight, given, softmax))
        return jax.tree.map(np.asarray, (y, gradients))

    return call


NEXT_TO_PADDING = {
    "plain": dict(),
    "window": dict(mask=MASKS["window"]),
    "everyone": dict(mask=MASKS["everyone"]),
    "pattern": dict(mask=MASKS["pattern"]),
    "buckets": dict(bias=BIASES["buckets, two sides"]),
    "sigmoid": dict(softmax="sigmoid"),
}


@pytest.mark.parametrize("name", NEXT_TO_PADDING)
def test_padding_filled_with_nan_changes_nothing(form, name):
    case = Case(**NEXT_TO_PADDING[name])
    bias, softmax = case.extra()
    given = dict(case.arguments(), bias=bias)
    real = (np.asarray(given["segments"]) > 0)[:, :, None, None]

    def filled(filling):
        arrays = tuple(np.where(real, a, np.float32(filling)) for a in case.arrays())
        return summed(form)(arrays, real.astype(np.float32), given, softmax)

    clean, dirty = filled(0.0), filled(np.nan)
    assert_close(dirty, clean, rtol=0)
    assert not np.where(real, 0, dirty[0]).any(), "padding gives zeros"


def test_packed_equals_separate(form):
    """Two texts in a row, and as two rows."""
    q, k, v = (np.asarray(a) for a in Case(B=1, T=31).arrays())
    segments = np.array([[1] * 13 + [2] * 13 + [0] * 5], np.int32)

    @jax.jit
    def attend(arrays, segments):
        return attention(
            *arrays, segments=segments, bias=Slopes(np.full(2, 0.1, np.float32)), implementation=form.implementation
        )

    together = np.asarray(form.honoured(lambda: attend((q, k, v), segments)))
    alone = form.honoured(lambda: attend([a[0, :26].reshape(2, 13, *a.shape[2:]) for a in (q, k, v)], None))
    assert_close(together[0, :26].reshape(alone.shape), alone)


def test_a_row_of_padding_gives_zeros(form):
    case = Case()
    segments = np.stack([np.ones(case.T, np.int32), np.zeros(case.T, np.int32)])
    given = dict(case.arguments(), segments=segments, bias=None)
    y, gradients = summed(form)(case.arrays(), np.ones((*segments.shape, 1, 1), np.float32), given)
    assert not y[1].any() and not any(g[1].any() for g in gradients)


def test_twice_gives_the_same_bits(form):
    assert_close(*(form.results(CASES["mixed"]) for _ in range(2)), rtol=0)


def up_to(window):
    """A causal mask, and a bias."""
    mask = Mask.causal() & Mask.window(window, 0) if window else Mask.causal()
    return mask, Slopes(np.full(2, 1 / 8, np.float32))


@functools.cache
def of_whole_rows(window):
    mask, bias = up_to(window)
    return jax.jit(functools.partial(attention, mask=mask, bias=bias, implementation="naive"))(*Case(T=30).arrays())


@pytest.mark.parametrize("window", [None, 4])
def test_offset_is_the_position_of_the_first_query(form, window):
    """The last queries of a row, given their offset, see what they see in the whole row."""
    q, k, v = (np.asarray(a) for a in Case(T=30).arrays())
    mask, bias = up_to(window)

    @jax.jit
    def attend(q, k, v, offset):
        here = mask & Mask(offset=offset)
        return attention(q, k, v, mask=here, bias=bias, implementation=form.implementation)

    part = form.honoured(lambda: attend(q[:, 22:], k, v, np.int32(22)))
    assert_close(part, np.asarray(of_whole_rows(window))[:, 22:])


def test_every_case_is_met_by_each_implementation():
    for implementation in {form.implementation for form in FORMS.values()}:
        assert {case.values[1] for case in met() if case.values[0].implementation == implementation} == set(CASES)


def test_packed_rows_have_padding_and_two_texts():
    segments = np.asarray(packed(2, 37))
    assert set(segments[0].tolist()) == {0, 1, 2} and segments[1, 9] == 0 and segments[0, 9] == 1
