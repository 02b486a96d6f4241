"""A parameter is drawn once; where it exists, its initialiser is not traced, and its shape is checked."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamNotFoundError, ScopeParamShapeError

from xfm.initial import shapes_only
from xfm.parts.param import param

DRAWN = []


class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x):
        def init(key, shape):
            DRAWN.append(shape)
            return jnp.full(shape, 2.0)

        return x * param(self, "scale", init, x.shape)


def test_an_initialiser_runs_where_there_is_no_parameter_yet(key):
    DRAWN.clear()
    y, variables = Scaled().init_with_output(key, np.ones(3))
    assert (y == 2).all() and (variables["params"]["scale"] == 2).all() and DRAWN == [(3,)]
    assert (Scaled().apply({"params": {"scale": np.arange(3.0)}}, np.ones(3)) == np.arange(3)).all()
    assert DRAWN == [(3,)]


def test_where_only_shapes_are_wanted_no_initialiser_runs(key):
    DRAWN.clear()
    with pytest.raises(ZeroDivisionError), shapes_only():
        assert (Scaled().init(key, np.ones(3))["params"]["scale"] == np.zeros(3)).all() and DRAWN == []
        assert (Scaled().apply({"params": {"scale": np.arange(3.0)}}, np.ones(3)) == np.arange(3)).all()
        raise ZeroDivisionError
    assert (Scaled().init(key, np.ones(3))["params"]["scale"] == 2).all() and DRAWN == [(3,)]


def test_boxed_parameters_are_unboxed():
    box = nn.Partitioned(jnp.arange(3.0), names=("d",))
    assert (Scaled().apply({"params": {"scale": box}}, np.ones(3)) == np.arange(3)).all()


def test_a_parameter_of_another_shape_or_none_is_refused():
    with pytest.raises(ScopeParamShapeError, match=r'"scale" in "/", .* shape \(3,\), but .* shape \(4,\)'):
        Scaled().apply({"params": {"scale": np.ones(4)}}, np.ones(3))
    with pytest.raises(ScopeParamNotFoundError, match='"scale"'):
        Scaled().apply({"params": {"other": np.ones(3)}}, np.ones(3))
