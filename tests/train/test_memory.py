"""What cannot fit in memory is refused by arithmetic, before data are batched and before a parameter exists."""

import ctypes
import subprocess
import sys

import jax
import numpy as np
import pytest

from xfm import memory
from xfm.errors import XfmError
from xfm.memory import host_memory, in_bytes
from xfm.sharding import REPLICATED, make_mesh
from xfm.tokenizers import trained
from xfm.train.memory import check_batch, check_parameters, check_state
from xfm.train.settings import TrainSettings
from xfm.train.state import State, state_sharding


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    monkeypatch.setattr("xfm.train.memory.host_memory", lambda: 8_000_000_000)


def test_a_batch():
    rows = lambda n: {"tokens": ((n, 128), np.dtype(np.int32))}  # noqa: E731
    check_batch(TrainSettings(batch=64), rows(64))
    with pytest.raises(XfmError, match=r"config.batch=1000000000 .* 512.0 GB .* has 8.0 GB of memory; lower"):
        check_batch(TrainSettings(batch=10**9), rows(10**9))


def state(*shape):
    array = jax.ShapeDtypeStruct(shape, np.float32)
    adam = {"mu": array, "nu": array}
    step, rng = jax.ShapeDtypeStruct((), np.int32), jax.eval_shape(lambda: jax.random.key(0))
    like = State(step=step, params={"up": {"kernel": array}}, opt_state=adam, rng=rng, extra={}, ema=None)
    placed, _ = state_sharding(like, make_mesh({}), REPLICATED)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, placed)


def test_a_model():
    each = 8_000_000_000 // jax.local_device_count()  # the suite's eight devices share the machine
    check_state(state(each // 12 - 10))
    with pytest.raises(XfmError, match=r"1,000,000,000 parameters; .* 12.0 GB, .* 1.0 GB; make the model smaller"):
        check_state(state(1000, 1_000_000))


def test_parameters_alone():
    check_parameters({"up": jax.ShapeDtypeStruct((1000, 1000), np.float32)})
    with pytest.raises(XfmError, match=r"10,000,000,000 parameters, which are 40.0 GB, and all devices have 8.0 GB"):
        check_parameters({"up": jax.ShapeDtypeStruct((10_000, 1_000_000), np.float32)})


def test_this_machine(tmp_path, monkeypatch):
    assert 10**8 < host_memory() < 10**15
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (str(limit), str(tmp_path / "none")))
    limit.write_text("max\n")
    assert memory.host_memory() > 10**8
    limit.write_text("12345\n")
    assert memory.host_memory() == 12345


def test_in_bytes():
    assert [in_bytes(n) for n in (1500, 12_000_000, 5 * 10**12, 10**30)] == [
        "1.5 kB",
        "12.0 MB",
        "5.0 TB",
        "1.0e+15 PB",
    ]


@pytest.mark.parametrize("kind", [trained.Wordpiece, trained.Bpe])
def test_a_tokenizer_is_refused_more_ids_than_there_is_memory_for(kind, tmp_path):
    """Told of 2³¹ ids at once, the trainer would ask for all memory and end the process."""
    with pytest.raises(XfmError, match="size is 2147483647; it must be a whole number from 6 to 1000000"):
        kind(size=2**31 - 1).fit(lambda: iter(["one and one is two\n"] * 3), "corpus", tmp_path)


FREED = """
import resource, runpy, sys, threading
reuse_pages = runpy.run_path(sys.argv[2])["reuse_pages"]
if sys.argv[1] == "reuse":
    assert reuse_pages(10**6), "glibc and few cores"
    assert not reuse_pages(most_cores=0), "many cores"

def fill():
    for _ in range(8):
        bytearray(b"1") * (32 << 20)

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=fill)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_pages_of_freed_memory_are_used_again():
    def faults(how):
        run = [sys.executable, "-c", FREED, how, memory.__file__]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)

    assert faults("reuse") < 0.3 * faults("map anew")  # once instead of eight times
