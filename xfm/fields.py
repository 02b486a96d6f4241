"""What may stand in a field: its type and its range, declared where the field is, and the one rule that checks both.

A field of numbers says its range by its type, `drop: Rate = 0.0`. `fault` says what is wrong with a value; `build` of
`xfm/spec.py` asks it for every field of every part, `read_settings` for the trainer's keys, and overrides for theirs.
"""

import dataclasses
import math
import numbers
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from xfm.errors import nearest

LARGEST = 3.4e38  # of float32; what is beyond it would be computed with as infinity
LONGEST = 2**31 - 1  # of int32, in which arrays are measured and steps counted
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`.  ends: which of the two belong to it, written as "[]", "[)", "(]" or "()"."""

    low: float
    high: float
    ends: str = "[]"

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)

    def __str__(self) -> str:
        below, above = ("" if self.ends[0] == "[" else "above "), ("" if self.ends[1] == "]" else "below ")
        if self.high in (LARGEST, LONGEST):
            everything = self.low == -self.high
            return "" if everything else f"above {self.low}" if below else f"of at least {self.low}"
        return f"above {self.low} and below {self.high}" if below else f"from {self.low} to {above}{self.high}"


class NotEmpty:
    """At least one item, or one character."""

    def __contains__(self, value: Sequence) -> bool:
        return len(value) > 0

    def __str__(self) -> str:
        return "that is not empty"


class Word:
    """Text of letters, digits and underscores that begins with a letter, as a part of a parameter's path."""

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(r"[A-Za-z]\w*", value) is not None

    def __str__(self) -> str:
        return "of letters, digits and underscores that begins with a letter"


class Compiles:
    """Text that is a regular expression."""

    def __contains__(self, value: str) -> bool:
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError):
            return False
        return True

    def __str__(self) -> str:
        return "that is a regular expression"


Number = Annotated[float, Range(-LARGEST, LARGEST)]
Positive = Annotated[float, Range(0, LARGEST, "(]")]  # an epsilon, a temperature, a base
NotNegative = Annotated[float, Range(0, LARGEST)]  # a weight, a learning rate
Rate = Annotated[float, Range(0, 1, "[)")]  # of dropout; of a moving average: what is kept, never all
Share = Annotated[float, Range(0, 1)]  # of a whole, or a probability
Fraction = Annotated[float, Range(0, 1, "()")]  # of a whole, neither nothing nor all of it
Count = Annotated[int, Range(1, LONGEST)]  # a width, a length, of how many
RowLength = Annotated[int, Range(4, LONGEST)]  # of a text's row: a token between `cls` and `sep`, and one more
TwoOrMore = Annotated[int, Range(2, LONGEST)]
CountOrZero = Annotated[int, Range(0, LONGEST)]
Integer = Annotated[int, Range(-LONGEST, LONGEST)]
Name = Annotated[str, NotEmpty()]  # of a file, a folder, a column
Label = Annotated[str, Word()]  # in the path of a parameter
Regex = Annotated[str, Compiles()]  # found in the path of a parameter
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what both NumPy and a JAX key tell apart


def fault(value: Any, hint: Any) -> str | None:
    """What should stand where `value` does, in words, if a field of type `hint` may not hold it; None if it may."""
    if fits(value, hint):
        return None
    words = [one for member in (hint, *typing.get_args(hint)) for one in _literals(member)]
    return in_words(hint) + (nearest(value, words) if isinstance(value, str) else "")


def _literals(hint: Any) -> tuple:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def fits(value: Any, hint: Any) -> bool:
    """Whether a field of that type may hold the value: a range holds no NaN, and True is no number."""
    if hint is Any or isinstance(hint, str | typing.TypeVar):
        return True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return fits(value, args[0]) and all(value in one for one in hint.__metadata__)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in args)
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in args)
    kind = origin or hint
    if kind in (None, type(None)):
        return value is None
    if kind in (int, float):
        real = isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
        return real and value == value
    if not isinstance(kind, type):
        return True
    if issubclass(kind, Mapping):
        good = isinstance(value, Mapping)
        return good and (not args or all(fits(key, args[0]) and fits(one, args[1]) for key, one in value.items()))
    if issubclass(kind, Sequence) and kind is not str:
        return isinstance(value, list | tuple) and _all_fit(value, kind, args)
    return isinstance(value, kind)


def _all_fit(values: Sequence, kind: type, args: tuple) -> bool:
    """Whether the items fit `tuple[X, ...]` or `Sequence[X]`, of any length, or `tuple[X, Y]`, of just that one."""
    if not args:
        return True
    if kind is tuple and args[-1] is not Ellipsis:
        return len(values) == len(args) and all(map(fits, values, args))
    return all(fits(value, args[0]) for value in values)


def in_words(hint: Any) -> str:
    """What a field of that type holds: `None or a number from 0 to below 1`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        what, comma, items = in_words(args[0]).partition(", each")
        return " ".join([what, *(str(one) for one in hint.__metadata__)]).strip() + comma + items
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(one) for one in args))
    if origin is typing.Literal:
        return " or ".join(repr(one) for one in args)
    kind = origin or hint
    if kind in WORDS:
        return WORDS[kind]
    if isinstance(kind, type) and issubclass(kind, Mapping):
        free = not args or args[0] is str
        return f"a mapping{_each(args[1:], 'value')}" if free else f"a mapping from {' to '.join(map(in_words, args))}"
    if isinstance(kind, type) and issubclass(kind, Sequence):
        if kind is tuple and args and args[-1] is not Ellipsis:
            return f"({', '.join(map(in_words, args))})"
        return "a list" + _each(args, "item")
    return "None" if kind in (None, type(None)) else getattr(kind, "__name__", str(kind))


def _each(args: tuple, what: str) -> str:
    return f", each {what} {in_words(args[0])}" if args and args[0] is not Any else ""


def options(hint: Any) -> tuple:
    """The classes of a union's members, or of the type alone."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    bare = (one.__origin__ if typing.get_origin(one) is Annotated else one for one in members)
    return tuple(typing.get_origin(one) or one for one in bare)


def shown(value: Any, longest: int = 80) -> str:
    """The value as Python writes it, cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"a whole number of about {math.floor(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes; nested without end
        return f"a {type(value).__name__} too long to write"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
