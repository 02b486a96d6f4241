"""The legal values of fields: types with ranges, which a field declares, and the function that checks a value.

A field of numbers declares its range by its type, as in `drop: Rate = 0.0`. `fault` checks a value; it is used by
`xfm.spec.build` for all fields of parts, by `read_settings` for the trainer's, and by overrides.
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

LARGEST = 3.4e38  # the largest number of float32; larger ones would become infinity
LONGEST = 2**31 - 1  # the largest number of int32, the type of array sizes and step counts
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of numbers from `low` to `high`.  ends: "[]", "[)", "(]" or "()", where a bracket includes the end."""

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
        if below:
            return f"above {self.low} and {above or 'at most '}{self.high}"
        return f"from {self.low} to {above}{self.high}"


class NotEmpty:
    """The sequences with at least one item, and the texts with at least one character."""

    def __contains__(self, value: Sequence) -> bool:
        return len(value) > 0

    def __str__(self) -> str:
        return "that is not empty"


class Word:
    """The texts of letters, digits and underscores that begin with a letter, as names in parameter paths do."""

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(r"[A-Za-z]\w*", value) is not None

    def __str__(self) -> str:
        return "of letters, digits and underscores that begins with a letter"


class Compiles:
    """The texts that are regular expressions."""

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
Rate = Annotated[float, Range(0, 1, "[)")]  # a dropout rate, or the decay of a moving average
Share = Annotated[float, Range(0, 1)]  # a share of a whole, or a probability
Fraction = Annotated[float, Range(0, 1, "()")]  # a share of a whole, neither nothing nor all of it
Count = Annotated[int, Range(1, LONGEST)]  # a width, a length, a number of things
RowLength = Annotated[int, Range(4, LONGEST)]  # the length of a row of text: `cls`, `sep` and at least two tokens
TwoOrMore = Annotated[int, Range(2, LONGEST)]
CountOrZero = Annotated[int, Range(0, LONGEST)]
Integer = Annotated[int, Range(-LONGEST, LONGEST)]
Name = Annotated[str, NotEmpty()]  # the name of a file, a folder or a column
Label = Annotated[str, Word()]  # a name in the paths of parameters
Regex = Annotated[str, Compiles()]  # a regular expression that is searched in the paths of parameters
Seed = Annotated[int, Range(0, 2**32 - 1)]  # a seed that both NumPy and JAX accept without loss


def fault(value: Any, hint: Any) -> str | None:
    """None if a field of type `hint` may hold the value; else a description of legal values, for an error message."""
    if fits(value, hint):
        return None
    words = [one for member in (hint, *typing.get_args(hint)) for one in _literals(member)]
    return in_words(hint) + (nearest(value, words) if isinstance(value, str) else "")


def _literals(hint: Any) -> tuple:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def fits(value: Any, hint: Any) -> bool:
    """Whether a field of type `hint` may hold the value. NaN is in no range, and True and False are not numbers."""
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
    """Whether the items fit `tuple[X, ...]` or `Sequence[X]` (of any length), or `tuple[X, Y]` (of this length)."""
    if not args:
        return True
    if kind is tuple and args[-1] is not Ellipsis:
        return len(values) == len(args) and all(map(fits, values, args))
    return all(fits(value, args[0]) for value in values)


def in_words(hint: Any) -> str:
    """A description of the values of a type, such as "None or a number from 0 to below 1"."""
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
    """The classes of a union's members, or the class of a single type."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    bare = (one.__origin__ if typing.get_origin(one) is Annotated else one for one in members)
    return tuple(typing.get_origin(one) or one for one in bare)


def shown(value: Any, longest: int = 80) -> str:
    """The value as Python prints it, truncated to `longest` characters."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"a whole number of about {math.floor(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with more digits than Python prints; too deeply nested
        return f"a {type(value).__name__} too long to write"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
