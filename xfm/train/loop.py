"""The training run, from top to bottom: set up, restore, then step, report, evaluate and save until the last step.

A run is exact: killed at any step and started again in its workdir, it continues as if it had not been interrupted. The
checkpoint holds the whole state; the step determines the data and the random numbers; and what the log had summed since
its last line is saved with the state.
"""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from xfm.data import Batches, prefetch, validated
from xfm.errors import XfmError
from xfm.files import optional
from xfm.sharding import batch_sharding
from xfm.train import curve
from xfm.train.clock import Clock
from xfm.train.evaluation import evaluate_on, weights_of
from xfm.train.kept import seals
from xfm.train.lock import Lock
from xfm.train.logs import FILE as METRICS
from xfm.train.logs import Log, changed_since, has_line
from xfm.train.preempt import Interrupted, Preemption
from xfm.train.record import Record, open_run, open_workdir, to_plain, write_record
from xfm.train.report import Listener, summary
from xfm.train.run import Run, setup
from xfm.train.state import State
from xfm.train.step import make_step
from xfm.train.window import Window


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run has reached.

    valid: metric -> mean over the validation source.  baseline: name -> loss to beat.
    report: the scores of the evaluators over the whole validation source.
    checkpoint: folder of the newest step.  curve: picture of the losses, None without matplotlib.
    state: that after the last step.
    """

    step: int
    valid: dict[str, float]
    baseline: dict[str, float]
    examples: list[str]
    workdir: Path
    checkpoint: Path | None
    curve: Path | None
    state: State = dataclasses.field(repr=False)
    report: dict[str, float] = dataclasses.field(default_factory=dict)


def train(config: Mapping[str, Any], workdir: str | Path, on_event: Listener = None) -> Result:
    """Trains what `config` describes, in `workdir`, continuing from the newest good checkpoint if there is one.

    Relative paths in `config` are relative to the current folder.
    on_event(name, values) is called with the events "start", "log", "evaluate", "save" and "end".
    Raises XfmError for what a user can correct, and Interrupted (a SystemExit) after SIGTERM or SIGINT.
    """
    workdir = open_workdir(workdir)
    with Lock(workdir) as lock:
        return _train(to_plain(config), workdir, lock, on_event)


def _train(config: Mapping[str, Any], workdir: Path, lock: Lock, on_event: Listener) -> Result:
    run = setup(config, workdir, "write", on_event)
    write_record(run.workdir, dataclasses.replace(run.record, metrics=None))
    with contextlib.closing(run.checkpoints), contextlib.closing(run.report):
        state, window = restore(run)
        first, last, settings = int(state.step), run.settings.steps, run.settings
        valid, clock, saved = None, Clock(), first
        due = lambda step: step % settings.eval_every == 0 or step == last  # noqa: E731
        batches = Batches(run.data.train, settings.batch, settings.seed, settings.repeats)
        batches = run.layout.over(batches, run.mesh.shape["data"], settings.accumulate)
        one_step = make_step(
            run.objective,
            run.optimiser,
            accumulate=settings.accumulate,
            ema=settings.ema,
            augment=run.augment,
            norms=settings.norms,
            sharding=jax.tree.map(lambda x: x.sharding, run.like),
        )
        with (
            contextlib.closing(Log(run.workdir, settings.log, first, run.report.say)) as log,
            contextlib.closing(prefetch(batches, batch_sharding(run.mesh), first)) as stream,
            Preemption() as asked,
        ):
            if first == 0 and run.baseline:
                log.write(0, "baseline", run.baseline)
            if first and due(first) and not has_line(run.workdir, first, "valid"):
                valid = validate(run, state, log)  # the run was stopped between saving and validating
            run.report.begin(first, last)
            for step in range(first + 1, last + 1):
                _, batch = next(stream)
                state, metrics = one_step(state, batch)
                clock.start(step)
                window.add(step, metrics)
                run.checkpoints.check()
                lock.check()
                run.report.advance()
                stop = asked.to_stop(step)
                if step % settings.log_every == 0 or step == last:
                    write_line(run, log, window, step, clock, stream.wait_share())
                if step % settings.save_every == 0 or step == last or stop:
                    clock.outside("save", partial(save, run, state, window, log))
                    saved = step
                if stop and step < last:
                    run.checkpoints.wait()
                    raise interrupted(run, step, asked.signum)
                if due(step):
                    valid = clock.outside("evaluate", partial(validate, run, state, log))
            run.checkpoints.wait()
            report = score(run, state, None if has_line(run.workdir, last, "report") else log)
            write_record(run.workdir, ended(run, log))
        valid = valid or validate(run, state, None)  # a run that had ended before
        return finish(run, state, valid, report, saved)


def evaluate(workdir: str | Path, on_event: Listener = None, *, changes: Mapping[str, Any] | None = None) -> Result:
    """The newest good checkpoint of `workdir` on its validation data, with the examples; nothing is written.

    changes: new values for keys of the config that may change: `mesh` for other devices, `eval_steps`, and `evals` for
    other scores.
    """
    workdir, record = open_run(workdir)
    run = setup({**record.config, **to_plain(changes or {})}, workdir, "read", on_event)
    with contextlib.closing(run.checkpoints), contextlib.closing(run.report):
        found = run.checkpoints.restore(run.like)
        if found is None:
            raise XfmError(f"{workdir} holds no checkpoint yet; train it first")
        valid = validate(run, found[0], None)
        return finish(run, found[0], valid, score(run, found[0], None), int(found[0].step))


def restore(run: Run) -> tuple[State, Window]:
    """The newest good checkpoint, or the state of step 0; damaged later steps are moved away."""
    found = run.checkpoints.restore(run.like)
    state, notes = found if found else (run.make_state(), {})
    step = int(state.step)
    if found:
        run.checkpoints.set_aside_after(step)
        run.report.say(f"going on from step {step} of {run.settings.steps}")
        if changed_since(run.workdir, (notes.get("metrics"), run.record.metrics)):
            run.report.say(f"{run.workdir / METRICS} has changed since step {step}: earlier figures may be wrong")
    if step > run.settings.steps:
        raise XfmError(
            f"{run.workdir} is at step {step}, past config.steps={run.settings.steps}; "
            "raise steps or take another workdir"
        )
    newest = f"the newest checkpoint is in {run.checkpoints.folder}"
    window = Window(
        run.settings.nan,
        run.settings.nan_limit,
        newest,
        sums=notes.get("window"),
        skipped=notes.get("skipped", 0),
    )
    return state, window


def write_line(run: Run, log: Log, window: Window, step: int, clock: Clock, wait: float) -> None:
    """Writes a line of training metrics: means over the window, learning rate, rates, and the share of waiting."""
    values = window.means()
    sizes = {name: values.pop(name, 0.0) for name in ("tokens", "examples")}  # of a step
    steps, seconds = clock.lap(step)
    values["learning_rate"] = float(run.optimiser.schedule(step - 1))
    if steps:
        values["steps_per_second"] = steps / seconds
        values.update({f"{name}_per_second": n * steps / seconds for name, n in sizes.items() if n})
    values["data_wait"] = wait
    if passed := dict(getattr(run.data.train, "unreadable", {})):
        values["unreadable"] = float(len(passed))
        for reason in passed.values():
            run.report.once(f"passed over: {reason}")
    values["save_seconds"] = clock.spent("save")
    log.write(step, "train", values)
    run.report.progress(step, values, (run.settings.steps - step) * seconds / max(steps, 1))
    run.report.event("log", step=step, **values)
    failure = getattr(run.objective, "failure", lambda step, values: None)(step, values)
    if failure is not None:
        raise XfmError(f"stopped at step {step}: {failure}")


def validate(run: Run, state: State, log: Log | None) -> dict[str, float]:
    """The metrics over the validation source; if there is a log, they are written and the curve is drawn."""
    values = evaluate_on(
        run.evaluate,
        state,
        validated(run.data),
        run.settings.batch,
        run.settings.eval_steps,
        batch_sharding(run.mesh),
        run.layout,
    )
    step = int(state.step)
    if log is not None:
        log.write(step, "valid", values)
        if jax.process_index() == 0:
            draw(run)
    run.report.say(f"step {step}: validation " + ", ".join(f"{name} {v:.4f}" for name, v in values.items()))
    run.report.event("evaluate", step=step, **values)
    return values


def score(run: Run, state: State, log: Log | None) -> dict[str, float]:
    """The evaluators' scores, written if there is a log. If one fails, as without its library, the reason is reported.

    A name that an earlier evaluator has given too is preceded by the later one's number in config.evals.
    """
    values: dict[str, float] = {}
    for number, one in enumerate(run.evaluators):
        try:
            found = one.run(run.objective.forward, weights_of(state), state.extra, run.data, run.mesh)
        except XfmError as error:
            run.report.once(f"no scores: {error}")
            continue
        values |= {f"{number}/{name}" if name in values else name: value for name, value in found.items()}
    if log is not None and values:
        log.write(int(state.step), "report", values)
    return values


def examples(run: Run, state: State) -> list[str]:
    """The evaluators' examples. If an evaluator cannot make any, the reason is reported."""
    lines: list[str] = []
    for one in run.evaluators:
        try:
            lines += one.examples(run.objective.forward, weights_of(state), state.extra, run.data, run.mesh)
        except XfmError as error:
            run.report.once(f"no examples: {error}")
    return lines


