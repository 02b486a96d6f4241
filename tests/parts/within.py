"""What the formulas of formulas.py share: parts inside parts, padding, and activations."""

import dataclasses

import numpy as np
from scipy.special import erf

from xfm.parts import SLOTS
from xfm.spec import build


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """The test that compares a part with its formula, as tests/parts/test_mixers.py::test_name."""

    test: str


def value(slot, spec, p, *inputs):
    """What the part of that spec makes of its inputs by its formula."""
    from tests.parts.formulas import FORMULAS  # whose formulas of parts with parts inside call this function

    return FORMULAS[slot][spec["kind"]](build(SLOTS[slot], spec, parent=None), p, *inputs)


def within(slot, spec, p, name, *inputs):
    """`value` of a part inside another, whose parameters stand under that name."""
    return value(slot, spec, p.get(name, {}), *inputs)


def normed(s, p, x, name="norm"):
    """x after the part's own norm, or x where it has none."""
    spec = getattr(s, name)
    return x if spec is None else within("norm", spec, p, name, x)


def clean(x, ctx):
    return x if ctx.segments is None else np.where((ctx.segments > 0)[..., None], x, 0.0)


def real(x, ctx):
    return np.ones(x.shape[:2], bool) if ctx.segments is None else ctx.segments > 0


ACTIVATIONS = {
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "identity": lambda x: x,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_squared": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
