"""Shared by all tests: eight fake devices, a compilation cache, exact matrix products, and how closeness is told."""

import gc
import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile far more than they compute: without optimisation compiling takes 60 % of the time, without the fusion
# emitters half of that again, and in one piece two thirds of what remains. jaxlib 0.11.1 and later lack the second
# switch, libtpu the last two, and each aborts at one that it does not know. What XLA_FLAGS says itself comes last and
# wins; the commands of the slow suite run as users run them.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        *["--xla_cpu_use_fusion_emitters=false"]
        * (tuple(map(int, version("jaxlib").split(".")[:3])) < (0, 11, 1) and find_spec("libtpu") is None),
        *["--xla_cpu_parallel_codegen_split_count=1"] * (find_spec("libtpu") is None),
        os.environ.get("XLA_FLAGS", ""),
    ]
)

import jax
import pytest

from tests.costs import by_file, cpu, note
from tests.rotation import keeps

# In the user's cache folder, so that a fresh clone finds what an older one compiled; one folder for each compiler.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xfm" / f"tests-jaxlib-{version('jaxlib')}"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_addoption(parser):
    group = parser.getgroup("rotation", "a part of the tests, as .ci/run chooses it (tests/rotation.py)")
    group.addoption("--third", type=int, default=None, help="run this third, 0 to 2, of the tests that are chosen")
    group.addoption("--always", default="", help="files, separated by commas, whose tests run in every third")


def pytest_collection_modifyitems(config, items):
    third, always = config.getoption("--third"), config.getoption("--always").split(",")
    if third is not None:
        kept = [keeps(item.nodeid, item.get_closest_marker("slow") is not None, third, always) for item in items]
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


def pytest_terminal_summary(terminalreporter, config):
    file = os.environ.get("XFM_COSTS")
    if file and not hasattr(config, "workerinput"):
        found = [report for reports in terminalreporter.stats.values() for report in reports]
        note(Path(file), by_file(report for report in found if hasattr(report, "cpu")))


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def forgetting():
    """What a module's tests compiled is of no use to the next one: kept, it fills gigabytes and slows the rest."""
    yield
    jax.clear_caches()
    gc.collect()