def pictures(run: Run, state: State) -> list[str]:
    """Writes the evaluators' pictures to the workdir and returns a line for each. What fails is reported."""
    lines: list[str] = []
    for one in run.evaluators:
        try:
            made = one.pictures(run.objective.forward, weights_of(state), state.extra, run.data, run.mesh)
            for name, picture in made.items() if jax.process_index() == 0 else ():
                path = run.workdir / f"{name}.png"
                image = optional("PIL.Image", "vision").fromarray(
                    picture[..., 0] if picture.shape[-1] == 1 else picture
                )
                image.save(path)
                lines.append(f"picture: {path}")
        except (XfmError, OSError) as error:
            run.report.once(f"no picture: {error}")
    return lines


def save(run: Run, state: State, window: Window, log: Log) -> None:
    """Begins a checkpoint; it is written while the next steps run."""
    begin = time.perf_counter()
    run.checkpoints.save(state, {**window.notes(), "metrics": log.mark})
    run.report.event("save", step=int(state.step), seconds=time.perf_counter() - begin)


def ended(run: Run, log: Log) -> Record:
    """The record of a run that has ended, with seals of all files that it keeps and the mark of its metrics."""
    return dataclasses.replace(run.record, kept=seals(run.workdir, run.record.kept), metrics=log.mark)


