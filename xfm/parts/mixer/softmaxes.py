"""How attention turns scores into weights: the kernel computes them, and these modules own what is learned."""

import math
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.errors import nearest
from xfm.fields import Number, Positive
from xfm.kernels.attention import Sigmoid, Softmax
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze, lookup

SUM = freeze(dict(kind="softmax"))
LEARNED = "learned"
Learned = Literal["learned"]


class OfSum(nn.Module):
    """Weights that sum to 1, or with a sink to less.

    temperature: divides the scores, a number, or "learned" per head, starting at 1.  cap: bound of the scores (Gemma
    2).
    sink: score of a key without a value, a number (0.0 is softmax off by one), or "learned" per head, starting at 0.
    clip: (gamma, zeta), to which weights are stretched before they are cut to [0, 1] (Bondarenko et al. 2023, section
    4.1).
    """

    temperature: Positive | Learned | None = None
    cap: Positive | None = None
    sink: Number | Learned | None = None
    clip: tuple[Number, Number] | None = None

    @nn.compact
    def described(self, heads: int, keys: int | None) -> Softmax:
        """The description for the kernel, for N heads and any number of keys."""
        temperature, sink = _number(self, "temperature", heads, 1.0), _number(self, "sink", heads, 0.0)
        return Softmax(temperature, self.cap, sink, self.clip)


class OfEach(nn.Module):
    """A sigmoid of each score by itself. Ramapuram et al. 2024.

    temperature, cap: as in `OfSum`.  shift: added to the scores, a number, "learned" per head, starting at 0, or
    "length" for the paper's -log S, where S is the number of keys in a row, which is unknown in a stream.
    """

    temperature: Positive | Learned | None = None
    cap: Positive | None = None
    shift: Number | Literal["learned", "length"] = 0.0

    @nn.compact
    def described(self, heads: int, keys: int | None) -> Sigmoid:
        """The description for the kernel, for N heads and this number of keys in a row, None in a stream."""
        temperature = _number(self, "temperature", heads, 1.0)
        if self.shift == "length" and keys is None:
            raise SpecError("attention: a sigmoid's shift of 'length' needs whole rows; give a number for streams")
        shift = -math.log(keys) if self.shift == "length" else _number(self, "shift", heads, 0.0)
        return Sigmoid(temperature, self.cap, shift)


SOFTMAXES = {
    "softmax": OfSum,
    "sigmoid": OfEach,
}


def softmax_of(spec: Spec, heads: int, keys: int | None) -> Softmax | Sigmoid:
    """The kernel's description, within a module that owns what is learned; keys: in a row, None in a stream."""
    kind = spec.get("kind")
    if lookup(SOFTMAXES, kind) is None:
        raise SpecError(
            f"attention: softmax has no kind {kind!r}{nearest(kind, SOFTMAXES)}; it has {', '.join(SOFTMAXES)}"
        )
    return build(SOFTMAXES, spec, name="softmax").described(heads, keys)


def _number(module: nn.Module, name: str, heads: int, first: float) -> float | Float[Array, "N"] | None:
    value = getattr(module, name)
    if value == LEARNED:
        return param(module, name, nn.initializers.constant(first), (heads,)).astype(jnp.float32)
    return value
