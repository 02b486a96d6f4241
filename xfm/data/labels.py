"""Labels and tags: which values name a class, the order of classes, and which values are numbers.

The name of a class is a text. A value names it as text, ignoring white space around it, or as a whole number.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xfm.data.decoding import decode, whole
from xfm.errors import XfmError, nearest
from xfm.spec import SpecError

# Texts that mean a missing value in tables, as in pandas. One of them names a class only if `classes` lists it.
MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "-NaN", "None", "n/a", "nan", "-nan", "null")
)


def asked(classes: Any) -> tuple[str, ...]:
    """The names of the classes that a spec lists as texts, whole numbers, or True and False.

    Raises SpecError if `classes` is not a list, or if it holds the same class twice or something else than these.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise SpecError(f"classes={classes!r} is not a list of names; write ('bad', 'good')")
    names = tuple(_written(one) for one in classes)
    if None in names:
        raise SpecError(f"classes holds {classes[names.index(None)]!r}; a class is a text or a whole number")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SpecError(f"classes holds {twice[0]!r} twice; each class has one number")
    return names


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct names, sorted: by value if all are whole numbers (negative ones included), else alphabetically."""
    found = set(names)
    numbers = all(re.fullmatch("-?[0-9]{1,18}", name) for name in found)
    return tuple(sorted(found, key=lambda name: (int(name), name) if numbers else name))


def name_of(value: Any, where: str, column: str, known: Collection[str] = (), errors: str = "strict") -> str:
    """The name of the class that a value stands for.

    where: file and line, and column: such as "column 'label'"; both are used in errors.
    known: the classes that a spec lists. Only if it is among them may a name have white space around it, mean a missing
    value elsewhere, or be True or False.
    errors: "strict" or "replace", for text that is not valid.
    Raises XfmError if the value names no class.
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
        what = f"{value!r}", "so it has no label; fill it in, or remove the row"
    elif isinstance(value, float):
        what = f"{value!r}", "where the name of a class should be; a number to predict needs labels='numbers'"
    else:
        what = repr(value)[:40], "where one name of a class should be"
    listed = f", or list {name!r} in 'classes' if it is one" if name is not None and name.strip() else ""
    raise XfmError(f"{where} has {what[0]} in {column}, {what[1]}{listed}")


def number_in(classes: Mapping[str, int], name: str, where: str, column: str) -> int:
    """The number of the class `name`.

    classes: name -> number.  where, column: as in `name_of`.  Raises XfmError, listing the classes, if it is not there.
    """
    if name not in classes:
        few = ", ".join([*classes][:12]) + (", …" if len(classes) > 12 else "")
        raise XfmError(
            f"{where} has class {name!r} in {column}{nearest(name, classes)}; the classes are {few}; if it is one, "
            "list it with all others in 'classes'"
        )
    return classes[name]


def number_of(value: Any, where: str, column: str) -> np.float32:
    """The value as a number. Raises XfmError if it is not a finite number; True and False are not numbers here."""
    value = _plain(value, f"{where}, {column}", "replace")
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise XfmError(f"{where} has {repr(value)[:40]} in {column}, where a number should be")
    return np.float32(number)


def without_rows(classes: Iterable[str], found: Collection[str]) -> tuple[str, ...]:
    """A note for the run's header that names listed classes without a training row; none if all have one.

    classes: the listed names.  found: the names that occur in the training rows.
    """
    none = [name for name in classes if name not in found]
    more = ", …" if len(none) > 12 else ""
    return (f"no training row has class {', '.join(none[:12])}{more}",) if none else ()


def _plain(value: Any, where: str, errors: str) -> Any:
    """The value as a plain Python object: NumPy scalars and arrays are converted, bytes are decoded."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, bytes):
        return decode(value, errors, where)
    return whole(value, errors, where) if isinstance(value, str) else value


def _written(value: Any) -> str | None:
    """The name that a text, a whole number (1.0 counts as 1) or a bool spells, or None for other values."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value) if isinstance(value, str | int) else None
