"""What a run prints: a header, progress, sentences and a summary."""

import math
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xfm.batch import spread_out
from xfm.data.packing import padding_share
from xfm.paths import flatten
from xfm.train.settings import TrainSettings

Listener = Callable[[str, dict[str, Any]], None] | None


class Report:
    """Prints on standard error, from process 0 only, and calls `on_event(name, values)` with the same as data.

    On a terminal there is a progress bar, and elsewhere a line for each call of `progress`.
    """

    def __init__(self, on_event: Listener = None):
        self._listener, self._bar, self._said, self._steps = on_event, None, set(), 0

    def say(self, *lines: str) -> None:
        """Prints each line."""
        if jax.process_index() != 0:
            return
        for line in lines:
            if self._bar is not None:
                self._bar.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)

    def once(self, text: str) -> None:
        """Prints a line that was not printed by `once` before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def event(self, name: str, **values: Any) -> None:
        """Calls `on_event`, if there is one."""
        if self._listener is not None and jax.process_index() == 0:
            self._listener(name, values)

    def begin(self, step: int, steps: int) -> None:
        """Begins the progress of a run of `steps` steps, of which `step` are done."""
        self._steps = steps
        if sys.stderr.isatty() and jax.process_index() == 0:
            from tqdm import tqdm

            columns = shutil.get_terminal_size((100, 24)).columns  # some terminals say 0
            self._bar = tqdm(total=steps, initial=step, unit="step", ncols=columns, mininterval=0.5, file=sys.stderr)

    def advance(self) -> None:
        """Moves the progress bar on by a step."""
        if self._bar is not None:
            self._bar.update()

    def progress(self, step: int, values: Mapping[str, float], left: float) -> None:
        """Shows the loss and the rate at a step.  values: means of the window and rates.  left: seconds to the end."""
        rate = next((f"{_short(v)} {k[:-11]}/s" for k, v in values.items() if k in RATES), "")
        wait = f"data wait {values['data_wait']:.0%}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {values.get('loss', float('nan')):.4f}, {rate}, {wait}", refresh=False)
        else:
            width = len(str(self._steps))
            loss = f"loss {values.get('loss', float('nan')):.4f}"
            self.say(f"step {step:{width}}/{self._steps}  {loss}  {rate}  {wait}  {_clock(left)} left")

    def close(self) -> None:
        """Ends the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


RATES = ("tokens_per_second", "examples_per_second")


def header(
    name: str,
    config: Mapping[str, Any],
    params: Any,
    frozen: Collection[str],
    data: Any,
    settings: TrainSettings,
    mesh: jax.sharding.Mesh,
) -> list[str]:
    """The lines that open a run: model, data, optimiser, devices."""
    sizes = {path: leaf.size for path, leaf in flatten(params).items()}
    still = sum(size for path, size in sizes.items() if path in frozen)
    network = f" with {_article(config['model']['kind'])}" if "model" in config else ""
    shapes = [np.shape(x) for name, x in data.train[0].items() if name.rpartition("/")[2] == "tokens"]
    length = sum(map(math.prod, shapes))
    rows = f"{len(data.train):,} training rows"
    padding = share_of_padding(data.train)
    padded = f", {padding:.0%} padding" if padding else ""
    tokens = f" of {_sizes(shapes)} tokens ({_short(len(data.train) * length)}{padded})" if length else ""
    epochs = settings.steps * settings.batch / len(data.train)
    devices = jax.devices()
    kind = getattr(devices[0], "device_kind", devices[0].platform)
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return [
        f"{name}: {config['objective']['kind']}{network}, {_short(sum(sizes.values()))} parameters"
        + (f", {_short(still)} of them frozen" if still else ""),
        f"data: {rows}{tokens}, {len(data.valid):,} rows for validation; "
        f"{settings.steps:,} steps of {settings.batch} rows are {epochs:.2f} epochs",
        f"devices: {len(devices)} × {kind}, data={mesh.shape['data']} model={mesh.shape['model']}, "
        f"sharding {settings.sharding}{processes}",
        *data.notes,
    ]


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"


def _sizes(shapes: Sequence[tuple[int, ...]]) -> str:
    """The tokens of a row as text: 128, or for three texts 3 × 128, or 32 + 128 + 128 if their lengths differ."""
    if len(set(shapes)) == 1:
        shapes = [shapes[0] if len(shapes) == 1 else (len(shapes), *shapes[0])]
    return " + ".join(" × ".join(map(str, shape)) for shape in shapes)


def share_of_padding(source: Any, most: int = 256) -> float:
    """The share of padding in the rows of a source, or in `most` rows spread over it; 0 if rows have no segments."""
    names = [name for name in source[0] if name.rpartition("/")[2] == "segments"]
    if not names:
        return 0.0
    some = [source[i] for i in spread_out(len(source), most)]
    return padding_share({"segments": np.concatenate([np.ravel(row[name]) for row in some for name in names])})


def summary(result: Any) -> list[str]:
    """The lines that end a run: validation against the baseline, scores, files and examples."""
    lines, loss = [], result.valid.get("loss")
    for name, value in result.baseline.items() if loss is not None else ():
        verdict = "better" if loss < value else "worse"
        lines.append(
            f"validation loss {loss:.4f}, {abs(value - loss):.4f} {verdict} than the {name} baseline {value:.4f}"
        )
    if result.report:
        lines.append("scores: " + ", ".join(f"{name} {value:.4f}" for name, value in result.report.items()))
    if result.checkpoint is not None:
        lines.append(f"checkpoint: {result.checkpoint}")
    if result.curve is not None:
        lines.append(f"curve: {result.curve}")
    return lines + _listed("examples:", result.examples)


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []


def _short(number: float) -> str:
    """1234567 -> 1.23M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
