"""What a run consists of, made from its config, before any array exists."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from xfm.data import Batches, open_data
from xfm.data.layout import LAYOUTS, Padded, Tokens
from xfm.errors import XfmError
from xfm.evaluators import Evaluator, build_evaluators
from xfm.objectives import build_objective, evaluated_keys
from xfm.sharding import make_mesh, rules_named
from xfm.spec import build
from xfm.structures.tokens import check_unpadded
from xfm.train import kept, start, taken
from xfm.train.checkpoint import Checkpoints
from xfm.train.evaluation import fewest_rows
from xfm.train.memory import check_batch, check_state
from xfm.train.optimiser import Optimiser, build_optimiser
from xfm.train.record import Record, flat, located, read_record, require_same_config, require_same_data
from xfm.train.report import Listener, Report, header
from xfm.train.schedules import build_schedule
from xfm.train.settings import TrainSettings, read_settings
from xfm.train.state import State, new_state, state_sharding
from xfm.train.step import make_eval
from xfm.train.trained import trained_line


@dataclasses.dataclass(frozen=True)
class Run:
    """What `setup` makes of a config; the phases of the loop read it."""

    record: Record
    settings: TrainSettings
    workdir: Path
    report: Report
    data: Any
    layout: Padded | Tokens  # of a batch's texts
    objective: Any
    evaluators: list[Evaluator]
    optimiser: Optimiser
    mesh: jax.sharding.Mesh
    like: State  # shapes, dtypes and shardings of the state
    make_state: Callable[[], State]
    evaluate: Callable
    baseline: dict[str, float]
    checkpoints: Checkpoints

    @property
    def config(self) -> Mapping[str, Any]:
        return self.record.config


def layout_of(settings: TrainSettings, config: Mapping[str, Any]) -> Padded | Tokens:
    """How the texts of a batch lie; XfmError where the config's networks need them otherwise."""
    layout = build(LAYOUTS, settings.layout)
    if not isinstance(layout, Padded):
        check_unpadded(config.get("model"), config["objective"])
    return layout


def setup(config: Mapping[str, Any], workdir: Path, mode: str, on_event: Listener) -> Run:
    """Everything but the arrays; refuses what cannot work before anything slow begins.

    mode: "write" to train, "read" to leave the workdir's checkpoints alone.
    """
    settings, report = read_settings(config), Report(on_event)
    before = read_record(workdir)
    config, typed = located(config, before)
    found = start.found_for(config)
    given, config = flat(config), start.resolved(config, found)
    typed = {key: words for key, words in typed.items() if flat(config).get(key) == given[key]}  # not what is replaced
    mesh, rules = make_mesh(settings.mesh), rules_named(settings.sharding)
    ways = mesh.shape["data"] * settings.accumulate
    if settings.batch % ways:
        raise XfmError(
            f"config.batch={settings.batch} is not a multiple of {ways}, the size of the mesh's "
            "data axis times config.accumulate"
        )
    layout = layout_of(settings, config)
    evaluators = build_evaluators(config.get("evals", []), settings.batch)
    checkpoints = Checkpoints(workdir, settings.keep, mode, say=report.say)
    begun = bool(checkpoints.steps())
    if begun:
        if before is None:
            report.say(f"{workdir} has lost its config.json: nothing shows whether its checkpoints are of this config")
        require_same_config(workdir, config, typed=typed, evaluated=evaluated_keys(config["objective"]))
    with kept.opened(workdir, {} if before is None else before.kept, mode, report.say) as (folder, seals):
        data = open_data(config["data"], folder)
    if found is not None:
        start.check_labels(data.classes, config, found)
        data = taken.adapted(data, found, config["model"])
    if begun:
        require_same_data(workdir, data.fingerprint)
    record = Record(
        config=config,
        data=data.fingerprint,
        typed=typed,
        kept=kept.seals(workdir, seals) if mode == "write" else dict(seals),
        metrics=None if before is None else before.metrics,
        classes=list(data.classes),
    )

    objective = build_objective(config, data.vocabulary)
    objective, changed = objective.evaluated_in(fewest_rows(len(data.valid), settings.batch, settings.eval_steps))
    if changed:
        report.say(changed)
    batches = Batches(data.train, settings.batch, settings.seed)
    layout.over(batches, mesh.shape["data"], settings.accumulate)  # raises where it does not fit the data
    shapes = batches.spec()
    check_batch(settings, shapes)
    batch = {name: jax.ShapeDtypeStruct(*spec) for name, spec in shapes.items()}
    key = jax.random.key(settings.seed)
    params = jax.eval_shape(lambda b: objective.init(key, b)[0], batch)
    fresh_start = found is not None and mode == "write" and not checkpoints.steps()
    begins = taken.taken(params, found, config) if fresh_start else None
    optimiser = build_optimiser(
        settings.optimiser,
        build_schedule(settings.schedule, settings.steps),
        params,
        decay=settings.decay,
        groups=settings.groups,
        freeze=settings.freeze,
        train_only=settings.train_only,
        clip=settings.clip,
    )

    def first_state():
        zeros = {name: jnp.zeros(*spec) for name, spec in shapes.items()}
        return new_state(objective, optimiser, key, zeros, settings.ema)

    def make_state():
        state = jax.jit(first_state, out_shardings=sharding)()
        return state if found is None else taken.started(state, found, begins or taken.taken(params, found, config))

    like = jax.eval_shape(first_state)
    sharding, notes = state_sharding(like, mesh, rules)
    like = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, sharding)
    check_state(like)
    name = str(config.get("name") or workdir.name)
    for line in header(name, config, params, optimiser.frozen, data, settings, mesh):
        report.say(line)
    for line in taken.lines(begins, found, config["model"]) if fresh_start else ():
        report.say(line)
    if fresh_start or optimiser.frozen:
        report.say(trained_line(params, optimiser.frozen))
    reads_text = getattr(getattr(objective, "model", None), "vocab", None) is not None
    if mode == "write" and reads_text and (reason := start.kept_here(config)) is not None:
        report.say(f"xfm convert will not write this network: {reason}")
    for line in notes[:5] + ([f"(and {len(notes) - 5} more)"] if len(notes) > 5 else []):
        report.say(line)
    baseline = {name: float(value) for name, value in objective.baseline(data).items()}
    for baseline_name, value in baseline.items():
        report.say(f"{baseline_name} baseline: {value:.4f} {getattr(objective, 'unit', 'nats')}")
    report.event("start", params=params, baseline=baseline, notes=notes)
    return Run(
        record=record,
        settings=settings,
        workdir=workdir,
        report=report,
        data=data,
        layout=layout,
        objective=objective,
        evaluators=evaluators,
        optimiser=optimiser,
        mesh=mesh,
        like=like,
        make_state=make_state,
        evaluate=make_eval(objective, mesh),
        baseline=baseline,
        checkpoints=checkpoints,
    )
