"""Shared by all tests: eight fake devices, a compilation cache, exact matrix products, and what the tests cost."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

from tests.switches import DEVICES, PLAIN, UNOPTIMISED

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What XLA_FLAGS says itself comes last and wins; the commands of the slow suite run as users run them.
os.environ["XLA_FLAGS"] = " ".join([DEVICES, UNOPTIMISED, *PLAIN, os.environ.get("XLA_FLAGS", "")])

import jax
import pytest

from tests.costs import DEFAULT, above, by_file, by_folder, cpu, note, table, with_start
from tests.rotation import keeps

# In the user's cache folder, so that a fresh clone finds what an older one compiled; one folder for each compiler.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xfm" / f"tests-jaxlib-{version('jaxlib')}"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_addoption(parser):
    group = parser.getgroup("rotation", "a part of the tests, as .ci/run chooses it (tests/rotation.py)")
    group.addoption("--turn", type=int, default=None, help="of the tests that are chosen, run those of turn 0 to 5")
    group.addoption("--always", default="", help="files, separated by commas, whose tests run at every turn")


def pytest_collection_modifyitems(config, items):
    turn, always = config.getoption("--turn"), config.getoption("--always").split(",")
    if turn is not None:
        kept = [keeps(item.nodeid, item.get_closest_marker("slow") is not None, turn, always) for item in items]
        config.hook.pytest_deselected(items=[item for item, keep in zip(items, kept, strict=True) if not keep])
        items[:] = [item for item, keep in zip(items, kept, strict=True) if keep]


SPENT = [0.0]  # the CPU seconds of this process when a report was last made


def pytest_runtestloop():
    # Tracing makes millions of small objects that live long, which the collector would visit again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    SPENT[0] = cpu()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """Each report carries what was spent since the one before it; worker processes send it to the first process."""
    outcome = yield
    now = cpu()
    outcome.get_result().cpu, SPENT[0] = now - SPENT[0], now


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """The default run prints what it cost, and fails above its budget; any run notes it where XFM_COSTS says."""
    yield
    if hasattr(session.config, "workerinput"):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = [report for reports in terminal.stats.values() for report in reports if hasattr(report, "cpu")]
    files = with_start(by_file(reports), cpu())  # the workers have ended, so their seconds are in
    if file := os.environ.get("XFM_COSTS"):
        note(Path(file), files)
    if is_default(session.config):
        terminal.write_line(table(by_folder(files)))
        if sentence := above(files, DEFAULT):
            terminal.write_line(sentence, red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def is_default(config):
    """Whether all tests but the slow ones run: no file and no option chooses among them."""
    chosen = config.option.keyword or config.option.maxfail or config.getoption("--turn") is not None
    return config.args_source == config.ArgsSource.TESTPATHS and config.option.markexpr == "not slow" and not chosen


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def forgetting():
    """What a module's tests compiled is of no use to the next one: kept, it fills gigabytes and slows the rest."""
    yield
    jax.clear_caches()
    gc.collect()
