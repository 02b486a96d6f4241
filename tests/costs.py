"""What each file of tests costs, in CPU seconds: noted by every run of pytest that finds XFM_COSTS set.

python -m tests.costs FILE [BUDGET]     prints the tables of the runs that were noted in FILE; fails above a budget

CPU seconds are those of the process that runs a test, of its threads and of the processes that it starts and waits
for. Unlike the clock they hardly depend on what else the machine does.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

# CPU seconds of the default run, all processes together. The goal is 960, two cores for eight minutes; this is a guard
# above what was measured, to be lowered with every saving: 2,049 on two cores of an Intel Xeon. On two of an AMD EPYC,
# which run slower when both are busy, it was 1.57 times as much.
DEFAULT = 3800
START = "(imports and collection)"


def cpu() -> float:
    """The CPU seconds so far of this process, and of those it started that have ended."""
    return sum(os.times()[:4])


def by_file(reports: Iterable) -> dict[str, tuple[int, float]]:
    """file -> (tests, CPU seconds) of pytest's reports: those of a test's setup, call and teardown."""
    seconds, tests = Counter(), {}
    for report in reports:
        file = report.nodeid.partition("::")[0]
        seconds[file] += report.cpu
        tests.setdefault(file, set()).add(report.nodeid)
    return {file: (len(tests[file]), seconds[file]) for file in seconds}


def with_start(files: Mapping[str, tuple[int, float]], total: float) -> dict[str, tuple[int, float]]:
    """With a line for what a run took beside its tests; total: its CPU seconds, worker processes included."""
    return {**files, START: (0, total - sum(seconds for _, seconds in files.values()))}


def by_folder(files: Mapping[str, tuple[int, float]]) -> dict[str, tuple[int, float]]:
    """Folder -> (tests, CPU seconds) of what `by_file` gives."""
    tests, seconds = Counter(), Counter()
    for file, (count, cost) in files.items():
        folder = "/".join(file.split("/")[:-1][:2]) or file  # START stays as it is
        tests[folder] += count
        seconds[folder] += cost
    return {folder: (tests[folder], seconds[folder]) for folder in seconds}


def note(file: Path, files: Mapping[str, tuple[int, float]]) -> None:
    """Adds a run to the file, as one line."""
    with file.open("a") as out:
        print(json.dumps(files), file=out)


def added(runs: Iterable[Mapping[str, tuple[int, float]]]) -> dict[str, tuple[int, float]]:
    """All runs together."""
    tests, seconds = Counter(), Counter()
    for run in runs:
        for name, (count, cost) in run.items():
            tests[name] += count
            seconds[name] += cost
    return {name: (tests[name], seconds[name]) for name in seconds}


def table(costs: Mapping[str, tuple[int, float]], most: int | None = None) -> str:
    """One line for each name, the costliest first, `most` of them, and one for all."""
    lines = [f"{'':44}{'tests':>8}{'CPU s':>10}"]
    ranked = sorted(costs.items(), key=lambda item: -item[1][1])
    lines += [f"{name:44}{count:8}{cost:10.1f}" for name, (count, cost) in ranked[:most]]
    tests, seconds = (sum(column) for column in zip((0, 0), *costs.values(), strict=True))
    return "\n".join([*lines, f"{'all':44}{tests:8}{seconds:10.1f}"])


def above(costs: Mapping[str, tuple[int, float]], budget: float) -> str | None:
    """The sentence that says by how much a budget is exceeded; None where it is kept."""
    spent = sum(seconds for _, seconds in costs.values())
    if spent <= budget:
        return None
    return f"these tests took {spent:.0f} CPU seconds and may take {budget:.0f}; make the costliest cheaper"


def main(file: str, budget: str | None = None) -> str | None:
    files = added(map(json.loads, Path(file).read_text().splitlines()))
    print(table(by_folder(files)), table(files, 25), sep="\n\n")
    return None if budget is None else above(files, float(budget))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
