"""The catalogue of configs: lists them, and loads one by its path or name.

A config is a module with `get_config(variant)` and the constants PAPER and ORACLE (what it reproduces, and what proves
it), VARIANTS (the legal arguments), PARAMETERS (variant -> published or counted number of parameters) and MARGIN (how
far the validation loss of `tiny` ends below its baseline). Its family is its folder.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from xfm.errors import XfmError, nearest
from xfm.fields import fault, shown
from xfm.overrides import apply_overrides
from xfm.spec import plain

__all__ = ["Entry", "apply_overrides", "check", "entries", "find", "load"]

PACKAGE = "xfm.configs"
FAILURES = (Exception, SystemExit)  # what a user's file may raise; KeyboardInterrupt is not caught


@dataclasses.dataclass(frozen=True)
class Entry:
    """One config of the catalogue.

    config: its name, `family/paper`.  file: its path.  variants: the legal arguments of `get_config`.
    default: the variant if none is named.  paper, oracle, parameters: the constants of the module.
    margin: nats by which the validation loss of `tiny` must end below its baseline; None if the module does not say.
    error: why the file cannot be read, in which case the fields above have their defaults; None if it can.
    """

    config: str
    family: str
    file: str
    variants: tuple[str, ...] = ()
    default: str = ""
    paper: str = ""
    oracle: str = ""
    parameters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    margin: float | None = None
    error: str | None = None


def names() -> dict[str, Path]:
    """All installed configs, sorted: `family/paper` -> file."""
    root = _root()
    files = sorted(file for file in root.glob("*/*.py") if not file.name.startswith("_"))
    return {file.relative_to(root).with_suffix("").as_posix(): file for file in files}


def entries() -> list[Entry]:
    """All installed configs. The entry of a file that cannot be read has an `error`; the others are not affected."""
    return [_entry(name, file) for name, file in names().items()]


def find(config: str) -> tuple[ModuleType, str, str]:
    """The module, the name and the variant of a config.

    config: a path, such as `configs/text/bert.py:tiny`, or a name, such as `text/bert:tiny`.
    Raises XfmError, with the nearest and the legal names, for a config or a variant that does not exist.
    """
    where, variant = re.fullmatch(r"(.*?\.py(?=:|$)|[^:]*):?(.*)", config).groups()
    module, name = _module(where)
    if not callable(getattr(module, "get_config", None)):
        raise XfmError(f"{where} has no function get_config(variant); a config needs one")
    if wanted := fault(getattr(module, "VARIANTS", ()), Sequence[str]):
        raise XfmError(f"{where} sets VARIANTS to {shown(module.VARIANTS)}; it must be {wanted}")
    variants = tuple(getattr(module, "VARIANTS", ()))
    variant = variant or _default(module)
    if variants and variant not in variants:
        raise XfmError(
            f"config {name} has no variant {variant!r}{nearest(variant, variants)}; it has {', '.join(variants)}"
        )
    return module, name, variant


def load(
    config: str,
    overrides: Iterable[str] = (),
    note: Callable[[str], None] = lambda text: None,
    checked: Callable[[ConfigDict], Any] | None = None,
) -> ConfigDict:
    """Loads the config with this path or name, applies overrides, and checks it.

    overrides, note: as in `apply_overrides`.  checked: `check_fits`, or `check` if None.  Raises XfmError for any
    mistake that it finds.
    """
    module, name, variant = find(config)
    loaded = ConfigDict({"name": f"{name}:{variant}", **_called(module, variant)})
    overrides = list(overrides)
    loaded = apply_overrides(loaded, overrides, note)
    try:
        (checked or check)(loaded)
    except XfmError:
        raise
    except Exception as error:
        if module.__name__.startswith(f"{PACKAGE}.") and not overrides:
            raise  # a fault of xfm itself; otherwise the cause is a value that the user chose
        chosen = f" with {' '.join(overrides)}" if overrides else ""
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise XfmError(f"{loaded.name}{chosen} cannot be built: {type(error).__name__}: {reason}") from error
    return loaded


def check(config: ConfigDict) -> Any:
    """Checks a config without reading data; returns the shapes of the parameters.

    It checks the trainer's settings, the kinds and fields of every part, sizes that must divide each other, and rules
    that match no parameter; the whole model is traced on the shapes of its data. Raises XfmError for a mistake.
    """
    import jax

    from xfm.augment import augment_of
    from xfm.data import check_data
    from xfm.describe import example_batch
    from xfm.evaluators import build_evaluators
    from xfm.initial import shapes_only
    from xfm.objectives import build_objective
    from xfm.sharding import rules_named
    from xfm.train.logs import check_kinds
    from xfm.train.run import layout_of, optimiser_of
    from xfm.train.schedules import build_schedule
    from xfm.train.settings import read_settings
    from xfm.train.start import found_for, resolved
    from xfm.train.taken import taken
    from xfm.vocabulary import Vocabulary

    settings, found = read_settings(config), found_for(config)
    config = resolved(config, found)
    rules_named(settings.sharding)
    check_kinds(settings.log)
    layout_of(settings, plain(config))
    build_schedule(settings.schedule, settings.steps)
    check_data(config["data"])
    augment_of(config)
    # The tokeniser is not known yet; a vocabulary with every special token is used in its place.
    standing_in = Vocabulary(size=8, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    objective = build_objective(config, standing_in)
    build_evaluators(config.get("evals", []), settings.batch)
    _check_ids(config)
    batch, key = example_batch(config), jax.random.key(0)
    with shapes_only():
        params = jax.eval_shape(lambda rows: objective.init(key, rows)[0], batch)
    if found is not None:
        taken(params, found, config)
    optimiser_of(settings, params, objective)
    return params


def _check_ids(config: Mapping[str, Any]) -> None:
    """Raises XfmError if the run trains a tokeniser that may have more ids than the embedding has rows."""
    from xfm.structures import build

    size = (plain(config["data"]).get("tokenizer") or {}).get("size")
    rows = getattr(build(plain(config["model"])), "vocab", None)
    if size is not None and rows is not None and size > rows:
        raise XfmError(
            f"config.data.tokenizer.size is {size}, but config.model.embed.vocab only has rows for {rows} ids; set it, "
            f"and 'vocab' of heads, to {size} or more"
        )


def check_fits(config: ConfigDict) -> None:
    """Checks a config as `check` does, and that its batch and parameters fit in memory. Raises XfmError if not."""
    from xfm.describe import example_batch
    from xfm.train.memory import check_batch, check_parameters
    from xfm.train.settings import read_settings
    from xfm.train.start import resolved

    params, settings = check(config), read_settings(config)
    rows = example_batch(resolved(config), settings.batch)
    check_batch(settings, {name: (one.shape, one.dtype) for name, one in rows.items()})
    check_parameters(params)


def _root() -> Path:
    return Path(importlib.import_module(PACKAGE).__path__[0])


def _entry(name: str, file: Path) -> Entry:
    family = name.partition("/")[0]
    try:
        module, _ = _module(name)
        return Entry(
            config=name,
            family=family,
            file=str(file),
            variants=tuple(module.VARIANTS),
            default=_default(module),
            paper=module.PAPER,
            oracle=module.ORACLE,
            parameters=dict(module.PARAMETERS),
            margin=getattr(module, "MARGIN", None),
        )
    except (XfmError, AttributeError, TypeError, ValueError) as error:
        return Entry(config=name, family=family, file=str(file), error=str(error))


def _default(module: ModuleType) -> str:
    """The variant that `get_config()` returns."""
    first = next(iter(inspect.signature(module.get_config).parameters.values()), None)
    has = first is not None and first.default is not inspect.Parameter.empty
    return str(first.default) if has else "base"


def _module(where: str) -> tuple[ModuleType, str]:
    """The module at a path or with a name, and its name for messages."""
    path, installed = Path(where).expanduser(), names()
    if path.suffix == ".py" and path.is_file():
        name = next((name for name, file in installed.items() if file.samefile(path)), None)
        return (_imported(name), name) if name else (_from_file(path), path.stem)
    name = where.removeprefix("configs/").removesuffix(".py")
    if name in installed:
        return _imported(name), name
    what = (
        f"there is no file {where}, nor a config of that name"
        if path.suffix == ".py"
        else f"there is no config {shown(where)}"
    )
    raise XfmError(
        f"{what}{nearest(name, installed)}; `xfm list` shows the {len(installed)} configs that are installed"
    )


def _called(module: ModuleType, variant: str) -> dict[str, Any]:
    """The result of get_config(variant) as plain data. Raises XfmError, with the line, if it fails or is no mapping."""
    file = Path(module.__file__)
    try:
        config = plain(module.get_config(variant))
    except XfmError:
        raise
    except FAILURES as error:
        if module.__name__.startswith(f"{PACKAGE}."):
            raise  # a fault of xfm itself
        raise _unreadable(file, error, f"fails for the variant {variant!r}") from error
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise XfmError(f"{file}: get_config({variant!r}) returns {shown(config)}; a config is a mapping of keys")
    return dict(config)


def _imported(name: str) -> ModuleType:
    full = f"{PACKAGE}.{name.replace('/', '.')}"
    try:
        return importlib.import_module(full)
    except Exception as error:
        raise _unreadable(names()[name], error) from error


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"xfm_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FAILURES as error:
        raise _unreadable(path, error) from error
    return module


def _unreadable(path: Path, error: BaseException, what: str = "cannot be loaded") -> XfmError:
    """An error with the line of the config at which it failed."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if Path(at.filename) == Path(path)]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return XfmError(f"{path}{f', line {line}' if line else ''} {what}: {type(error).__name__}: {error}")
