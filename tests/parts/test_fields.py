"""Every number that a config may set declares its legal range beside the field, and what lies outside is refused."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest

from xfm.augment import OPERATIONS, Augment
from xfm.data import SOURCES
from xfm.data.layout import LAYOUTS
from xfm.data.pixels import AUGMENTS
from xfm.errors import XfmError
from xfm.evaluators import EVALUATORS
from xfm.fields import (
    Count,
    Fraction,
    Integer,
    Name,
    NotEmpty,
    Number,
    Positive,
    Range,
    Rate,
    Seed,
    Share,
    fault,
    fits,
    in_words,
    shown,
)
from xfm.objectives import OBJECTIVES
from xfm.objectives.contrast import LOSSES
from xfm.objectives.corruption import UNITS
from xfm.parts import SLOTS
from xfm.parts.mixer.softmaxes import SOFTMAXES
from xfm.spec import SpecError, build, function_of
from xfm.structures import STRUCTURES
from xfm.tokenizers import TOKENIZERS
from xfm.train.optimiser import OPTIMISERS
from xfm.train.schedules import SCHEDULES
from xfm.train.settings import TrainSettings, read_settings
from xfm.train.start import Start
from xfm.transforms import TRANSFORMS

TABLES = {
    **SLOTS, "structure": STRUCTURES, "softmax": SOFTMAXES, "objective": OBJECTIVES, "data": SOURCES,
    "evaluator": EVALUATORS, "operation": OPERATIONS, "augmentation": {"augment": Augment},
    "augment": AUGMENTS, "tokenizer": TOKENIZERS, "layout": LAYOUTS, "optimiser": OPTIMISERS, "schedule": SCHEDULES,
    "transform": TRANSFORMS, "start": {"start": Start}, "settings": {"settings": TrainSettings},
}  # fmt: skip
# What an objective gets from whoever builds it; not set by a config.
GIVEN = ("parent", "name", "model", "vocabulary", "initial")
CLASSES = [
    pytest.param(cls, kind, id=f"{slot}-{kind}") for slot, table in TABLES.items() for kind, cls in table.items()
]


def fields(cls: type) -> list[dataclasses.Field]:
    """Those that a config may set."""
    return [field for field in dataclasses.fields(cls) if field.init and field.name not in GIVEN]


def leaves(hint: Any, ranged: tuple = ()) -> list[tuple[Any, tuple]]:
    """The plain types within a type, each with what is declared about it."""
    if typing.get_origin(hint) is Annotated:
        return leaves(hint.__origin__, hint.__metadata__)
    if typing.get_origin(hint) is Literal:
        return []
    args = [one for one in typing.get_args(hint) if one is not Ellipsis]
    return [leaf for one in args for leaf in leaves(one)] if args else [(hint, ranged)]


def outside(hint: Any) -> list:
    """Values that a field of that type must not hold: to either side of each of its ranges, and of other types."""
    found = [object(), *([math.nan, math.inf, True] if any(kind in (int, float) for kind, _ in leaves(hint)) else [])]
    for kind, declared in leaves(hint):
        for one in declared:
            if isinstance(one, Range):
                step = 1 if kind is int else 1e-3
                low = one.low if one.ends[0] == "(" else one.low - abs(one.low) / 10 - step
                found += [low, one.high if one.ends[1] == ")" else one.high * 1.1 + step, 10**400, -(10**400)]
            if isinstance(one, NotEmpty):
                found += [""]
    kinds = {kind for kind, _ in leaves(hint)}
    found += [] if str in kinds else ["a few"]
    found += [] if kinds & {int, float} else [0.5]
    return [] if Any in kinds and not isinstance(typing.get_origin(hint), type) else found


@pytest.mark.parametrize("cls, kind", CLASSES)
def test_every_number_declares_its_range_and_defaults_lie_within(cls, kind):
    for field in fields(cls):
        bare = [leaf for leaf, declared in leaves(field.type) if leaf in (int, float) and not declared]
        assert not bare, f"'{kind}': {field.name} is a bare {bare[0].__name__}; declare its range, see xfm/fields.py"
        assert field.default is dataclasses.MISSING or fits(field.default, field.type)


@pytest.mark.parametrize("cls, kind", CLASSES)
def test_what_lies_outside_is_refused_with_slot_field_value_and_range(cls, kind):
    for field in fields(cls):
        for value in outside(field.type):
            missing = [f.name for f in dataclasses.fields(cls) if f.init and f.default is dataclasses.MISSING]
            others = {name: None for name in missing if name != field.name}
            with pytest.raises(SpecError) as raised:
                build({kind: cls}, {field.name: value, "kind": kind}, **others)
            words = str(raised.value)
            assert f" '{kind}': {field.name} is {shown(value)}; it must be {in_words(field.type)}" in words
            assert len(words) < 400


@pytest.mark.parametrize("table, what", [(UNITS, "unit"), (LOSSES, "loss")])
def test_functions_in_tables_declare_theirs(table, what):
    import inspect

    for kind, function in table.items():
        for one in inspect.signature(function).parameters.values():
            if one.default is one.empty or one.default is None:
                continue
            assert not [leaf for leaf, declared in leaves(one.annotation) if leaf in (int, float, str) and not declared]
            for value in (math.nan, -1, True, [[]]):
                with pytest.raises(SpecError, match=f"{kind}.*: {one.name} is .*; it must be"):
                    function_of(table, {"kind": kind, one.name: value}, what)
        with pytest.raises(SpecError, match="has no 'strange'"):
            function_of(table, {"kind": kind, "strange": 1}, what)
    with pytest.raises(SpecError, match=f"no {what} 'strange'"):
        function_of(table, {"kind": "strange"}, what)


@pytest.mark.parametrize(
    "hint, good, bad",
    [
        (Rate, (0, 0.0, 0.999), (1, 1.0, -1e-9, 10, math.nan, True, "0.1", None)),
        (Share, (0, 1, 0.5), (1.0001, -0.1)),
        (Fraction, (0.15,), (0, 1)),
        (Positive, (1e-12, 5), (0, -1, math.inf, 1e39)),
        (Number, (-3, 0.0, 1e38), (math.inf, -1e39, math.nan)),
        (Count, (1, 2**31 - 1), (0, 1.0, 2**31, True)),
        (Integer, (-1, 0), (0.5, -(2**31))),
        (Seed, (0, 2**32 - 1), (-1, 2**32)),
        (Name, ("a",), ("", 3)),
        (Rate | None, (None, 0.1), (1, "None")),
        (Count | tuple[Count, Count], (3, [3, 4], (3, 4)), ([3], [3, 0], [3, 4, 5])),
        (tuple[Count, ...], ([], [1, 2]), ([0], 3)),
        (Mapping[str, Share], ({}, {"a": 0.5}), ({"a": 2}, [])),
        (Literal["a", 1], ("a", 1), ("b", True)),
        (bool, (True, False), (0, "True")),
    ],
    ids=lambda x: str(x)[:40],
)
def test_fits(hint, good, bad):
    assert all(fault(value, hint) is None for value in good)
    assert all(fault(value, hint) == in_words(hint) for value in bad)


@pytest.mark.parametrize(
    "hint, words",
    [
        (Rate, "a number from 0 to below 1"),
        (Positive | None, "a number above 0 or None"),
        (Fraction, "a number above 0 and below 1"),
        (Annotated[float, Range(0, 1, "(]")], "a number above 0 and at most 1"),
        (Seed, "a whole number from 0 to 4294967295"),
        (Count, "a whole number of at least 1"),
        (Integer, "a whole number"),
        (tuple[Share, Share], "(a number from 0 to 1, a number from 0 to 1)"),
        (Mapping[str, Any], "a mapping"),
        (tuple[str, ...], "a list, each item text"),
        (Name, "text that is not empty"),
    ],
)
def test_in_words(hint, words):
    assert in_words(hint) == words


def test_shown_is_short():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert "digits" in shown(10**5000) and len(shown("x" * 10**6)) == 80 and "list" in shown(nested)


@pytest.mark.parametrize(
    "key, value",
    [("seed", -1), ("seed", 2**32), ("steps", 10**30), ("batch", 2.5), ("ema", 1.0), ("clip", 0.0), ("nan", "go"),
     ("groups", [["kernel", -1.0]]), ("decay", [["", "no"]]), ("freeze", [3]), ("keep", 1), ("log", "jsonl")],
)  # fmt: skip
def test_the_trainers_own_keys(key, value):
    with pytest.raises(XfmError, match=rf"^config\.{key} is .*; it must be "):
        read_settings({"objective": {}, "data": {}, key: value})
