"""Requests to stop a run, which then finishes its step, saves, and ends.

With one process, SIGTERM and SIGINT set a flag that the loop reads after each step; a second signal acts at once. With
several processes, JAX's preemption service notices SIGTERM on any of them and lets all agree on one step, so no handler
may be set here. Either way the run ends with exit code 128 + signal, as a scheduler expects of a job that has to be
started again; 0 would mean that it is finished.
"""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class Interrupted(SystemExit):
    """The run was asked to stop and has saved `step`; the exit code is 128 + signal."""

    def __init__(self, step: int, signum: int):
        super().__init__(128 + signum)
        self.step, self.signum = step, signum


class Preemption:
    """Notices requests to stop: `with Preemption() as asked:`, and `asked.to_stop(step)` after every step.

    Leaving restores the old handlers.
    """

    def __init__(self):
        self.signum: int | None = None
        self._old: dict[int, object] = {}

    def __enter__(self) -> "Preemption":
        # Python sets handlers in the main thread only; in others, such as a notebook's worker, signals act as before.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._old[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self._old.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._old = {}

    def to_stop(self, step: int) -> bool:
        """Whether to save now and stop; all processes get the same answer at the same step."""
        if jax.process_count() > 1 and self.signum is None:
            if multihost_utils.reached_preemption_sync_point(step):
                self.signum = signal.SIGTERM
        return self.signum is not None

    def _note(self, signum, frame) -> None:
        self.__exit__()
        self.signum = signum
        text = "finishing the step and saving; send it once more to stop at once"
        os.write(2, f"\n{signal.Signals(signum).name}: {text}\n".encode())  # print is not reentrant
