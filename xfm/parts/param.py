"""A module's parameter, whose initialiser is traced only where it is drawn."""

import flax.linen as nn
import jax
import numpy as np
from flax.errors import ScopeParamShapeError
from jaxtyping import Array, Float

from xfm.initial import in_shapes_only


def param(
    module: nn.Module, name: str, init: jax.nn.initializers.Initializer, shape: tuple[int, ...]
) -> Float[Array, "*shape"]:
    """`module.param(name, init, shape)`, or zeros of that shape in `shapes_only`.

    Of a parameter that exists Linen traces the initialiser to learn its shape, which is half of the time that tracing a
    network takes; here the shape is compared. Raises ScopeParamShapeError, as Linen does, where it differs.
    """
    if not module.has_variable("params", name):
        return module.param(name, nn.initializers.zeros if in_shapes_only() else init, shape)
    value = nn.unbox(module.get_variable("params", name))
    if np.shape(value) != shape:
        raise ScopeParamShapeError(name, module.scope.path_text, np.shape(value), shape)
    return value
