"""The configs: which there are, what they reproduce, and loading one by its path or name.

A config is a module with `get_config(variant)`, the constants PAPER and ORACLE (what it reproduces
and what proves it), VARIANTS (the legal arguments), PARAMETERS (variant -> published or counted
size) and MARGIN (how far `tiny` gets below its baseline). Its family is its folder.
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
FAILURES = (Exception, SystemExit)  # of a file that somebody wrote; what the user interrupts stays an interruption


@dataclasses.dataclass(frozen=True)
class Entry:
    """config: the name, `family/paper`.  default: the variant where none is named.

    margin: nats by which `tiny` has to end below its baseline on validation data; None where the file does not say.
    error: why the file cannot be read, None where it can; then the other fields are empty.
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
    """`family/paper` -> file, of every installed config, in order."""
    root = _root()
    files = sorted(file for file in root.glob("*/*.py") if not file.name.startswith("_"))
    return {file.relative_to(root).with_suffix("").as_posix(): file for file in files}


def entries() -> list[Entry]:
    """All configs; one whose file cannot be read says so in `error` and hinders no other."""
    return [_entry(name, file) for name, file in names().items()]


def find(config: str) -> tuple[ModuleType, str, str]:
    """Module, name and variant of `configs/text/bert.py:tiny` or, by name, of `text/bert:tiny`.

    Raises XfmError for a config or a variant that does not exist, naming the nearest and the legal
    ones.
    """
    place, variant = re.fullmatch(r"(.*?\.py(?=:|$)|[^:]*):?(.*)", config).groups()
    module, name = _module(place)
    if not callable(getattr(module, "get_config", None)):
        raise XfmError(f"{place} has no function get_config(variant); a config needs one")
    if wanted := fault(getattr(module, "VARIANTS", ()), Sequence[str]):
        raise XfmError(f"{place} sets VARIANTS to {shown(module.VARIANTS)}; it must be {wanted}")
    variants = tuple(getattr(module, "VARIANTS", ()))
    variant = variant or _default(module)
    if variants and variant not in variants:
        raise XfmError(
            f"config {name} has no variant {variant!r}{nearest(variant, variants)}; it has {', '.join(variants)}"
        )
    return module, name, variant


def load(config: str, overrides: Iterable[str] = (), note: Callable = lambda text: None) -> ConfigDict:
    """The config of that path or name, overrides set (see `apply_overrides`), and checked."""
    module, name, variant = find(config)
    loaded = ConfigDict({"name": f"{name}:{variant}", **_called(module, variant)})
    overrides = list(overrides)
    loaded = apply_overrides(loaded, overrides, note)
    try:
        check(loaded)
    except XfmError:
        raise
    except Exception as error:
        if module.__name__.startswith(f"{PACKAGE}.") and not overrides:
            raise  # a flaw of ours; otherwise a value that the user chose is to blame
        chosen = f" with {' '.join(overrides)}" if overrides else ""
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise XfmError(f"{loaded.name}{chosen} cannot be built: {type(error).__name__}: {reason}") from error
    return loaded


def check(config: ConfigDict) -> Any:
    """The shapes of the parameters; XfmError for what is wrong in a config, as far as it shows before data is read.

    The trainer's settings, the kinds and fields of every part, sizes that do not divide, rules that
    match no parameter: the whole model is traced on the shapes of its data.
    """
    import jax

    from xfm.data import check_data
    from xfm.describe import example_batch
    from xfm.evaluators import build_evaluators
    from xfm.objectives import build_objective
    from xfm.sharding import rules_named
    from xfm.train.logs import check_kinds
    from xfm.train.optimiser import build_optimiser
    from xfm.train.run import layout_of
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
    schedule = build_schedule(settings.schedule, settings.steps)
    check_data(config["data"])
    # The tokeniser is not known yet: one that has every special token stands in for it.
    standing_in = Vocabulary(size=8, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    objective = build_objective(config, standing_in)
    build_evaluators(config.get("evals", []), settings.batch)
    _check_ids(config)
    batch, key = example_batch(config), jax.random.key(0)
    params = jax.eval_shape(lambda rows: objective.init(key, rows)[0], batch)
    if found is not None:
        taken(params, found, config)
    rules = {name: getattr(settings, name) for name in ("decay", "groups", "freeze", "train_only", "clip")}
    build_optimiser(settings.optimiser, schedule, params, **rules)
    return params


def _check_ids(config: Mapping[str, Any]) -> None:
    """Raises XfmError where a tokeniser that the run trains may have more ids than the embedding has rows."""
    from xfm.structures import build

    size = (plain(config["data"]).get("tokenizer") or {}).get("size")
    rows = getattr(build(plain(config["model"])), "vocab", None)
    if size is not None and rows is not None and size > rows:
        raise XfmError(
            f"config.data.tokenizer.size is {size}, and config.model.embed.vocab gives rows for {rows} ids; set the "
            "latter, and that of heads, to the former or more"
        )


def check_fits(config: ConfigDict) -> None:
    """Raises XfmError where a config's batch or parameters are larger than all memory, before any data is read."""
    from xfm.describe import example_batch
    from xfm.train.memory import check_batch, check_parameters
    from xfm.train.settings import read_settings
    from xfm.train.start import resolved

    settings = read_settings(config)
    rows = example_batch(resolved(config), settings.batch)
    check_batch(settings, {name: (one.shape, one.dtype) for name, one in rows.items()})
    check_parameters(check(config))


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


def _module(place: str) -> tuple[ModuleType, str]:
    """The module at a path or of a name, and the name under which to speak of it."""
    path, installed = Path(place).expanduser(), names()
    if path.suffix == ".py" and path.is_file():
        name = next((name for name, file in installed.items() if file.samefile(path)), None)
        return (_imported(name), name) if name else (_from_file(path), path.stem)
    name = place.removeprefix("configs/").removesuffix(".py")
    if name in installed:
        return _imported(name), name
    what = (
        f"there is no file {place}, nor a config of that name"
        if path.suffix == ".py"
        else f"there is no config {shown(place)}"
    )
    raise XfmError(f"{what}{nearest(name, installed)}; installed are {', '.join(installed)}")


def _called(module: ModuleType, variant: str) -> dict[str, Any]:
    """What get_config(variant) returns, as plain data; XfmError, with the line, where it fails or gives no mapping."""
    file = Path(module.__file__)
    try:
        config = plain(module.get_config(variant))
    except XfmError:
        raise
    except FAILURES as error:
        if module.__name__.startswith(f"{PACKAGE}."):
            raise  # a flaw of ours
        raise _unreadable(file, error, f"gives no config for {variant!r}") from error
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
    """One sentence with the line of the config at which it failed."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if Path(at.filename) == Path(path)]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return XfmError(f"{path}{f', line {line}' if line else ''} {what}: {type(error).__name__}: {error}")
