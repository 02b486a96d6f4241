"""The suite that every implementation of attention passes: values and all gradients against the definition.

Float32 tolerances are relative to the scale of the result: sums of at most a few hundred products of numbers of order
one, each rounded at 6e-8, differ by a few 1e-6 between orders of summation; 1e-5 leaves no room for a wrong term.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

from tests.close import assert_close
from tests.kernels.attention_cases import BIASES, CASES, FORMS, MASKS, Case, expected, met, packed, values_and_gradients
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
    actual = form.honoured(lambda: values_and_gradients(case, form.implementation))
    assert_close(actual, expected(case), rtol=1e-5)


ROUNDED = ("mask: full", "mask: window", "bias: slopes", "softmax: temperature, cap and sink", "windows of Swin")


@pytest.mark.parametrize("name", ROUNDED)
def test_bfloat16(form, name):
    """Against float32 of the same rounded inputs: weights and values are rounded at 2^-9, the gradients twice."""
    case = CASES[name]
    actual = form.honoured(lambda: values_and_gradients(case, form.implementation, jnp.bfloat16))
    assert actual[0][0].dtype == jnp.bfloat16 and all(a.dtype == jnp.float32 for a in actual[0][1:])
    assert_close(actual, expected(case, jnp.bfloat16), rtol=4 * 2**-9)


def of_sum(arrays, weight, implementation, **given):
    """y, and the gradients of sum(y · weight) with respect to q, k and v."""

    def loss(arrays, given):
        y = attention(*arrays, implementation=implementation, **given)
        return (y * weight).sum(), y

    (_, y), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays, given)
    return y, gradients


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
    real = (given["segments"] > 0)[:, :, None, None]
    attend = functools.partial(of_sum, implementation=form.implementation)

    def filled(filling):
        arrays = tuple(jnp.where(real, a, filling) for a in case.arrays())
        return form.honoured(lambda: attend(arrays, jnp.where(real, 1.0, 0.0), **given))

    clean, dirty = filled(0.0), filled(jnp.nan)
    assert_close(dirty, clean, rtol=0)
    assert not jnp.where(real, 0, dirty[0]).any(), "padding gives zeros"


def test_packed_equals_separate(form):
    q, k, v = Case(B=1, T=30).arrays()
    segments = jnp.array([[1] * 11 + [2] * 14 + [0] * 5])

    def attend(arrays, segments):
        run = functools.partial(attention, implementation=form.implementation)
        return form.honoured(lambda: jax.jit(run)(*arrays, segments=segments, bias=Slopes(jnp.ones(4) * 0.1)))

    together = attend((q, k, v), segments)
    for start, end in ((0, 11), (11, 25)):
        assert_close(together[:, start:end], attend([a[:, start:end] for a in (q, k, v)], None))


def test_a_row_of_padding_gives_zeros(form):
    segments = jnp.stack([jnp.ones(20, jnp.int32), jnp.zeros(20, jnp.int32)])
    arrays = Case(T=20).arrays()
    y, gradients = form.honoured(lambda: of_sum(arrays, 1.0, form.implementation, segments=segments))
    assert not y[1].any() and not any(g[1].any() for g in gradients)


def test_twice_gives_the_same_bits(form):
    case = CASES["mixed"]
    assert_close(*(form.honoured(lambda: values_and_gradients(case, form.implementation)) for _ in range(2)), rtol=0)


@pytest.mark.parametrize("window", [None, 4])
def test_offset_is_the_position_of_the_first_query(form, window):
    """The last queries of a row, given their offset, see what they see in the whole row."""
    q, k, v = Case(T=30).arrays()
    mask = Mask.causal() & Mask.window(window, 0) if window else Mask.causal()
    whole = attention(q, k, v, mask=mask, bias=Slopes(jnp.ones(4) / 8), implementation="naive")

    def attend(q, k, v, offset):
        here = mask & Mask(offset=offset)
        return attention(q, k, v, mask=here, bias=Slopes(jnp.ones(4) / 8), implementation=form.implementation)

    part = form.honoured(lambda: jax.jit(attend)(q[:, 22:], k, v, jnp.int32(22)))
    assert_close(part, whole[:, 22:])


def test_every_case_is_met_by_each_implementation():
    for implementation in {form.implementation for form in FORMS.values()}:
        assert {case.values[1] for case in met() if case.values[0].implementation == implementation} == set(CASES)


def test_packed_rows_have_padding_and_two_texts():
    segments = packed(2, 37)
    assert set(segments[0].tolist()) == {0, 1, 2} and segments[1, 9] == 0 and segments[0, 9] == 1
