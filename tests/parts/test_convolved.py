"""Convolutions whose tiles lie side by side are products, and equal XLA's convolution in value and gradients."""

import jax
import jax.numpy as jnp
import pytest

from tests.close import assert_close
from xfm.parts.conv import convolved


def by_xla(x, kernel, stride, margin):
    around = [(m, m) for m in margin]
    return jax.lax.conv_general_dilated(x, kernel, stride, around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(
    "size,stride,margin,product",
    [
        ((2, 3), (2, 3), (0, 0), True),  # of 5 x 7, the last row and the last column are in no tile
        ((1, 1), (2, 3), (0, 0), True),
        ((1, 1), (1, 1), (0, 0), True),
        ((2, 3), (2, 3), (1, 0), False),
        ((1, 1), (2, 2), (0, 1), False),
        ((3, 3), (2, 3), (0, 0), False),
        ((3, 3), (1, 1), (1, 1), False),
    ],
)
def test_side_by_side_or_not(size, stride, margin, product):
    keys = jax.random.split(jax.random.key(0), 2)
    x, kernel = jax.random.normal(keys[0], (2, 5, 7, 3)), jax.random.normal(keys[1], (*size, 3, 4))

    def seen(form):
        y, back = jax.vjp(lambda *args: form(*args, stride, margin), x, kernel)
        return y, back(jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    assert_close(seen(convolved), seen(by_xla), rtol=1e-6)
    assert ("conv_general" not in str(jax.make_jaxpr(lambda x: convolved(x, kernel, stride, margin))(x))) == product
