"""How scores become weights, as descriptions: z = cap · tanh(score / temperature / cap), then exp or sigmoid of z."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PerHead = Float[Array, "N"] | float


@functools.partial(jax.tree_util.register_dataclass, data_fields=["temperature", "sink"], meta_fields=["cap", "clip"])
@dataclasses.dataclass(frozen=True)
class Softmax:
    """weights = exp z / (exp sink + sum of exp z over the visible keys); a field that is None is left out.

    temperature: divides the scores.  cap: bounds them, smoothly, to (-cap, cap) (Bello et al. 2017; Gemma 2).
    sink: a score that takes weight and gives no value; 0.0 is softmax off by one (Miller 2023), a learned one per
    head is that of gpt-oss (OpenAI 2025).  clip: (gamma, zeta), the range to which weights are stretched before they
    are clipped to [0, 1], so that they can be exactly 0 and 1 (Bondarenko, Nagel, Blankevoort 2023, section 4.1); not
    together with a sink.
    """

    temperature: PerHead | None = None
    cap: float | None = None
    sink: PerHead | None = None
    clip: tuple[float, float] | None = None


@functools.partial(jax.tree_util.register_dataclass, data_fields=["temperature", "shift"], meta_fields=["cap"])
@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """weights = sigmoid(z + shift), each independent of the others (Ramapuram et al. 2024, who take shift = -log S)."""

    temperature: PerHead | None = None
    cap: float | None = None
    shift: PerHead = 0.0


NAMED = {"softmax": Softmax(), "off_by_one": Softmax(sink=0.0), "sigmoid": Sigmoid()}


def described(softmax: "str | Softmax | Sigmoid", heads: int) -> Softmax | Sigmoid:
    """The description of this name, or the one given; raises ValueError if there is none or it does not fit."""
    if isinstance(softmax, str):
        if softmax not in NAMED:
            raise ValueError(f"attention has no softmax {softmax!r}; it has {', '.join(NAMED)}, Softmax and Sigmoid")
        return NAMED[softmax]
    if not isinstance(softmax, Softmax | Sigmoid):
        raise ValueError(
            f"attention takes softmax as a name ({', '.join(NAMED)}), a Softmax or a Sigmoid, not {softmax!r}"
        )
    per_head = dict(temperature=softmax.temperature)
    per_head |= dict(sink=softmax.sink) if isinstance(softmax, Softmax) else dict(shift=softmax.shift)
    for name, value in per_head.items():
        if value is not None and jnp.shape(value) not in ((), (heads,)):
            raise ValueError(f"softmax {name} is one number or one per head [{heads}], not {jnp.shape(value)}")
    if isinstance(softmax.temperature, int | float) and softmax.temperature <= 0:
        raise ValueError(f"softmax temperature is above 0, not {softmax.temperature}")
    if softmax.cap is not None and softmax.cap <= 0:
        raise ValueError(f"softmax cap is above 0, or None, not {softmax.cap}")
    if isinstance(softmax, Softmax) and softmax.clip is not None:
        gamma, zeta = softmax.clip
        if not gamma <= 0 < 1 <= zeta:
            raise ValueError(f"softmax clip is (gamma, zeta) with gamma <= 0 and zeta >= 1, not {softmax.clip}")
        if softmax.sink is not None:
            raise ValueError("softmax clip stretches weights that sum to 1, which a sink ends: give one of the two")
    return softmax


def capped(scores: Float[Array, "*any"], cap: float | None) -> Float[Array, "*any"]:
    """cap · tanh(scores / cap)."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)


def without_temperature(q, bias, scale, softmax):
    """(q, bias, scale, softmax) that give the same z without a temperature, which divides q or scale, and the bias.

    A single number divides the scale, which is exact; one per head divides q in float32, rounded once to q's dtype.
    Raises ValueError for a bias that has no `times`.
    """
    temperature = softmax.temperature
    if temperature is None:
        return q, bias, scale, softmax
    if bias is not None and not hasattr(bias, "times"):
        raise ValueError(f"a softmax temperature needs a bias with `times`, which {type(bias).__name__} does not have")
    wide = jnp.promote_types(q.dtype, jnp.float32)
    if isinstance(temperature, int | float):
        scale = scale / temperature
    else:
        q = (q.astype(wide) / jnp.asarray(temperature, wide).reshape(-1, 1)).astype(q.dtype)
    if bias is not None:
        bias = bias.times(jnp.broadcast_to(1 / jnp.asarray(temperature, wide), q.shape[2:3]))
    return q, bias, scale, dataclasses.replace(softmax, temperature=None)


def with_sink(
    y: Float[Array, "B T N H"], lse: Float[Array, "B T N"], sink: PerHead
) -> tuple[Float[Array, "B T N H"], Float[Array, "B T N"]]:
    """Values and log-sum-exp with a sink, from those without: the sink scales all weights of a query alike."""
    sink = jnp.asarray(sink, lse.dtype)
    share = jax.nn.sigmoid(lse - sink)
    return (y.astype(lse.dtype) * share[..., None]).astype(y.dtype), jnp.logaddexp(lse, sink)
