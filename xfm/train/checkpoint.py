"""Checkpoints, written by Orbax, with checksums and with a way back to the last good step.

Orbax writes a step atomically but does not notice a flipped bit when it reads one back; a failed save in the background
is silent until the next; and the newest step may be a damaged one. Hence each step has a JSON item with the layout and
a checksum of every array, `check` raises if the last save has failed, and `restore` goes back to a good step.
"""

import contextlib
import functools
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.sharding import first_replica
from xfm.train.proof import checksums, layout, sealed, unsealed
from xfm.train.state import State

T = TypeVar("T")

FOLDER, DAMAGED = "checkpoints", "damaged"
COMMIT = "commit_success.txt"  # Orbax's mark of a step that is whole
SMALL = 2**20  # bytes of an array of which one copy is saved whole


class Checkpoints:
    """The checkpoints of one workdir, of which the `keep` (at least 2) newest stay.

    mode: "write", or "read" to change nothing, not even the files of a run that is still writing.
    say: called with one sentence about each step that turns out damaged; by default it is printed on standard error.
    """

    def __init__(self, workdir: Path, keep: int = 2, mode: str = "write", say: Callable[[str], None] | None = None):
        self.workdir, self.say = Path(workdir).absolute(), say or functools.partial(print, file=sys.stderr)
        self.folder = self.workdir / FOLDER
        modes = {
            "write": dict(max_to_keep=max(keep, 2), cleanup_tmp_directories=True),
            "read": dict(read_only=True, create=False),
        }
        self._end_silence = _silence()
        self._uncommitted = _uncommitted(self.folder)  # before Orbax cleans up
        options = ocp.CheckpointManagerOptions(**modes[mode], **_atomic(), async_options=_folders_first())
        names = ("state", "proof")
        with _as_sentence(f"the checkpoints in {self.folder} cannot be opened"):
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=names)
        self._saving: int | None = None
        self._failed = False

    def steps(self) -> list[int]:
        """The steps that were committed, oldest first."""
        with _as_sentence(f"the checkpoints in {self.folder} cannot be listed"):
            self._manager.reload()
            return sorted(self._manager.all_steps())

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / str(step)

    def save(self, state: State, notes: dict[str, Any]) -> None:
        """Begins to save; the state may be donated at once. `notes` is JSON data that `restore` returns.

        Raises XfmError if this save or the one before fails.
        """
        self.wait()
        # Orbax lets each device write a part of what all of them hold, and compiles a program to cut each part.
        step, tree = int(state.step), jax.tree.map(first_replica, as_tree(state))
        proof = {"layout": layout(tree), "checksums": checksums(flatten(tree)), "notes": notes}
        written = ocp.args.StandardSave(jax.tree.map(_one_copy, tree))
        items = ocp.args.Composite(state=written, proof=ocp.args.JsonSave(sealed(proof)))
        self._saving = step
        self._guarded(lambda: self._manager.save(step, args=items, force=True))

    def check(self) -> None:
        """Raises XfmError if the save in the background has failed. It costs nothing, so call it after every step."""
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Returns when the last save is on disk; raises XfmError if it failed."""
        self._guarded(self._manager.wait_until_finished)
        self._saving = None

    def restore(self, like: State) -> tuple[State, dict[str, Any]] | None:
        """The newest good step and its notes, or None where nothing was saved yet.

        like: State of ShapeDtypeStructs with shardings. For each damaged step it says a sentence and tries the step
        before it. Raises XfmError if every step is damaged, or if a step is whole but of another model.
        """
        steps = self.steps()
        for step in sorted(self._uncommitted - set(steps), reverse=True):
            if not steps or step > steps[-1]:
                self.say(
                    f"the checkpoint of step {step} in {self.folder} is not used: it has no {COMMIT}, because its save "
                    "was cut short or is still going on, or because the file was lost; "
                    + (f"step {steps[-1]} is the newest that has one" if steps else "no earlier step has one")
                )
        found = self._newest_good(steps, lambda step: self._read(step, like))
        return None if found is None else found[1]

    def weights(self) -> dict[str, np.ndarray]:
        """The parameters of the newest good step, by path; their moving average if there is one.

        For each damaged step it says a sentence and tries the step before it. Raises XfmError where no step is whole.
        """
        return self.newest()[1]

    def newest(self) -> tuple[int, dict[str, np.ndarray], dict[str, Any]]:
        """The newest good step, its `weights`, and the notes that were saved beside them."""
        found = self._newest_good(self.steps(), self._weights)
        if found is None:
            raise XfmError(f"{self.folder} holds no checkpoint yet; train it first")
        step, (weights, notes) = found
        return step, weights, notes

    def _newest_good(self, steps: Sequence[int], read: Callable[[int], T]) -> tuple[int, T] | None:
        """The newest of the steps that can be read, and what `read` makes of it; None if there are no steps.

        For each damaged step it says a sentence. Raises XfmError if every step is damaged.
        """
        bad = []
        for step in reversed(steps):
            found, reason = None, None
            with _hushed():
                try:
                    found = read(step)
                except (XfmError, KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # readers of damaged files raise anything, even panics
                    reason = _first_line(error)
                if reason is not None:
                    gc.collect()  # now, while the warnings about what the read has left behind are silenced
            if reason is None:
                if bad:
                    self.say(f"going back to the checkpoint of step {step}, which is whole")
                return step, found
            bad.append(f"step {step}: {reason}")
            self.say(f"the checkpoint of step {step} in {self.folder} is damaged ({reason})")
        if bad:
            raise XfmError(
                f"no checkpoint in {self.folder} can be read ({'; '.join(bad)}): start again in another workdir"
            )
        return None

    def _weights(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        proof = self._manager.restore(step, args=ocp.args.Composite(proof=ocp.args.JsonRestore()))
        proof = unsealed(proof["proof"])
        which = "ema" if any(path.startswith("ema/") for path in proof["layout"]) else "params"
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = {
            path: jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=here)
            for path, (shape, dtype) in proof["layout"].items()
            if path.startswith(f"{which}/")
        }
        tree = traverse_util.unflatten_dict(like, sep="/")
        restore = ocp.args.PyTreeRestore(
            tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree), partial_restore=True
        )
        found = flatten(self._manager.restore(step, args=ocp.args.Composite(state=restore))["state"])
        sums = checksums(found)
        wrong = [path for path in like if sums[path] != proof["checksums"][path]]
        if wrong:
            raise ValueError(f"the checksum of {wrong[0]} is wrong")
        return {path.removeprefix(f"{which}/"): np.asarray(x) for path, x in found.items()}, proof["notes"]

    def set_aside_after(self, step: int) -> None:
        """Moves the steps after `step` to workdir/damaged, because training may write them again."""
        later = [s for s in self.steps() if s > step]
        ocp.multihost.sync_global_processes("xfm: steps listed")
        for old in later if jax.process_index() == 0 else ():
            target = self.workdir / DAMAGED / str(old)
            target.parent.mkdir(exist_ok=True)
            while target.exists():
                target = target.with_name(target.name + "x")
            self.path(old).rename(target)
            self.say(f"moved the damaged checkpoint of step {old} to {target}")
        ocp.multihost.sync_global_processes("xfm: damaged steps set aside")
        self._manager.reload()

    def close(self) -> None:
        """Ends Orbax's work. Raises XfmError if a save fails only now, but not if one has failed before."""
        if not self._failed:
            self._guarded(self._manager.close)
            self._end_silence()
            return
        with contextlib.suppress(Exception):  # the failed save was reported before
            self._manager.close()

    def _read(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        proof = self._manager.restore(step, args=ocp.args.Composite(proof=ocp.args.JsonRestore()))
        proof = unsealed(proof["proof"])
        tree = as_tree(like)
        self._require_layout(step, proof["layout"], layout(tree))
        item = ocp.args.Composite(state=ocp.args.StandardRestore(tree))
        tree = self._manager.restore(step, args=item)["state"]
        if layout(tree) != proof["layout"]:
            raise ValueError("an array came back with another dtype")
        sums = checksums(flatten(tree))
        wrong = [path for path, value in proof["checksums"].items() if sums[path] != value]
        if wrong:
            raise ValueError(f"the checksum of {wrong[0]} is wrong{_more(len(wrong) - 1)}")
        return State(**{"ema": None, **tree}), proof["notes"]

    def _require_layout(self, step: int, there: dict, here: dict) -> None:
        differ = [path for path in {**there, **here} if there.get(path) != here.get(path)]
        differ.sort(key=lambda path: not path.startswith("params/"))
        if differ:
            lines = [f"{p} is {_shape(there.get(p))} there and {_shape(here.get(p))} here" for p in differ[:3]]
            raise XfmError(
                f"the checkpoint of step {step} in {self.folder} does not fit this model: "
                f"{', '.join(lines)}{_more(len(differ) - 3)}; use the config and data that it was "
                "trained with, or another workdir"
            )

    def _guarded(self, action) -> None:
        """Runs a part of a save; any error in it becomes one sentence, and the manager forgets the step."""
        try:
            action()
        except Exception as error:
            step, self._saving, self._failed = self._saving, None, True
            what = "checkpoints" if step is None else f"checkpoint of step {step}"
            steps = []
            with contextlib.suppress(Exception):  # the folder may be what failed
                steps = self.steps()
            left = f"step {steps[-1]} is the newest that is whole" if steps else "no earlier one exists"
            raise XfmError(
                f"the {what} could not be saved in {self.folder}: "
                f"{_first_line(error)}; {left}: make room or repair the folder, then run again to "
                "continue from there"
            ) from error


def as_tree(state: State) -> dict[str, Any]:
    """The state as a dict, without what is None; parameters come first, so that messages name them first."""
    names = ("params", "ema", "extra", "opt_state", "step", "rng")
    return {name: getattr(state, name) for name in names if getattr(state, name) is not None}


def _one_copy(x: jax.Array) -> jax.Array:
    """A small array that all devices of the only process hold: as one of them holds it. Any other array stays.

    Orbax writes a slice of each copy, and compiles a program for each slice. That takes longer than a small array does.
    """
    whole = jax.process_count() == 1 and x.is_fully_replicated and x.nbytes <= SMALL
    return x.addressable_shards[0].data if whole else x


def _atomic() -> dict:
    """Options by which a step counts only when it has its commit file, on every file system; none in older Orbax."""
    try:
        from orbax.checkpoint.options import AtomicityMode, AtomicityOptions
    except ImportError:
        return {}
    return {"atomicity_options": AtomicityOptions(mode=AtomicityMode.COMMIT_FILE)}


def _folders_first() -> ocp.AsyncOptions:
    """Options by which a step's folders are made before its threads start.

    Otherwise, if the folders cannot be made, threads that cannot be ended wait 300 s for them, and the program with it.
    """
    return ocp.AsyncOptions(create_directories_asynchronously=False)


def _uncommitted(folder: Path) -> set[int]:
    """The steps without a commit file, where this Orbax writes such files."""
    if not _atomic() or not folder.is_dir():
        return set()
    with _as_sentence(f"the checkpoints in {folder} cannot be listed"):
        return {int(one.name) for one in folder.iterdir() if one.name.isdecimal() and not (one / COMMIT).exists()}


@contextlib.contextmanager
def _as_sentence(what: str):
    """Turns any error inside into an XfmError that says `what`, and why."""
    try:
        yield
    except Exception as error:
        raise XfmError(f"{what}: {_first_line(error)}") from error


def _silence() -> Callable[[], None]:
    """Silences tracebacks that Orbax's threads log of errors reported here; returns what ends the silence."""
    logger, hook = logging.getLogger("absl"), sys.unraisablehook

    def own(unraisable) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):  # raised by the writers of a failed save
            hook(unraisable)

    def end() -> None:
        logger.removeFilter(_not_orbax)
        if sys.unraisablehook is own:
            sys.unraisablehook = hook

    logger.addFilter(_not_orbax)
    sys.unraisablehook = own
    return end


def _not_orbax(record: logging.LogRecord) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


@contextlib.contextmanager
def _hushed():
    """Silences warnings about the coroutines that Orbax does not await when a read fails."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = hook


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _shape(entry: list | None) -> str:
    return "absent" if entry is None else f"{entry[1]}{entry[0]}"


def _more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""
