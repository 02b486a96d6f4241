"""What a run consists of, made from its config, before any array exists."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from xfm.augment import Augment, augment_of
from xfm.data import Batches, open_data, validated
from xfm.data.layout import LAYOUTS, Padded, Tokens
from xfm.errors import XfmError
from xfm.evaluators import Evaluator, build_evaluators
from xfm.objectives import build_objective, evaluated_keys
from xfm.objectives.base import Objective
from xfm.paths import Rules, flatten
from xfm.sharding import make_mesh, rules_named
from xfm.spec import build
from xfm.structures.tokens import check_unpadded
from xfm.train import kept, start, taken, teacher
from xfm.train.checkpoint import Checkpoints
from xfm.train.evaluation import fewest_rows
from xfm.train.found import Found
from xfm.train.layerwise import factors
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
    """The parts of a run, as `setup` makes them from a config."""

    record: Record
    settings: TrainSettings
    workdir: Path
    report: Report
    data: Any
    layout: Padded | Tokens  # of a batch's texts
    objective: Any
    evaluators: list[Evaluator]
    optimiser: Optimiser
    augment: Augment | None
    mesh: jax.sharding.Mesh
    like: State  # shapes, dtypes and shardings of the state
    make_state: Callable[[], State]
    evaluate: Callable
    baseline: dict[str, float]
    checkpoints: Checkpoints

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the record."""
        return self.record.config


def layout_of(settings: TrainSettings, config: Mapping[str, Any]) -> Padded | Tokens:
    """The layout of a batch's texts.  Raises XfmError if the config's networks need another one."""
    layout = build(LAYOUTS, settings.layout)
    if not isinstance(layout, Padded):
        check_unpadded(config.get("model"), config["objective"])
    return layout


def setup(config: Mapping[str, Any], workdir: Path, mode: str, on_event: Listener) -> Run:
    """All parts of a run except its arrays; a config that cannot work is refused before anything slow begins.

    mode: "write" to train, "read" to leave the workdir's checkpoints unchanged.
    """
    settings, report = read_settings(config), Report(on_event)
    given = configured(config, workdir)
    mesh, rules = mesh_of(settings)
    layout = layout_of(settings, given.config)
    evaluators = build_evaluators(given.config.get("evals", []), settings.batch)
    checkpoints = Checkpoints(workdir, settings.keep, mode, say=report.say)
    begun = bool(checkpoints.steps())
    data, record = opened(given, workdir, mode, begun, report)

    objective = objective_of(given.config, data, settings, report)
    augment = augment_of(given.config)
    rows = augmented(batch_shapes(data, settings, layout, mesh), augment)
    key = jax.random.key(settings.seed)
    drawing = SimpleNamespace(init=jax.jit(objective.init))  # one trace serves shapes, state and arrays
    params = jax.eval_shape(drawing.init, key, rows)[0]
    laid = functools.cache(lambda: taken.laid(given.found, objective, params, given.config))
    fresh = given.found is not None and mode == "write" and not begun
    begins = taken.taken(params, laid(), given.config) if fresh else None
    optimiser = optimiser_of(settings, params, objective)

    def first_state():
        zeros = {name: jnp.zeros(row.shape, row.dtype) for name, row in rows.items()}
        return new_state(drawing, optimiser, key, zeros, settings.ema)

    like, notes = sharded(jax.eval_shape(first_state), mesh, rules)
    check_state(like)

    def make_state():
        if given.found is None:
            made = jax.jit(first_state, out_shardings=jax.tree.map(lambda x: x.sharding, like))()
        else:
            one = begins or taken.taken(params, laid(), given.config)
            made = taken.started(first_state, like, laid(), one, objective)
        return teacher.taught(made, given.config)

    name = str(given.config.get("name") or workdir.name)
    report.say(
        *header(name, given.config, params, optimiser.frozen, data, settings, mesh),
        *start_lines(given, begins, params, optimiser),
        *(convert_lines(objective, given.config) if mode == "write" else ()),
        *notes[:5],
        *([f"(and {len(notes) - 5} more)"] if len(notes) > 5 else []),
    )
    baseline = baseline_of(objective, data, report)
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
        augment=augment,
        mesh=mesh,
        like=like,
        make_state=make_state,
        evaluate=make_eval(objective, mesh),
        baseline=baseline,
        checkpoints=checkpoints,
    )


@dataclasses.dataclass(frozen=True)
class Configured:
    """A config with everything that it refers to, before data is opened.

    config: with absolute paths, and with the network and the tokeniser of the checkpoint that it starts from.
    typed: as in Record.  found: that checkpoint, None if there is none.  before: the record of an earlier run in the
    same workdir, None if there is none.
    """

    config: Mapping[str, Any]
    typed: Mapping[str, str]
    found: Found | None
    before: Record | None


def configured(config: Mapping[str, Any], workdir: Path) -> Configured:
    """The config as it is run in `workdir`."""
    before = read_record(workdir)
    config, typed = located(config, before)
    found = start.found_for(config)
    given, config = flat(config), teacher.resolved(start.resolved(config, found))
    typed = {key: words for key, words in typed.items() if flat(config).get(key) == given[key]}  # not what is replaced
    return Configured(config, typed, found, before)


