"""Shared by all tests: eight fake devices, a compilation cache, exact matrix products, and how closeness is told."""

import gc
import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile far more than they compute: without optimisation compiling takes 60 % of the time, and without the
# fusion emitters half of that again. (jaxlib 0.11.1 and later, and libtpu, lack that switch and abort at unknown ones.)
# What XLA_FLAGS says itself comes last and wins; the commands of the slow suite run as users run them.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        *["--xla_cpu_use_fusion_emitters=false"]
        * (tuple(map(int, version("jaxlib").split(".")[:3])) < (0, 11, 1) and find_spec("libtpu") is None),
        os.environ.get("XLA_FLAGS", ""),
    ]
)

import jax
import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def forgetting():
    """What a module's tests compiled is of no use to the next one: kept, it fills gigabytes and slows the rest."""
    yield
    jax.clear_caches()
    gc.collect()
