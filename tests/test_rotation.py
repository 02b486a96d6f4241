"""Six commits of .ci/run meet every test, and what changed is met each time. Takes no time."""

import json
from types import SimpleNamespace

from tests.costs import START, above, added, by_file, by_folder, main, note, table, with_start
from tests.rotation import LONG, STAGES, keeps, related, turn_of

FILES = [f"tests/train/test_{i}.py" for i in range(50)]


def test_six_turns_are_all_tests_each_as_often():
    for slow in (False, True):
        for node in (f"{file}::test_it[{i}]" for file in (*FILES, *LONG) for i in range(3)):
            times = 1 if slow and node.startswith(LONG) else 2
            assert sum(keeps(node, slow, turn, ()) for turn in range(6)) == times
            assert times == 1 or all(keeps(node, slow, t, ()) == keeps(node, slow, t + 3, ()) for t in range(3))


def test_a_third_is_about_a_third():
    kept = [file for file in FILES if keeps(f"{file}::test_it", False, 0, ())]
    assert len(FILES) / 5 < len(kept) < len(FILES) / 2


def test_the_tests_of_a_file_stay_together_unless_they_are_slow():
    together = {keeps(f"{FILES[0]}::test_it[{i}]", False, 0, ()) for i in range(20)}
    apart = {keeps(f"{FILES[0]}::test_it[{i}]", True, 0, ()) for i in range(20)}
    assert len(together) == 1 and len(apart) == 2


def test_stages_of_a_commit_take_different_thirds_and_commits_others():
    assert {turn_of("a" * 40, stage) % 3 for stage in STAGES[:3]} == {0, 1, 2}
    assert {turn_of(f"{n:x}", "slow") for n in range(6)} == set(range(6))


def test_what_changed_is_always_met():
    tests = ["tests/train/test_step.py", "tests/train/test_loop.py", "tests/kernels/test_ssd.py"]
    assert related(["xfm/train/step.py", "tests/kernels/test_ssd.py", "README.md"], tests) == [tests[2], tests[0]]
    assert related(["kernels/attention/xla.py"], tests) == [tests[2]]
    assert related(["xfm/train/optimiser.py"], tests) == sorted(tests[:2]), "no file of its name: all of its room"
    assert related(["xfm/hub/step.py", "xfm/spec.py"], tests) == []
    assert related(["xfm/parts/norm/rmsnorm.py"], ["tests/parts/test_parts.py", *tests]) == [
        "tests/parts/test_parts.py"
    ]
    assert all(keeps(f"{tests[0]}::test_it", slow, turn, tests) for slow in (False, True) for turn in range(6))


def test_costs_are_added_up_by_file_and_by_folder(tmp_path):
    reports = [
        SimpleNamespace(nodeid=f"tests/{file}.py::test_it[a/b]", cpu=cpu)
        for file, cpu in (("train/test_a", 1.0), ("train/test_a", 2.0), ("hub/cases/test_b", 4.0), ("test_c", 0.5))
    ]
    files = by_file(reports)
    assert files == {
        "tests/train/test_a.py": (1, 3.0),
        "tests/hub/cases/test_b.py": (1, 4.0),
        "tests/test_c.py": (1, 0.5),
    }
    assert by_folder(files) == {"tests/train": (1, 3.0), "tests/hub": (1, 4.0), "tests": (1, 0.5)}
    for _ in range(2):
        note(tmp_path / "costs", files)
    twice = added([json.loads(line) for line in (tmp_path / "costs").read_text().splitlines()])
    lines = table(by_folder(twice), most=1).splitlines()
    assert lines[1].split() == ["tests/hub", "2", "8.0"] and lines[2].split() == ["all", "6", "15.0"]
    assert with_start(files, 10.0)[START] == (0, 2.5) and by_folder(with_start(files, 10.0))[START] == (0, 2.5)
    assert above(files, 7.5) is None
    assert "took 8 CPU seconds and may take 7;" in above(files, 7.4)
    assert main(tmp_path / "costs", "15") is None and "may take 14" in main(tmp_path / "costs", "14")
