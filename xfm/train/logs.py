"""Where the numbers of a run go: metrics.jsonl always, TensorBoard where asked for.

A line of metrics.jsonl is {"step": …, "kind": "train" | "valid" | "baseline", name: value, …}; a
value that is not finite is written as null. Only process 0 writes.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from xfm.errors import XfmError, nearest
from xfm.fields import shown

FILE = "metrics.jsonl"


class JsonLines:
    """One JSON object a line, written at once; lines past `step`, from a run that went on and was
    lost, are dropped.
    """

    def __init__(self, workdir: Path, step: int):
        self.path = workdir / FILE
        kept = [line for line in read_metrics(workdir) if 0 < step and line["step"] <= step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(part, self.path)
        self._file = self.path.open("ab", buffering=0)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        values = {name: v if math.isfinite(v) else None for name, v in values.items()}
        line = json.dumps({"step": step, "kind": kind, **values}) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise XfmError(
                f"cannot write to {self.path}: {error.strerror}; the checkpoints are untouched: "
                "make room, then run again"
            ) from None

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files in workdir/tensorboard, scalars named kind/name; later steps of a lost run are
    purged.
    """

    def __init__(self, workdir: Path, step: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise XfmError("config.log asks for tensorboard, which is not installed: install xfm[log]") from None
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class Log:
    """All writers of a run; on processes other than 0 it writes nothing."""

    def __init__(self, workdir: Path, kinds: Sequence[str], step: int):
        check_kinds(kinds)
        kinds = dict.fromkeys(("jsonl", *kinds)) if jax.process_index() == 0 else ()
        self._writers = [LOGS[kind](workdir, step) for kind in kinds]

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        for writer in self._writers:
            writer.write(step, kind, values)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def read_metrics(workdir: str | Path) -> list[dict]:
    """The lines of metrics.jsonl; a last line that was cut off is left out."""
    path = Path(workdir) / FILE
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def has_line(workdir: Path, step: int, kind: str) -> bool:
    return any(line["step"] == step and line["kind"] == kind for line in read_metrics(workdir))


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises XfmError for a writer that LOGS does not have."""
    for kind in kinds:
        if kind not in LOGS:
            raise XfmError(f"config.log has no kind {shown(kind)}{nearest(kind, LOGS)}; it has {', '.join(LOGS)}")


LOGS = {
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
}
