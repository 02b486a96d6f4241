"""Metrics of the steps since the last report, fetched without delaying the device, and the NaN policy."""

from collections import deque
from collections.abc import Mapping

import jax

from xfm.errors import XfmError


class Window:
    """Sums and counts by metric, exact over steps.  A step's metrics are fetched after `lag` later steps were sent.

    nan, nan_limit: see TrainSettings.  where: words for the newest checkpoint.  sums, skipped: what an earlier run had
    when it saved, so that the next line is the one that it would have written.
    """

    def __init__(self, nan: str, nan_limit: int, where: str, *, sums=None, skipped: int = 0, lag: int = 2):
        self.sums = {name: tuple(pair) for name, pair in (sums or {}).items()}
        self.skipped, self.last_good = skipped, None
        self._nan, self._limit, self._where, self._lag = nan, nan_limit, where, lag
        self._sent: deque = deque()

    def add(self, step: int, metrics: Mapping) -> None:
        """Takes the metrics of `step`, still on the device.  Raises XfmError if the NaN policy stops the run."""
        self._sent.append((step, metrics))
        while len(self._sent) > self._lag:
            self._fetch()

    def settle(self) -> None:
        """Fetches all that was sent, waiting for it."""
        while self._sent:
            self._fetch()

    def means(self) -> dict[str, float]:
        """name -> sum / count over the window, which begins anew; a metric of count 0 is left out."""
        self.settle()
        means = {name: total / count for name, (total, count) in self.sums.items() if count}
        self.sums = {}
        return means

    def notes(self) -> dict:
        """What a checkpoint keeps of the window, as JSON data."""
        self.settle()
        return {
            "window": {name: list(pair) for name, pair in self.sums.items()},
            "skipped": self.skipped,
        }

    def _fetch(self) -> None:
        step, metrics = self._sent.popleft()
        metrics = jax.device_get(metrics)
        for name, (total, count) in metrics.items():
            before = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = before[0] + float(total), before[1] + float(count)
        if not metrics["skipped"][0]:
            self.last_good = step
            return
        self.skipped += 1
        if self._nan == "stop" or self.skipped > self._limit:
            good = (
                "no step of this run was good" if self.last_good is None else f"the last good step is {self.last_good}"
            )
            how = (
                f"that was skipped step {self.skipped} and config.nan_limit is {self._limit}"
                if self._nan == "skip"
                else "config.nan='skip' would pass over such steps"
            )
            raise XfmError(
                f"the loss or its gradient is not finite at step {step}: the update was not made, "
                f"{good}, {self._where}; lower the learning rate or clip more ({how})"
            )
