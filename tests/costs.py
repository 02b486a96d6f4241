"""What each folder of tests costs, noted by every run of pytest that finds XFM_COSTS set, and printed as a table.

python -m tests.costs FILE     prints the table of the runs that were noted in FILE
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path


def by_folder(reports: Iterable) -> dict[str, tuple[int, float]]:
    """folder -> (tests, seconds) of pytest's reports: a test's seconds are those of its setup, call and teardown."""
    seconds, tests = Counter(), {}
    for report in reports:
        folder = report.nodeid.rpartition("/")[0] if "/" in report.nodeid else "tests"
        folder = "/".join(folder.split("::")[0].split("/")[:2])
        seconds[folder] += report.duration
        tests.setdefault(folder, set()).add(report.nodeid)
    return {folder: (len(tests[folder]), seconds[folder]) for folder in seconds}


def note(file: Path, folders: Mapping[str, tuple[int, float]]) -> None:
    """Adds a run to the file, as one line."""
    with file.open("a") as out:
        print(json.dumps(folders), file=out)


def table(runs: Iterable[Mapping[str, tuple[int, float]]]) -> str:
    """The folders of all runs together, the costliest first; seconds are those of one process after the other."""
    tests, seconds = Counter(), Counter()
    for run in runs:
        for folder, (count, cost) in run.items():
            tests[folder] += count
            seconds[folder] += cost
    lines = [f"{'folder':24}{'tests':>8}{'seconds':>10}"]
    lines += [f"{folder:24}{tests[folder]:8}{cost:10.0f}" for folder, cost in seconds.most_common()]
    return "\n".join([*lines, f"{'all':24}{sum(tests.values()):8}{sum(seconds.values()):10.0f}"])


if __name__ == "__main__":
    print(table(map(json.loads, Path(sys.argv[1]).read_text().splitlines())))
