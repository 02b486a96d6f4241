"""The scale of the scores that attention learns: it starts at 10 and is at most 100. Takes a second."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from xfm.parts.mixer.attention import bounded


def test_the_learned_scale_is_bounded_and_learns_nothing_beyond():
    logarithm = jnp.array([math.log(10), 4.0, 4.7, 9.0])
    values, gradients = jax.value_and_grad(lambda a: bounded(a).sum())(logarithm)
    np.testing.assert_allclose(values, 10 + math.exp(4.0) + 200, rtol=1e-6)
    np.testing.assert_allclose(gradients, [10, math.exp(4.0), 0, 0], rtol=1e-6)
