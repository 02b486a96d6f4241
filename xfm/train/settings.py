"""What the trainer reads from a config, with its defaults; everything else in a config belongs to
other rooms.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from xfm.errors import XfmError, nearest

# Keys of a config that others read: the objective and its networks, the data, and words for people.
OTHERS = ("model", "objective", "data", "init", "start", "name", "notes")


@dataclasses.dataclass(frozen=True)
class Settings:
    """batch: rows of one update, over all devices.  steps: updates of the run.  seed: of
    parameters, order and dropout.

    optimiser, schedule, decay, groups, freeze, clip: see optimiser.py and schedules.py.
    layout: how texts lie in the rows that are computed, {"kind": "padded" | "tokens", …}, see xfm/data/layout.py.
    accumulate: microbatches that one update is cut into.  ema: decay of a moving average of the
    parameters, which evaluation then uses, or None.
    eval_every, save_every, log_every: steps between; evaluation and saving also happen at the last
    step.
    eval_steps: batches of an evaluation, of validation rows chosen at random, the same every time; None for all rows.
    keep: newest checkpoints kept, at least 2.
    mesh, sharding: see sharding.py.  log: further writers beside metrics.jsonl, see logs.py.
    nan: "stop" at the first loss that is not finite, or "skip" such updates, up to nan_limit of
    them in the run.
    """

    batch: int = 64
    steps: int = 1000
    seed: int = 0
    optimiser: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "adamw"})
    schedule: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "constant"})
    decay: Sequence = ()
    groups: Sequence = ()
    freeze: Sequence[str] = ()
    clip: float | None = 1.0
    layout: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "padded"})
    accumulate: int = 1
    ema: float | None = None
    eval_every: int = 100
    eval_steps: int | None = None
    save_every: int = 100
    log_every: int = 10
    keep: int = 2
    mesh: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"data": -1, "model": 1})
    sharding: str = "replicated"
    log: Sequence[str] = ("jsonl",)
    nan: str = "stop"
    nan_limit: int = 10


# Keys that may differ between two runs of one workdir: how long, how often, where to, on what.
MAY_CHANGE = (
    "steps",
    "eval_every",
    "eval_steps",
    "save_every",
    "log_every",
    "keep",
    "mesh",
    "sharding",
    "log",
    "nan",
    "nan_limit",
    "name",
    "notes",
)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The trainer's part of a config.  Raises XfmError for a key that nobody reads and for
    impossible values.
    """
    names = [field.name for field in dataclasses.fields(Settings)]
    for key in config:
        if key not in names and key not in OTHERS:
            legal = (*OTHERS, *names)
            raise XfmError(f"config has no key {key!r}{nearest(key, legal)}; it has {', '.join(legal)}")
    for key in ("objective", "data"):
        if key not in config:
            raise XfmError(f"config has no {key}; it must say what to train and on what")
    settings = Settings(**{name: config[name] for name in names if name in config})
    for name in ("batch", "steps", "accumulate", "eval_every", "save_every", "log_every"):
        _require(settings, name, _is_count, "a whole number of at least 1")
    _require(settings, "keep", lambda v: _is_count(v) and v >= 2, "a whole number of at least 2")
    _require(settings, "eval_steps", lambda v: v is None or _is_count(v), "None or at least 1")
    _require(settings, "ema", lambda v: v is None or 0 < v < 1, "None or between 0 and 1")
    _require(settings, "clip", lambda v: v is None or v > 0, "None or above 0")
    for name in ("decay", "groups"):
        _require(settings, name, _are_rules, "a list of (regex, factor)")
    _require(settings, "freeze", lambda v: all(isinstance(r, str) for r in v), "a list of regexes")
    _require(settings, "nan", lambda v: v in ("stop", "skip"), "'stop' or 'skip'")
    if settings.batch % settings.accumulate:
        raise XfmError(f"config.accumulate={settings.accumulate} does not divide config.batch={settings.batch}")
    return settings


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_rules(value: Any) -> bool:
    return all(not isinstance(r, str) and len(r) == 2 and isinstance(r[0], str) for r in value)


def _require(settings: Settings, name: str, holds, what: str) -> None:
    value = getattr(settings, name)
    try:
        good = holds(value)
    except TypeError:
        good = False
    if not good:
        raise XfmError(f"config.{name} is {value!r}; it must be {what}")
