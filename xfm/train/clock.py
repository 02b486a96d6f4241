"""How long steps take, without evaluation, saving and the first step, which compiles."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """A clock of steps: `start(step)` after the first step, then `lap(step)` whenever a rate is reported."""

    def __init__(self):
        self._step, self._mark, self._spent = None, 0.0, {}

    def start(self, step: int) -> None:
        """Starts the clock after `step`; later calls have no effect."""
        if self._step is None:
            self._step, self._mark = step, time.perf_counter()

    def lap(self, step: int) -> tuple[int, float]:
        """The steps and the seconds since the last lap."""
        now = time.perf_counter()
        steps, seconds = step - self._step, now - self._mark
        self._step, self._mark = step, now
        return steps, seconds

    def outside(self, name: str, action: Callable[[], T]) -> T:
        """Runs `action` with the clock stopped, and counts its time under `name`."""
        begin = time.perf_counter()
        try:
            return action()
        finally:
            seconds = time.perf_counter() - begin
            self._mark += seconds
            self._spent[name] = self._spent.get(name, 0.0) + seconds

    def spent(self, name: str) -> float:
        """Seconds spent outside under `name` since this was last asked."""
        return self._spent.pop(name, 0.0)
