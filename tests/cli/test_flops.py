"""Counting the products of traced functions, against formulas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.kernels.attention import Mask, Pattern, attention
from xfm.kernels.counting import included, stated
from xfm.plan.flops import total, walk

M, K, N = 5, 7, 11
ONE = 2 * M * K * N
A, B = jnp.ones((M, K)), jnp.ones((K, N))
SQUARE = jnp.ones((K, K))


def count(function, *arguments):
    return total(jax.make_jaxpr(function)(*arguments).jaxpr)


@jax.custom_vjp
def custom(a, b):
    return a @ b


custom.defvjp(lambda a, b: (a @ b, (a, b)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))


@jax.custom_jvp
def custom_forward(a, b):
    return a @ b


custom_forward.defjvp(lambda given, moved: (given[0] @ given[1], moved[0] @ given[1]))


def scanned(a, b):
    return jax.lax.scan(lambda x, _: (x @ b, None), a, length=13)[0]


def counted_loop(a, b):
    return jax.lax.while_loop(lambda s: s[0] < 13, lambda s: (s[0] + 1, s[1] @ b), (0, a))[1]


def loop_that_starts_late(a, b):
    return jax.lax.while_loop(lambda s: s[0] < 13, lambda s: (s[0] + 1, s[1] @ b), (10, a))[1]


def loop_of_unknown_length(a, b):
    return jax.lax.while_loop(lambda s: s.sum() < 9, lambda s: s @ b, a)


def either(a, b):
    costly, cheap = (lambda a: a @ b @ b @ b), (lambda a: a @ b)
    return jax.lax.cond(a.sum() > 0, cheap, costly, a)


@pytest.mark.parametrize(
    "function, times",
    [
        (jnp.matmul, 1),
        (jax.jit(jnp.matmul), 1),
        (jax.checkpoint(jnp.matmul), 1),
        (custom, 1),
        (custom_forward, 1),
        (lambda a, b: jnp.einsum("mk,kn->nm", a, b), 1),
        (jax.vmap(jnp.matmul, (None, 2), 0), 3),
        (lambda a, b: jax.lax.map(lambda x: x @ b, jnp.stack([a] * 6)), 6),
        (lambda a, b: (a @ b, (a * 2) @ b)[1], 1),  # the first product is not used
        (lambda a, b: a.sum() * b.sum(), 0),
        (scanned, 13),
        (jax.jit(jax.checkpoint(scanned)), 13),
        (partial(jax.lax.fori_loop, 0, 4, lambda i, x: x @ SQUARE), None),
        (counted_loop, 13),
        (loop_that_starts_late, 3),
        (loop_of_unknown_length, 1),
        (either, 3),
    ],
)
def test_products(function, times):
    if times is None:
        assert count(function, A) == 4 * 2 * M * K * K
    elif function in (scanned, counted_loop, loop_that_starts_late, loop_of_unknown_length, either):
        assert count(function, A, SQUARE) == times * 2 * M * K * K
    elif times == 13:
        assert count(function, A, SQUARE) == times * 2 * M * K * K
    else:
        b = jnp.ones((K, N, 3)) if times == 3 else B
        assert count(function, A, b) == times * ONE


def test_gradients_cost_two_more_products():
    assert count(jax.grad(lambda a, b: (a @ b).sum(), (0, 1)), A, B) == 2 * ONE  # forward unused
    assert count(jax.grad(lambda a, b: ((a @ b) ** 2).sum(), (0, 1)), A, B) == 3 * ONE


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(groups):
    x, kernel = jnp.ones((2, 9, 4)), jnp.ones((3, 4 // groups, 6))
    layout = ("NHC", "HIO", "NHC")
    conv = partial(
        jax.lax.conv_general_dilated,
        window_strides=(2,),
        padding="VALID",
        dimension_numbers=layout,
        feature_group_count=groups,
    )
    assert count(conv, x, kernel) == 2 * (2 * 4 * 6) * 3 * (4 // groups)


def test_names_and_how_often_they_run():
    def function(a, b):
        with jax.named_scope("outer"):

            def body(x, _):
                with jax.named_scope("inner"):
                    return x @ b, None

            return jax.lax.scan(body, a, length=4)[0]

    (work,) = (w for w in walk(jax.make_jaxpr(function)(A, SQUARE).jaxpr) if w.flops)
    assert work.times == 4 and [times for _, times in work.scopes] == [1, 4]
    assert "outer" in work.scopes[0][0] and "inner" in work.scopes[1][0]


T, HEADS, H = 600, 3, 8
ROW = jax.ShapeDtypeStruct((1, T, HEADS, H), jnp.float32)
SCORES = 4 * T * HEADS * H  # of all queries, for each key
BLOCKS = np.array([[[1, 1, 0], [0, 1, 0], [0, 0, 1]]], bool)  # of 256 tokens, the last of 88

SIGHTS = {
    "all": (Mask.full(), T),
    "causal": (Mask.causal(), T),
    "a window": (Mask.window(40, 24), 65),
    "a window in causal order": (Mask.causal() & Mask.window(40, 24), 41),
    "a window of one side": (Mask.window(40, None), T),
    "a window wider than the row": (Mask.window(4000, 4000), T),
    "a window that some tokens lift": (Mask.window(40, 24, everyone=jnp.zeros((1, T), bool)), 65),
    "a pattern": (Mask(pattern=Pattern(256, jnp.asarray(BLOCKS))), (256 * 512 + 256 * 256 + 88 * 88) / T),
}


@pytest.mark.parametrize("implementation", [None, "naive"])
@pytest.mark.parametrize("mask,keys", SIGHTS.values(), ids=SIGHTS)
def test_attention_counts_the_keys_of_its_mask(mask, keys, implementation):
    def attend(q, k, v):
        return attention(q, k, v, mask=mask, implementation=implementation)

    assert count(attend, ROW, ROW, ROW) == round(SCORES * keys)


def test_statements_hold_under_transformations():
    near = partial(attention, mask=Mask.window(40, 24))
    several = jax.ShapeDtypeStruct((5, *ROW.shape), ROW.dtype)
    assert count(jax.vmap(near), several, several, several) == 5 * SCORES * 65
    assert count(lambda q: near(q, q, q) + near(q, q, 2 * q), ROW) == 2 * SCORES * 65  # side by side
    assert count(lambda q: jax.lax.scan(lambda x, _: (near(x, q, q), None), q, length=7)[0], ROW) == 7 * SCORES * 65
    assert count(jax.jit(jax.checkpoint(near)), ROW, ROW, ROW) == SCORES * 65


def test_what_autodiff_derives_is_counted_product_by_product():
    small = jax.ShapeDtypeStruct((1, 20, HEADS, H), jnp.float32)
    forward = 4 * 20 * 20 * HEADS * H
    everything = jax.grad(lambda q, k, v: (attention(q, k, v) ** 2).sum(), (0, 1, 2))
    assert count(everything, small, small, small) == 3 * forward


def test_an_outer_statement_replaces_what_it_includes():
    def function(a, b):
        with included():
            y = stated(a @ b, 1000)
        return stated(y, 3) @ b.T

    assert count(function, A, B) == 3 * M * N + ONE
    assert "xfm_operations" not in jax.jit(function).lower(A, B).as_text()
