"""Labels and tags: which values name a class, in which order classes stand, and which values are numbers.

A class has a name, which is text. A label names it as text, without the blanks around it, or as a whole number.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xfm.data.decoding import decode, whole
from xfm.errors import XfmError, nearest
from xfm.spec import SpecError

# What stands for a missing value in tables, as pandas reads them. It names a class where `classes` lists it.
MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "-NaN", "None", "n/a", "nan", "-nan", "null")
)


def asked(classes: Any) -> tuple[str, ...]:
    """The names of the classes that a spec lists, as text, whole numbers, or True and False.

    Raises SpecError where it is no list, or where a class stands in it twice.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise SpecError(f"classes={classes!r} is no list of names; write ('bad', 'good')")
    names = tuple(_written(one) for one in classes)
    if None in names:
        raise SpecError(f"classes holds {classes[names.index(None)]!r}; a class is a text or a whole number")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SpecError(f"classes holds {twice[0]!r} twice; each class has one number")
    return names


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted; by value where all are whole numbers, negative ones too."""
    found = set(names)
    numbers = all(re.fullmatch("-?[0-9]{1,18}", name) for name in found)
    return tuple(sorted(found, key=lambda name: (int(name), name) if numbers else name))


def name_of(value: Any, where: str, column: str, known: Collection[str] = (), errors: str = "strict") -> str:
    """The class that a label names. where: file and line, column: such as "column 'label'"; both for errors.

    known: the classes that a spec lists, which may be what is no class otherwise: text with blanks around it, a sign of
    a missing value, True and False. Raises XfmError for these where they are not known, and for what names no class.
    """
    value = _plain(value, f"{where}, {column}", errors)
    name = _written(value)
    for one in () if name is None else (name, name.strip()):
        if one in known:
            return one
    if isinstance(value, str) and name.strip() not in MISSING:
        return name.strip()
    if name is not None and not isinstance(value, bool | str):
        return name
    if value is None or isinstance(value, str) or value != value:
        what = f"{value!r}", "so no label; fill it in, or remove the row"
    elif isinstance(value, float):
        what = f"{value!r}", "where the name of a class should be; a number to predict needs labels='numbers'"
    else:
        what = repr(value)[:40], "where one name of a class should be"
    listed = f", or list {name!r} in 'classes' if it is one" if name is not None and name.strip() else ""
    raise XfmError(f"{where} has {what[0]} in {column}, {what[1]}{listed}")


def number_in(classes: Mapping[str, int], name: str, where: str, column: str) -> int:
    """The number of a class, by `name -> number`. Raises XfmError that lists the classes."""
    if name not in classes:
        few = ", ".join([*classes][:12]) + (", …" if len(classes) > 12 else "")
        raise XfmError(
            f"{where} has class {name!r} in {column}{nearest(name, classes)}; the classes are {few}; if it is one, "
            "list it with all others in 'classes'"
        )
    return classes[name]


def number_of(value: Any, where: str, column: str) -> np.float32:
    """A label that is a finite number itself. Raises XfmError for what is none, True and False included."""
    value = _plain(value, f"{where}, {column}", "replace")
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise XfmError(f"{where} has {repr(value)[:40]} in {column}, where a number should be")
    return np.float32(number)


def without_rows(classes: Iterable[str], found: Collection[str]) -> tuple[str, ...]:
    """What the run's header says of classes that were listed and that no training row has."""
    none = [name for name in classes if name not in found]
    more = ", …" if len(none) > 12 else ""
    return (f"no training row has class {', '.join(none[:12])}{more}",) if none else ()


def _plain(value: Any, where: str, errors: str) -> Any:
    """A value of Python: NumPy's scalars and bytes as what they stand for."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, bytes):
        return decode(value, errors, where)
    return whole(value, errors, where) if isinstance(value, str) else value


def _written(value: Any) -> str | None:
    """The name that a text, a whole number (1 or 1.0, which tables do not tell apart) or a truth value has, or None."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value) if isinstance(value, str | int) else None
