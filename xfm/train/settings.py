"""What the trainer reads from a config, with its defaults; other packages read the other keys."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from xfm.errors import XfmError, nearest
from xfm.fields import Count, CountOrZero, Fraction, NotNegative, Positive, Regex, Seed, TwoOrMore
from xfm.spec import check_values, plain

# Keys of a config that others read: the objective and its networks, the data, evaluators, and words for people.
OTHERS = ("model", "transforms", "objective", "data", "init", "start", "evals", "name", "notes")
MeshSizes = Mapping[Literal["data", "model"], Literal[-1] | Count]  # -1 stands for the devices that are left


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The trainer's part of a config.

    batch: rows of one update, over all devices.  steps: updates of the run.  seed: that of parameters, order and
    dropout.
    optimiser, schedule, decay, groups, freeze, train_only, clip: see optimiser.py and schedules.py.
    layer_decay: {"rate": …} of learning rates from each layer to the one below, see layerwise.py; None for none.
    layout: how texts lie in the rows that are computed, {"kind": "padded" | "tokens", …}, see xfm/data/layout.py.
    augment: how images are changed on the device, see xfm/augment; None for not at all.
    repeats: how often each row of the data is in a batch, one copy after another, each augmented on its own (Hoffer et
    al. 2020, "Augment your batch"); `batch` counts the copies.
    norms: name -> regex of parameters whose gradient's norm the log has as grad_norm/NAME, before clipping.
    accumulate: microbatches that one update is divided into.  ema: decay of a moving average of the parameters, which
    evaluation then uses, or None.
    eval_every, save_every, log_every: steps from one to the next; all of them also happen at the last step.
    eval_steps: batches of an evaluation, of validation rows chosen at random, the same every time; None for all rows.
    keep: how many of the newest checkpoints are kept, at least 2.
    mesh, sharding: see sharding.py.  log: further writers beside metrics.jsonl, see logs.py.
    nan: "stop" at the first loss that is not finite, or "skip" such updates, up to nan_limit of them in the run.
    """

    batch: Count = 64
    steps: Count = 1000
    seed: Seed = 0
    optimiser: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "adamw"})
    schedule: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "constant"})
    decay: Sequence[tuple[Regex, NotNegative]] = ()
    groups: Sequence[tuple[Regex, NotNegative | Sequence[NotNegative]]] = ()
    layer_decay: Mapping[str, Any] | None = None
    freeze: Sequence[Regex] = ()
    train_only: Sequence[Regex] = ()
    clip: Positive | None = 1.0
    layout: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "padded"})
    augment: Mapping[str, Any] | None = None
    norms: Mapping[str, Regex] = dataclasses.field(default_factory=dict)
    repeats: Count = 1
    accumulate: Count = 1
    ema: Fraction | None = None
    eval_every: Count = 100
    eval_steps: Count | None = None
    save_every: Count = 100
    log_every: Count = 10
    keep: TwoOrMore = 2
    mesh: MeshSizes = dataclasses.field(default_factory=lambda: {"data": -1, "model": 1})
    sharding: str = "replicated"
    log: Sequence[str] = ("jsonl",)
    nan: Literal["stop", "skip"] = "stop"
    nan_limit: CountOrZero = 10


# Keys that may differ between two runs of one workdir.
MAY_CHANGE = (
    "steps",
    "eval_every",
    "eval_steps",
    "evals",
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


def read_settings(config: Mapping[str, Any]) -> TrainSettings:
    """The trainer's part of a config.  Raises XfmError for a key that nothing reads and for impossible values."""
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    for key in config:
        if key not in names and key not in OTHERS:
            legal = (*OTHERS, *names)
            raise XfmError(f"config has no key {key!r}{nearest(key, legal)}; it has {', '.join(legal)}")
    for key in ("objective", "data"):
        if key not in config:
            raise XfmError(f"config has no {key}; it must say what to train for and on which data")
    given = {name: plain(config[name]) for name in names if name in config}
    check_values(TrainSettings, given, "config.")
    settings = TrainSettings(**given)
    if settings.batch % settings.accumulate:
        raise XfmError(f"config.accumulate={settings.accumulate} does not divide config.batch={settings.batch}")
    return settings
