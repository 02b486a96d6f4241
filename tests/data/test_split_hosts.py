"""On eight devices, each row is read for its own devices alone, and the batch is as if unsplit."""

import os
import subprocess
import sys

SCRIPT = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from xfm.data import Batches, prefetch
from xfm.data.prefetch import on_device
from xfm.data.source import Arrays

class Spy(Batches):
    asked = []
    def rows(self, step, start=0, stop=None):
        self.asked.append((start, stop))
        return super().rows(step, start, stop)

numbers = np.arange(300, dtype=np.int32)
source = Arrays({"tokens": numbers.reshape(100, 3), "labels": numbers[:100]})
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
batches = Spy(source, 8, seed=0)
batch = on_device(batches, NamedSharding(mesh, PartitionSpec("data")), 11)
assert sorted(batches.asked) == [(0, 2), (2, 4), (4, 6), (6, 8)], batches.asked
whole = Batches(source, 8, seed=0).rows(11)
for name in whole:
    np.testing.assert_array_equal(batch[name], whole[name])
both = {"tokens": NamedSharding(mesh, PartitionSpec(("data", "model"), None)),
        "labels": NamedSharding(mesh, PartitionSpec())}
batch = on_device(batches, both, 11)
for name in whole:
    np.testing.assert_array_equal(batch[name], whole[name])
ready = prefetch(batches, both)
next(ready)  # and is left open: the interpreter must still end
"""


def test_eight_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60, env={**os.environ, **flags})
