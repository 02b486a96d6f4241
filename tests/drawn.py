"""Parameters by NumPy, away from their initial values, so that zeros and ones hide nothing; and modules run compiled.

Only the shapes of an initialisation are traced. Compiling one takes longer than all that a test then does with it.
"""

import functools
import math
import re
import zlib

import jax
import numpy as np

from xfm.initial import shapes_only


def _of_size(rng, shape):
    """As wide as keeps the size of a stream: 1 / sqrt(fan in), all axes but the last one counted."""
    return rng.standard_normal(shape) * np.clip(math.prod(shape[:-1]) ** -0.5, 0.05, 0.3)


def _inverse_softplus(rng, shape):
    step = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape))
    return step + np.log(-np.expm1(-step))


# The last name of a path -> values in the range in which its part is meant to work; the first match counts.
STARTS = (
    (r"scale|d|variance", lambda rng, shape: np.ones(shape)),
    (r"a_log", lambda rng, shape: np.log(rng.uniform(1, 16, shape))),
    (r"dt_bias", _inverse_softplus),
    (r"(.*_)?bias|temperature|shift|sink", lambda rng, shape: np.zeros(shape)),
    (r"kernel|depth|point|query", _of_size),
    (r"", lambda rng, shape: 0.02 * rng.standard_normal(shape)),
)


def shapes(init, *inputs, method=None):
    """What `init(key, *inputs)` would give, as shapes and dtypes; a module stands for its own `init`."""
    if hasattr(init, "init"):
        init = init.init if method is None else functools.partial(init.init, method=method)
    with shapes_only():
        return jax.eval_shape(lambda *given: init(*given), jax.random.key(1), *inputs)


def values(tree, by: float = 0.1, seed: int = 0):
    """Arrays of these shapes: each path has its own draw, `by` away from where such a parameter starts."""

    def value(path, leaf):
        names = [str(getattr(key, "key", key)) for key in path]
        rng = np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])
        start = next(draw for name, draw in STARTS if re.fullmatch(name or ".*", names[-1]))
        return (start(rng, leaf.shape) + by * rng.standard_normal(leaf.shape)).astype(leaf.dtype)

    with jax.ensure_compile_time_eval():  # arrays also inside a trace, since callers keep them
        return jax.device_put(jax.tree_util.tree_map_with_path(value, tree))


def drawn(module, *inputs, by: float = 0.1, method=None):
    """A module's variables for these inputs, by NumPy."""
    return values(shapes(module, *inputs, method=method), by)


def begun(objective, batch, by: float = 0.1):
    """An objective's parameters, by NumPy, and its extra state, which may hold no arrays."""
    params, extra = shapes(objective.init, batch)
    assert not jax.tree.leaves(extra), "an extra state that holds arrays must be initialised"
    return values(params, by), extra


def away(tree):
    """Arrays of these shapes, far from where any parameter starts: no scale is 1, and no bias or gate 0."""
    rng = np.random.default_rng(2)

    def draw(leaf):
        numbers = rng.uniform(0.3, 0.9, leaf.shape) if leaf.ndim < 2 else 0.3 * rng.standard_normal(leaf.shape)
        return np.asarray(numbers, leaf.dtype)

    return jax.tree.map(draw, tree)


def noise(tree, deviation: float = 0.3, seed: int = 2):
    """Arrays of these shapes: normal numbers of mean 0, whatever the parameter."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: (deviation * rng.standard_normal(a.shape, np.float32)).astype(a.dtype), tree)


@functools.partial(jax.jit, static_argnums=0)
def run(module, params, *inputs):
    """What a module makes of its inputs. Compiled as a whole: one by one, its operations take far longer to compile."""
    return module.apply(params, *inputs)


def loss_of(objective, params, extra, batch, key, train=True):
    """What an objective's loss gives, compiled once for each objective."""
    compiled = vars(objective).setdefault("compiled loss", jax.jit(objective.loss, static_argnames="train"))
    return compiled(params, extra, batch, key, train=train)
