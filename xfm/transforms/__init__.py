"""Transforms change a network from outside: its spec and parameters, its weights, or what its modules compute."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from xfm.fields import fault, shown
from xfm.outside import in_path
from xfm.spec import Spec, SpecError, plain
from xfm.spec import build as build_from
from xfm.structures import build
from xfm.transforms.adapter_bias import AdapterBias
from xfm.transforms.base import Params, Transform, merges
from xfm.transforms.lora import LoRA
from xfm.transforms.tract import TrAct
from xfm.transforms.transformed import Transformed

TRANSFORMS = {
    "lora": LoRA,
    "adapter_bias": AdapterBias,
    "tract": TrAct,
}


def transforms_of(specs: Sequence[Spec]) -> tuple[tuple[str, Transform], ...]:
    """(name, transform) of each spec, in order; the name is the kind, `lora_1` for the second one of kind `lora`."""
    specs = plain(specs)
    if wanted := fault(specs, Sequence[Mapping[str, Any]]):
        raise SpecError(f"config.transforms is {shown(specs)}; it must be {wanted}")
    count: collections.Counter = collections.Counter()
    made = []
    for spec in specs:
        name = in_path(spec.get("kind"))
        made.append((f"{name}_{count[name]}" if count[name] else name, build_from(TRANSFORMS, spec)))
        count[name] += 1
    return tuple(made)


def network(config: Mapping[str, Any]) -> nn.Module | Transformed:
    """The network `config.model`, after the surgery of `config.transforms` and with them around it."""
    specs = config.get("transforms") or ()
    spec, _ = operated(config.get("model"), None, specs)
    return transformed(build(spec), specs)


def transformed(network: nn.Module, specs: Sequence[Spec]) -> nn.Module | Transformed:
    """The network with the transforms that the specs describe; the network itself where there are none."""
    transforms = transforms_of(specs)
    return Transformed(network, transforms) if transforms else network


def lasting(specs: Sequence[Spec]) -> str | None:
    """The name of the first transform that cannot be merged into the weights; None where all can."""
    return next((name for name, transform in transforms_of(specs) if not merges(transform)), None)


def merged(config: Mapping[str, Any], params: Params) -> tuple[Mapping[str, Any], Params]:
    """The spec and the parameters of a plain network that computes what the config's network does with these.

    Raises XfmError for a transform that cannot be merged into the weights.
    """
    one = network(config)
    spec, _ = operated(config["model"], None, config.get("transforms") or ())
    return spec, one.merged(params) if isinstance(one, Transformed) else params


def operated(
    spec: Mapping[str, Any], params: Params | None, specs: Sequence[Spec]
) -> tuple[Mapping[str, Any], Params | None]:
    """A network's spec and parameters (None: only the spec) after the surgery of each transform, in order."""
    for _, transform in transforms_of(specs):
        spec, params = transform.surgery(spec, params)
    return spec, params