def mesh_of(settings: TrainSettings) -> tuple[jax.sharding.Mesh, Rules]:
    """The mesh of devices and the sharding rules.  Raises XfmError if the mesh does not divide the batch."""
    mesh, rules = make_mesh(settings.mesh), rules_named(settings.sharding)
    ways = mesh.shape["data"] * settings.accumulate
    if settings.batch % ways:
        raise XfmError(
            f"config.batch={settings.batch} is not a multiple of {ways}, the size of the mesh's "
            "data axis times config.accumulate"
        )
    return mesh, rules


def opened(given: Configured, workdir: Path, mode: str, begun: bool, report: Report) -> tuple[Any, Record]:
    """The data, with rows as the network takes them, and the record of the run.

    begun: whether the workdir has checkpoints. Raises XfmError if they are of another config or of other data.
    """
    before = given.before
    if begun:
        if before is None:
            report.say(f"{workdir} has lost its config.json: nothing shows whether its checkpoints are of this config")
        evaluated = evaluated_keys(given.config["objective"])
        require_same_config(workdir, given.config, typed=given.typed, evaluated=evaluated)
    with kept.opened(workdir, {} if before is None else before.kept, mode, report.say) as (folder, seals):
        data = open_data(given.config["data"], folder)
    if given.found is not None:
        start.check_labels(data.classes, given.config, given.found)
        data = taken.adapted(data, given.found, given.config["model"])
    if begun:
        require_same_data(workdir, data.fingerprint)
    record = Record(
        config=given.config,
        data=data.fingerprint,
        typed=given.typed,
        kept=kept.seals(workdir, seals) if mode == "write" else dict(seals),
        metrics=None if before is None else before.metrics,
        classes=list(data.classes),
    )
    return data, record


def objective_of(config: Mapping[str, Any], data: Any, settings: TrainSettings, report: Report) -> Objective:
    """The objective, adapted to the size of an evaluation's batches, which is reported."""
    objective = build_objective(config, data.vocabulary)
    objective, changed = objective.evaluated_in(fewest_rows(len(validated(data)), settings.batch, settings.eval_steps))
    if changed:
        report.say(changed)
    return objective


def batch_shapes(
    data: Any, settings: TrainSettings, layout: Padded | Tokens, mesh: jax.sharding.Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a training batch.  Raises XfmError if the layout does not fit the data, or the batch the memory."""
    batches = Batches(data.train, settings.batch, settings.seed, settings.repeats)
    layout.over(batches, mesh.shape["data"], settings.accumulate)
    shapes = batches.spec()
    check_batch(settings, shapes)
    return {name: jax.ShapeDtypeStruct(*spec) for name, spec in shapes.items()}


def augmented(rows: Mapping[str, Any], augment: Augment | None) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch as the objective sees it."""
    if augment is None:
        return dict(rows)
    return jax.eval_shape(augment, rows, jax.eval_shape(jax.random.key, 0), jnp.int32(0))


def optimiser_of(settings: TrainSettings, params: Any, objective: Any) -> Optimiser:
    """The optimiser of the settings for parameters of an objective's networks, or for their shapes."""
    layers = objective.networks["model"].sublayers() if settings.layer_decay is not None else ()
    return build_optimiser(
        settings.optimiser,
        build_schedule(settings.schedule, settings.steps),
        params,
        decay=settings.decay,
        groups=settings.groups,
        freeze=settings.freeze,
        train_only=settings.train_only,
        clip=settings.clip,
        speed=factors(settings.layer_decay, layers, flatten(params)),
    )


def sharded(shapes: State, mesh: jax.sharding.Mesh, rules: Rules) -> tuple[State, list[str]]:
    """The shapes of a state with their shardings, and a sentence for each axis that is not sharded as the rules say."""
    sharding, notes = state_sharding(shapes, mesh, rules)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, sharding), notes


def start_lines(given: Configured, begins: taken.Taken | None, params: Any, optimiser: Optimiser) -> Iterator[str]:
    """The header's lines about the checkpoint that a new run starts from, and about what trains."""
    if begins is not None:
        yield from taken.lines(begins, given.found, given.config["model"])
    if begins is not None or optimiser.frozen:
        yield trained_line(params, optimiser.frozen)


def convert_lines(objective: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """The header's line about a network of text that `xfm convert` cannot write."""
    reads_text = getattr(getattr(objective, "model", None), "vocab", None) is not None
    if reads_text and (reason := start.kept_here(config)) is not None:
        yield f"xfm convert will not write this network: {reason}"


def baseline_of(objective: Any, data: Any, report: Report) -> dict[str, float]:
    """The baselines of the objective by name, which are reported."""
    baseline = {name: float(value) for name, value in objective.baseline(data).items()}
    unit = getattr(objective, "unit", "nats")
    report.say(*(f"{name} baseline: {value:.4f} {unit}" for name, value in baseline.items()))
    return baseline
