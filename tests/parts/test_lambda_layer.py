"""The lambda layer: its two forms agree, and it says what does not fit. Its oracle is in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import shapes
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.parts.mixer.lambda_layer import global_lambdas, position_lambdas
from xfm.spec import SpecError, build


@pytest.mark.parametrize("size", [(5, 7), (9, 7)])
def test_a_convolution_over_all_offsets_is_one_product_with_their_embeddings(size):
    """Of a grid of 3 x 4, in values and in the gradient of the table; more rows than there are change nothing."""
    rng = np.random.default_rng(0)
    v, table = (rng.standard_normal(shape, np.float32) for shape in ((2, 3, 4, 5, 2), (*size, 2, 6)))

    def both(table):
        return [(jnp.sin(y).sum(), y) for y in (position_lambdas(v, table), global_lambdas(v, table))]

    (_, local), (_, everywhere) = jax.jit(both)(table)
    assert_close(local, everywhere)
    slopes = jax.jit(lambda table: [jax.grad(lambda t, i=i: both(t)[i][0])(table) for i in range(2)])(table)
    assert_close(*slopes)


@pytest.mark.parametrize(
    "spec,said",
    [
        (dict(heads=3), "a width of 16 does not divide among 3 heads; set heads"),
        (dict(size=(3, 4)), "size is 3 x 4; choose odd numbers of rows and columns"),
    ],
)
def test_what_does_not_fit_is_refused(spec, said):
    with pytest.raises(SpecError, match=said):
        shapes(build(SLOTS["mixer"], dict(kind="lambda_layer", **spec)), jnp.zeros((2, 13, 16)), Context())
