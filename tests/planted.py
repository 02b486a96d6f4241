"""Plants the mistakes of tests/mistakes, one at a time, in a copy of the tree, and says which the tests catch.

    python -m tests.planted [WORDS]

runs those whose description has the words, all by default, in about half a minute each on one core. The tests that are
named must pass without a mistake. It ends with 1 where a mistake is missed, or is no longer to be planted as it stands.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mistakes import MISTAKES, Mistake

ROOT = Path(__file__).parent.parent
PASSED, FAILED = 0, 1  # of pytest's exit codes; others say that the tests did not run


def copied(folder: Path) -> Path:
    """The files that git knows or would add, with `xfm` holding what the wheel puts there."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for name in ("kernels", "configs"):
        (folder / "xfm" / name).symlink_to(folder / name)
    return folder


def pytest(folder: Path, tests: str) -> subprocess.CompletedProcess:
    """Runs named tests of the copy; what follows -k is one argument."""
    files, _, chosen = tests.partition(" -k ")
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(files)]
    own = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    words += ["-k", chosen] if chosen else []
    return subprocess.run(words, cwd=folder, env=os.environ | own, capture_output=True, text=True)


def clean(chosen: Sequence[Mistake]) -> list[str]:
    """The tests of all mistakes, one run for each file."""
    of_file: dict[str, list[str]] = {}
    for one in chosen:
        file, _, words = one.tests.partition(" -k ")
        of_file.setdefault(file, []).append(f"({words})")
    return [f"{file} -k {' or '.join(dict.fromkeys(words))}" for file, words in of_file.items()]


def planted(folder: Path, one: Mistake) -> str:
    """ "caught", "MISSED", or what keeps the mistake from being planted."""
    file = folder / one.file
    text = file.read_text() if file.exists() else ""
    if text.count(one.old) != 1:
        return f"STALE: its text stands {text.count(one.old)} times in {one.file}"
    file.write_text(text.replace(one.old, one.new))
    try:
        found = pytest(folder, one.tests)
    finally:
        file.write_text(text)
    if found.returncode == FAILED:
        return "caught"
    return "MISSED" if found.returncode == PASSED else f"STALE: pytest ended with {found.returncode}\n{found.stdout}"


def main(wanted: str = "") -> int:
    chosen = [one for one in MISTAKES if wanted in one.what]
    with tempfile.TemporaryDirectory() as temporary:
        folder = copied(Path(temporary))
        where = "import xfm, xfm.kernels; print(xfm.__file__, xfm.kernels.__file__)"
        words = [sys.executable, "-c", where]
        own = os.environ | {"PYTHONPATH": str(folder)}
        seen = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, check=True).stdout
        if seen.count(str(folder)) != 2:
            sys.exit(f"the tests would run {seen.strip()} and not the copy in {folder}")
        for tests in clean(chosen):
            found = pytest(folder, tests)
            if found.returncode != PASSED:
                sys.exit(f"{tests} does not pass without a mistake\n{found.stdout}")
        bad = 0
        for one in chosen:
            began = time.time()
            result = planted(folder, one)
            bad += result != "caught"
            print(f"{result:<8} {time.time() - began:4.0f} s  {one.what}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mistakes are caught")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
