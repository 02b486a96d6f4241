"""Where the metrics of a run go: metrics.jsonl always, TensorBoard if config.log asks for it.

A line of metrics.jsonl is {"step": …, "kind": "train" | "valid" | "baseline" | "report", name: value, …}; a value that
is not finite is written as null. Only process 0 writes.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from xfm.errors import XfmError, nearest
from xfm.fields import shown
from xfm.files import replacing

FILE = "metrics.jsonl"


class JsonLines:
    """A file with one JSON object per line, each written at once.

    Lines after `step`, the step at which the run continues, are dropped, and so are damaged ones, which `say` reports.
    """

    def __init__(self, workdir: Path, step: int, say: Callable[[str], None]):
        self.path = workdir / FILE
        kept = [line for line in read_metrics(workdir, say) if 0 < step and line["step"] <= step]
        content = "".join(json.dumps(line) + "\n" for line in kept).encode()
        with replacing(self.path) as draft:
            draft.write_bytes(content)
        self._file = self.path.open("ab", buffering=0)
        self.mark = _mark(content)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Writes a line.  Raises XfmError if it cannot be written."""
        values = {name: v if math.isfinite(v) else None for name, v in values.items()}
        line = (json.dumps({"step": step, "kind": kind, **values}) + "\n").encode()
        self.mark = [self.mark[0] + len(line), zlib.crc32(line, self.mark[1])]
        try:
            self._file.write(line)
        except OSError as error:
            raise XfmError(
                f"cannot write to {self.path}: {error.strerror}; the checkpoints are untouched: "
                "make room, then run again"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoard:
    """Event files in workdir/tensorboard, with scalars named kind/name; steps after `step` are purged."""

    def __init__(self, workdir: Path, step: int, say: Callable[[str], None]):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise XfmError("config.log asks for tensorboard, which is not installed: install xfm[log]") from None
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Writes each value as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Closes the files."""
        self._writer.close()


class Log:
    """All writers of a run; on processes other than 0 it writes nothing.

    say: called with one sentence about each damaged line of an earlier run.
    """

    def __init__(self, workdir: Path, kinds: Sequence[str], step: int, say: Callable[[str], None]):
        check_kinds(kinds)
        kinds = dict.fromkeys(("jsonl", *kinds)) if jax.process_index() == 0 else ()
        self._writers = {kind: LOGS[kind](workdir, step, say) for kind in kinds}

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Writes the values of a step with every writer."""
        for writer in self._writers.values():
            writer.write(step, kind, values)

    @property
    def mark(self) -> list[int] | None:
        """[bytes, crc32] of metrics.jsonl as it is now; None on a process that writes none."""
        return self._writers["jsonl"].mark if self._writers else None

    def close(self) -> None:
        """Closes every writer."""
        for writer in self._writers.values():
            writer.close()


def read_metrics(workdir: str | Path, say: Callable[[str], None] = lambda text: None) -> list[dict]:
    """The lines of metrics.jsonl; a last line that was cut off is left out.

    say: called with one sentence about each other line that is left out because it is damaged.
    """
    path = Path(workdir) / FILE
    lines = []
    for number, raw in enumerate(_content(path).splitlines(keepends=True), 1):
        line = _line(raw)
        if line is not None:
            lines.append(line)
        elif raw.endswith(b"\n"):
            say(f"{path}:{number} is damaged and left out")
    return lines


def changed_since(workdir: str | Path, marks: Iterable[Sequence[int] | None]) -> bool:
    """Whether the beginning of metrics.jsonl has changed since the file had one of these marks."""
    content = _content(Path(workdir) / FILE)
    return any(mark is not None and _mark(content[: mark[0]]) != list(mark) for mark in marks)


def has_line(workdir: Path, step: int, kind: str) -> bool:
    """Whether metrics.jsonl has a line of that kind for a step."""
    return any(line["step"] == step and line["kind"] == kind for line in read_metrics(workdir))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise XfmError(f"{path} cannot be read: {error.strerror}") from error


def _line(raw: bytes) -> dict[str, Any] | None:
    """The content of a line; None if it lacks a step or a kind, or if anything else in it is not a number or null."""
    try:
        line = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not _is(line.get("step"), int) or not isinstance(line.get("kind"), str):
        return None
    values = [value for name, value in line.items() if name != "kind"]
    return line if all(value is None or _is(value, int | float) for value in values) else None


def _is(value: Any, number) -> bool:
    return isinstance(value, number) and not isinstance(value, bool)


def _mark(content: bytes) -> list[int]:
    """[bytes, crc32]."""
    return [len(content), zlib.crc32(content)]


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises XfmError for a writer that LOGS does not have."""
    for kind in kinds:
        if kind not in LOGS:
            raise XfmError(f"config.log has no kind {shown(kind)}{nearest(kind, LOGS)}; it has {', '.join(LOGS)}")


LOGS = {
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
}
