"""Files of the Hub's classes that end in "Backbone", whose outputs are the features of some stages.

The oracle is transformers' `backbone_utils`: config.json names the stages as `out_features` or by their number as
`out_indices`, and the last one is meant where it does neither.
"""

from collections.abc import Callable, Mapping
from typing import Any

from xfm.errors import XfmError
from xfm.fields import shown
from xfm.hub.naming import Names
from xfm.hub.settings import Settings

KEYS = ("out_features", "out_indices", "stage_names")
OF_STACKS = ("apply_layernorm", "reshape_hidden_states")  # further keys, of vision transformers without stages
NORM = "hidden_states_norms.stage"  # the names of the norms of features
BESIDE = r"hidden_states_norms\..*"


def is_backbone(c: Settings | Mapping[str, Any]) -> bool:
    """Whether the files are of the class whose outputs are the features of some stages."""
    return any(str(name).endswith("Backbone") for name in c.get("architectures") or ())


def chosen(c: Settings, last: int, stem: str | None = "stem") -> tuple[int, ...]:
    """The numbers of the stages whose features a backbone returns, from 1 on, in the order of the stages.

    last: the number of stages.  stem: the name of what is before the first stage, None where it has no number there.
    Raises XfmError for other stages, and for the stem, which is no stage.
    """
    known = {f"stage{i}": i for i in range(1, last + 1)}
    names, numbers = c.get("out_features"), c.get("out_indices")
    for key in KEYS:
        c.get(key)
    if names is None and numbers is not None:
        names = named(c, numbers, [*([stem] if stem else []), *known])
    names = [f"stage{last}"] if names is None else names
    if not isinstance(names, list | tuple) or not names or not set(names) <= set(known):
        raise XfmError(f"{c.path} sets out_features to {shown(names)}; it must list some of {', '.join(known)}")
    return tuple(i for name, i in known.items() if name in names)


def named(c: Settings, numbers: Any, every: list[str]) -> list[str]:
    """The names of `every` that have these numbers, negative ones from the end. Raises XfmError for other numbers."""
    whole = isinstance(numbers, list | tuple) and all(type(one) is int for one in numbers)
    if not whole or not all(-len(every) <= one < len(every) for one in numbers):
        raise XfmError(f"{c.path} sets out_indices to {shown(numbers)}; it must list numbers below {len(every)}")
    return [every[one] for one in numbers]


def stages_out(c: Settings, last: int, stem: str | None = "stem") -> tuple[str, ...]:
    """`chosen` by the names of a pyramid's stages."""
    return tuple(f"stage_{i - 1}" for i in chosen(c, last, stem))


def norm_names(stages: tuple[str, ...]) -> Names:
    """The rows of the norms of these features."""
    return {f"{ours}_norm": f"{NORM}{int(ours[6:]) + 1}" for ours in stages}


def features_out(spec: Mapping[str, Any]) -> list[str]:
    """The Hub's names of the stages whose features are a pyramid's outputs."""
    names = [f"stage_{i}" for i in range(len(spec["stages"]))] if spec["features"] is None else spec["features"]
    return [f"stage{int(name[6:]) + 1}" for name in names]


def class_of(name: str, is_one: Callable[[Mapping[str, Any]], Any]) -> dict[str, Callable]:
    """The rows of config.json of a pyramid that is written as the backbone `name` if it has no head and `is_one`."""

    def holds(spec: Mapping[str, Any]) -> bool:
        return bool(not spec["heads"] and is_one(spec))

    return {
        "architectures": lambda spec: [name] if holds(spec) else None,
        "out_features": lambda spec: features_out(spec) if holds(spec) else None,
    }


def tapped(c: Settings, layers: int) -> dict[str, Any]:
    """What a backbone's stack has beside the encoder's: the normed maps of the chosen layers, each of which is a stage.

    layers: their number.  Raises XfmError for features without the norm, or as rows of tokens.
    """
    if not is_backbone(c):
        return {}
    for key in OF_STACKS:
        c.only(key, True)
    c.only("return_class_token", False, None)
    return dict(taps=list(chosen(c, layers)), tapped="normed_map")


def class_of_stack(name: str) -> dict[str, Callable]:
    """The rows of config.json of a stack that is written as the backbone `name` if it has no head but normed maps."""

    def holds(spec: Mapping[str, Any]) -> bool:
        return bool(not spec["heads"] and spec["taps"] and spec["tapped"] == "normed_map")

    return {
        "architectures": lambda spec: [name] if holds(spec) else None,
        "out_features": lambda spec: [f"stage{i}" for i in spec["taps"]] if holds(spec) else None,
    }
