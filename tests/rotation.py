"""Which third of a stage's tests `.ci/run` runs: another one for each commit, and always those of what changed.

python -m tests.rotation STAGE     prints the options of pytest that choose a stage's tests, `--turn=N --always=…`
python -m tests.rotation turn STAGE     succeeds where a stage that runs whole or not at all is to run

Of the files in LONG, whose tests take a minute each, it is half of a third. Commits of all six remainders thus run
everything that one commit runs with XFM_ALL=1, which chooses all tests. The first three stages take different thirds of
one commit. This file needs nothing but Python.
"""

import os
import subprocess
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAGES = ("slow", "floor", "newest", "tpu", "hopper")
APART = ("tests/kernels/test_tpu_compile.py",)  # files whose tests share nothing, as those that are slow
LONG = ("tests/configs/test_train_tiny.py", "tests/configs/test_probes.py", "tests/kernels/test_tpu_vision.py")
COMMITS = 5  # whose changes count as new


def turn_of(commit: str, stage: str) -> int:
    """The turn, 0 to 5, of a stage at a commit, given by its hash; its remainder by 3 is the third that runs."""
    return (int(commit, 16) + STAGES.index(stage)) % 6


def keeps(nodeid: str, slow: bool, turn: int, always: Iterable[str]) -> bool:
    """Whether a test is run at a turn, or of a file that is always run.

    Tests of a file share fixtures and compiled functions, so they stay together; those that are slow share little, so
    each is drawn by itself.
    """
    file = nodeid.partition("::")[0]
    parts = 6 if slow and file in LONG else 3
    drawn = zlib.crc32((nodeid if slow or file in APART else file).encode())
    return file in always or drawn % parts == turn % parts


def related(changed: Iterable[str], tests: Iterable[str]) -> list[str]:
    """The test files among `tests` that changed, and those of each module that did.

    xfm/train/step.py has tests/train/test_step.py. A module that has no file of its name has all of its room's, since
    suites run over whole tables: xfm/parts/norm/rmsnorm.py those in tests/parts. All those of kernels go with each
    kernel. A tool without a room, such as xfm/spec.py, has those of its name only.
    """
    tests = sorted(tests)
    return sorted({file for path in changed for file in (path, *_of_module(path, tests)) if file in tests})


def _of_module(path: str, tests: Sequence[str]) -> list[str]:
    parts = Path(path).parts
    if parts[0] == "kernels":
        return [file for file in tests if file.startswith("tests/kernels/")]
    if parts[0] != "xfm":
        return []
    own = [file for file in tests if Path(file).name == f"test_{Path(path).stem}.py"]
    if len(parts) == 2:
        return own
    room = [file for file in tests if file.startswith(f"tests/{parts[1]}/")]
    return [file for file in own if file in room] or room


def options(stage: str) -> list[str]:
    """Those of pytest; none where XFM_ALL is set."""
    if os.environ.get("XFM_ALL"):
        return []
    return [f"--turn={turn_of(commit(), stage)}", f"--always={','.join(related(changes(), files()))}"]


def turn(stage: str) -> bool:
    """Whether a stage of kernels is to run: where a kernel or a test of them changed, and at every third commit."""
    new = any(file.startswith("tests/kernels/") for file in related(changes(), files()))
    return bool(os.environ.get("XFM_ALL")) or new or turn_of(commit(), stage) % 3 == 0


def commit() -> str:
    return _git("rev-parse", "HEAD")[0]


def changes() -> list[str]:
    """The files that the last COMMITS commits changed."""
    count = int(_git("rev-list", "--first-parent", "--count", "HEAD")[0])
    return _git("diff", "--name-only", f"HEAD~{min(COMMITS, count - 1)}", "HEAD")


def files() -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/test_*.py")]


def _git(*words: str) -> list[str]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


if __name__ == "__main__":
    if sys.argv[1] == "turn":
        sys.exit(not turn(sys.argv[2]))
    print(*options(sys.argv[1]))
