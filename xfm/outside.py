"""Parts outside xfm, named "package.module:Name": imports a class or function, and checks that it fits a slot.

Modules are also searched in the current folder, as with `python -m`, so that a project need not be installed.
"""

import dataclasses
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import flax.linen as nn

from xfm.errors import SpecError, nearest

KIND = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
RESERVED = ("kind", "name", "parent")  # names of the key in a spec, and of fields that Flax sets in each module


def is_outside(kind: Any) -> bool:
    """Whether a kind is written as "package.module:Name"."""
    return isinstance(kind, str) and KIND.fullmatch(kind) is not None


def in_path(kind: Any) -> str:
    """The kind as it is in parameter paths: "echo" for "my.parts:Echo", which does not depend on the module."""
    return kind.partition(":")[2].lower() if is_outside(kind) else str(kind)


def imported(kind: str) -> Any:
    """The object that "package.module:Name" names.

    Raises SpecError if the module is not found (with the folders that were searched), if importing it fails, or if it
    does not have the name.
    """
    path, name = kind.split(":")
    with _current_folder():
        try:
            module = importlib.import_module(path)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{path}.".startswith(f"{error.name}."):
                searched = ", ".join(dict.fromkeys(folder or os.getcwd() for folder in sys.path))
                raise SpecError(
                    f"there is no module {error.name!r} for the kind {kind!r} in {searched}; run xfm in the folder "
                    "that holds it, or install it"
                ) from error
            reason = (str(error).strip() or "no message").splitlines()[0]
            raise SpecError(
                f"module {path!r} of the kind {kind!r} cannot be imported: {type(error).__name__}: {reason}"
            ) from error
    if not hasattr(module, name):
        public = [one for one in vars(module) if not one.startswith("_")]
        file = getattr(module, "__file__", None) or path
        raise SpecError(f"module {path!r} ({file}) has no {name!r}{nearest(name, public)}")
    return getattr(module, name)


@contextmanager
def _current_folder() -> Iterator[None]:
    """Appends the current folder to the modules' search path within the `with` block, if it is not there already."""
    folder = os.getcwd()
    if "" in sys.path or folder in sys.path:
        yield
        return
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def unfit_class(found: Any, members: Sequence[type]) -> str | None:
    """The reason, in words, why `found` does not have the interface of the classes `members`; None if it does."""
    if not inspect.isclass(found):
        return f"it is a {type(found).__name__}, but must be a class"
    if all(issubclass(cls, nn.Module) for cls in members) and not issubclass(found, nn.Module):
        return "it is not a flax.linen.Module"
    if not dataclasses.is_dataclass(found):
        return "it is not a dataclass"
    has = set().union(*(vars(base) for base in found.__mro__))  # hasattr would also find the metaclass's __call__
    if missing := sorted(owed(members) - has):
        return f"it has no method {', '.join(missing)}"
    if inspect.isabstract(found):
        return f"it does not define {', '.join(sorted(found.__abstractmethods__))}"
    own = () if issubclass(found, nn.Module) else RESERVED[1:]
    clash = [field.name for field in dataclasses.fields(found) if field.name in (RESERVED[0], *own)]
    return f"its field {clash[0]!r} needs another name, because a spec cannot set it" if clash else None


def unfit_function(found: Any, members: Sequence[Callable]) -> str | None:
    """The reason, in words, why `found` cannot be called like the functions `members`; None if it can."""
    if not callable(found):
        return f"it is a {type(found).__name__}, but must be a function"
    wanted = {_arguments(member) for member in members}
    try:
        given = _arguments(found)
    except ValueError:  # of some functions that are written in C
        return "Python does not know its arguments; wrap it in a function of your own"
    if given in wanted:
        return None
    return f"it takes {given} positional arguments, but is called with {' or '.join(map(str, sorted(wanted)))}"


def owed(members: Sequence[type]) -> set[str]:
    """The methods that a class must have to join `members`: those that all of them define outside their common bases.

    If there are none, the methods of the common bases.
    """
    shared = set.intersection(*(set(cls.__mro__) for cls in members)) - set(members)
    below = (_methods(cls, [base for base in cls.__mro__ if base not in shared]) for cls in members)
    return set.intersection(*below) or set.intersection(*(_methods(cls, cls.__mro__) for cls in members))


def _methods(cls: type, bases: Sequence[type]) -> set[str]:
    """The public methods of `bases`, without those that every Flax module has."""
    hidden = {*dir(nn.Module), *(field.name for field in dataclasses.fields(cls))} - {"__call__"}
    names = {name for base in bases for name, value in vars(base).items() if inspect.isfunction(value)}
    return {name for name in names if (name == "__call__" or not name.startswith("_")) and name not in hidden}


def _arguments(function: Callable) -> int:
    """The number of positional arguments without a default."""
    parameters = inspect.signature(function).parameters.values()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in by_position and one.default is one.empty for one in parameters)