def interrupted(run: Run, step: int, signum: int) -> Interrupted:
    """The exception that ends a run which a signal has stopped and which is saved; it is reported too."""
    name = signal.Signals(signum).name
    run.report.say(f"{name}: stopped at step {step}, saved in {run.workdir}; run again to go on")
    return Interrupted(step, signum)


def finish(run: Run, state: State, valid: dict[str, float], report: dict[str, float], saved: int) -> Result:
    """The result; the summary is printed: validation against the baseline, scores, files, and examples."""
    picture = run.workdir / curve.FILE
    result = Result(
        step=int(state.step),
        valid=valid,
        baseline=run.baseline,
        examples=[*examples(run, state), *pictures(run, state)],
        workdir=run.workdir,
        checkpoint=run.checkpoints.path(saved) if saved else None,
        curve=picture if picture.exists() else None,
        state=state,
        report=report,
    )
    run.report.close()
    run.report.say(*summary(result))
    run.report.event("end", step=result.step, **valid)
    return result


def draw(run: Run) -> None:
    """Draws the loss curve, or says once why it cannot be drawn."""
    name = str(run.config.get("name") or run.workdir.name)
    try:
        if curve.draw_curve(run.workdir, name, run.baseline, getattr(run.objective, "unit", "nats")) is None:
            run.report.once("no loss curve is drawn: matplotlib is missing (install xfm[log])")
    except OSError as error:
        run.report.once(f"the loss curve cannot be written: {error.strerror}")
