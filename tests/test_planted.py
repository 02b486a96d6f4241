"""The mistakes of tests/mistakes can be planted as they stand, and those that are missed are found out."""

from pathlib import Path

import pytest

from tests.mistakes import MISTAKES, Mistake
from tests.planted import ROOT, copied, planted


@pytest.mark.slow
def test_each_mistake_can_be_planted():
    for one in MISTAKES:
        assert (ROOT / one.file).read_text().count(one.old) == 1, f"{one.what}: renew its text in tests/mistakes"
        assert one.new != one.old and Path(ROOT / one.tests.partition(" -k ")[0]).exists(), one.what


@pytest.mark.slow
def test_caught_missed_and_stale(tmp_path):
    folder = copied(tmp_path)
    one = Mistake("", "xfm/parts/position/alibi.py", "2 ** (-8 * i / n)", "2 ** (-9 * i / n)", "")
    tests = "tests/parts/test_parts.py -k alibi"
    assert planted(folder, one._replace(tests=tests)) == "caught"
    assert planted(folder, one._replace(tests=tests, new="2 ** (-8 * (i / n))")) == "MISSED"
    assert planted(folder, one._replace(tests=tests, old="of no file")).startswith("STALE: its text stands 0 times")
    assert planted(folder, one._replace(tests="tests/parts/test_parts.py -k nothing")).startswith("STALE: pytest")
