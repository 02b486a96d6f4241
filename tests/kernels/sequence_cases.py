"""The operations of the suite for recurrences over a row: what each is called with, and by which implementations.

A new operation gets an entry of CASES for each kind of its arguments. All of them return y and the last state, and take
arguments by name: arrays [B T ...] of at least three axes hold a value for each token, and `state` the state before
the first one.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from xfm.kernels.gla import IMPLEMENTATIONS as OF_GLA
from xfm.kernels.gla import gla
from xfm.kernels.gla import step as step_of_gla
from xfm.kernels.ssd import IMPLEMENTATIONS as OF_SSD
from xfm.kernels.ssd import ssd
from xfm.kernels.ssd import step as step_of_ssd

SLOW = -0.05  # a log-decay with which a state outlives the tests' texts, so that it would be seen to leak


@dataclasses.dataclass(frozen=True)
class Case:
    """run, step: the operation on a row and on a single token.  implementations: its names for those of `run`.

    draw(rng, B, T, N, H, M, log_decay): the arguments by name, `state` included. With log_decay None decays are random,
    from almost none to a factor e^-2 a token; a number is the log-decay of every token (where there is a decay at all).
    half: the arguments that are bfloat16 in a bfloat16 network.  gates: those from which decays are made.
    roundings: how many a term of a gradient meets in bfloat16, such as those of a weight, the state and the result.
    """

    run: Callable
    step: Callable
    implementations: Iterable[str]
    draw: Callable
    half: tuple[str, ...]
    gates: tuple[str, ...] = ()
    roundings: int = 4

    def arrays(self, B=4, T=37, N=2, H=8, M=16, log_decay=None, seed=0):
        """float32 arguments by name."""
        drawn = self.draw(np.random.default_rng(seed), B, T, N, H, M, log_decay)
        return {name: np.asarray(v, np.float32) for name, v in drawn.items()}


def draw_ssd(rng, B, T, N, H, M, log_decay, groups=1):
    return {
        "x": rng.normal(size=(B, T, N, H)),
        "dt": rng.uniform(0.01, 1.0, (B, T, N)) if log_decay is None else np.ones((B, T, N)),
        "a": -np.geomspace(0.01, 2.0, N) if log_decay is None else np.full(N, max(log_decay, -1e4)),
        "b": rng.normal(size=(B, T, groups, M)) / np.sqrt(M),
        "c": rng.normal(size=(B, T, groups, M)),
        "d": rng.normal(size=N),
        "state": rng.normal(size=(B, N, H, M)),
    }


def of_ssd(**how):
    draw = functools.partial(draw_ssd, **how)
    return Case(ssd, step_of_ssd, OF_SSD, draw, half=("x", "b", "c"), gates=("dt", "a"))


def draw_gla(rng, B, T, N, H, M, log_decay, decays="", groups=None):
    shape = {"": None, "N": (N,), "BTN": (B, T, N), "BTNM": (B, T, N, M)}[decays]
    arrays = {
        "q": rng.normal(size=(B, T, groups or N, M)),
        "k": rng.normal(size=(B, T, groups or N, M)) / np.sqrt(M),
        "v": rng.normal(size=(B, T, N, H)),
        "state": rng.normal(size=(B, N, H, M)),
    }
    if shape:
        fast = -np.exp(rng.uniform(np.log(1e-3), np.log(2), shape))
        arrays["log_decay"] = fast if log_decay is None else np.full(shape, log_decay)
    return arrays


def of_gla(**how):
    draw = functools.partial(draw_gla, **how)
    rounded = 5 if how.get("decays") == "BTNM" else 4  # keys are rounded once more, with the decays of their channels
    gates = ("log_decay",) * ("decays" in how)
    return Case(gla, step_of_gla, OF_GLA, draw, half=("q", "k", "v"), gates=gates, roundings=rounded)


CASES = {
    "ssd": of_ssd(),
    "ssd in groups": of_ssd(groups=2),
    "gla without decay": of_gla(),
    "gla with constants": of_gla(decays="N"),
    "gla by head": of_gla(decays="BTN", groups=1),
    "gla by channel": of_gla(decays="BTNM"),
}


@contextlib.contextmanager
def float64():
    """Both names that JAX has had for the same thing."""
    if hasattr(jax, "enable_x64"):
        with jax.enable_x64(True):
            yield
    else:
        from jax.experimental import enable_x64

        with enable_x64():
            yield


def compiled(operation):
    """The operation, compiled, on arguments by name; y and the last state are arrays of NumPy."""
    run = jax.jit(operation, static_argnames=("implementation", "chunk"))
    return lambda **given: jax.tree.map(np.asarray, run(**given))


def of_tokens(arrays):
    """The names of the arrays that hold a value for each token."""
    return [name for name, v in arrays.items() if name != "state" and v.ndim > 2]


def texts(T, borders, padding=()):
    """Segments [T]: texts that begin at 0 and at each border, with arbitrary ids; padding at the given positions."""
    ids = np.array([3, 1, 2, 9, 4, 7])[np.searchsorted(borders, np.arange(T), side="right")]
    ids[list(padding)] = 0
    return ids.astype(np.int32)


def poisoned(arrays, segments):
    """The arrays with NaN, and infinity in every second one, wherever segments is 0."""
    spoiled = dict(arrays)
    for i, name in enumerate(of_tokens(arrays)):
        spoiled[name] = np.array(arrays[name])
        spoiled[name][segments == 0] = np.inf if i % 2 else np.nan
    return spoiled


@functools.cache
def program(case: str, implementation: str, chunk: int):
    """A compiled function from arrays, segments and weights to y, the last state and all gradients, by name.

    The gradients are those of the sum of y and the last state, each times its weights.
    """
    run = CASES[case].run

    @jax.jit
    def results(arrays, segments, weights):
        def loss(arrays):
            y, last = run(**arrays, segments=segments, implementation=implementation, chunk=chunk)
            values = {"y": y, "last": last}
            return sum((v.astype(last.dtype) * weights[name]).sum() for name, v in values.items()), values

        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(arrays)
        return values | {f"d {name}": v for name, v in gradients.items()}

    return results


def results(case, implementation, arrays, segments=None, *, chunk=16, weights=None):
    """What `program` returns, as arrays of NumPy; and weights are random if None."""
    weights = weighing(arrays) if weights is None else weights
    return jax.tree.map(np.asarray, program(case, implementation, chunk)(arrays, segments, weights))


def weighing(arrays, y=True, last=True):
    """Random weights for y [B T N H] and for the last state [B N H M]; zeros for those that are not wanted.

    y may be an array of booleans [B T]: the tokens whose y is wanted.
    """
    B, N, H, M = arrays["state"].shape
    T = arrays[of_tokens(arrays)[0]].shape[1]
    rng = np.random.default_rng(9)
    wanted = np.broadcast_to(np.asarray(y), (B, T))[..., None, None]
    return {
        "y": np.where(wanted, rng.normal(size=(B, T, N, H)), 0).astype(np.float32),
        "last": (rng.normal(size=(B, N, H, M)) * last).astype(np.float32),
    }


def exact(case, arrays, segments=None, *, weights=None):
    """`results` of the definition in float64, for the same numbers."""
    weights = weighing(arrays) if weights is None else weights
    with float64():
        wide = {name: jnp.asarray(v, jnp.float64) for name, v in arrays.items()}
        return results(case, "naive", wide, segments, weights=weights)
