"""Loading a BERT checkpoint of 400 MB: the time relative to reading the file, and the host's peak memory.

    python benchmarks/load.py

Each measurement is a separate process, and begins after JAX has started. They alternate: one reads the file's bytes
into new memory, the next loads the checkpoint. `warm`: the file is in the system's cache; `cold`: it was removed from
there before (caches of a disk or of a virtual machine's host may still have it). The record has wall-clock time and
processor time, which other programs disturb less. The time to trace the network does not depend on the size of the
file, so it is also measured separately.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from common import QUIET, ROOT, record, ticks, versions, wait_for_quiet

sys.path.append(str(ROOT))
ROUNDS, PATIENCE = 5, 120  # repetitions of each measurement; seconds to wait for a quiet machine
WIDTH, LAYERS, HEADS, HIDDEN, VOCAB, LENGTH = 768, 12, 12, 3072, 24_576, 512
GOALS = dict(time=1.5, memory=1.2)


def write(folder):
    """Writes the checkpoint: random numbers with the names of BertForMaskedLM."""
    import numpy as np
    from safetensors.numpy import save_file

    from xfm.hub.checkpoint import example_of
    from xfm.hub.families.bert import FAMILY
    from xfm.hub.settings import Settings
    from xfm.hub.weights import file_pieces, flat_shapes
    from xfm.structures import build

    config = dict(
        model_type="bert", architectures=["BertForMaskedLM"], hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=HIDDEN, vocab_size=VOCAB, max_position_embeddings=LENGTH,
    )  # fmt: skip
    heads = FAMILY.chosen(("masked_lm",))
    spec = dict(FAMILY.network(Settings(config)), heads={h.name: h.spec(Settings(config)) for h in heads.values()})
    network = build(spec)
    shapes = flat_shapes(network, example_of(FAMILY, Settings(config)))
    rng, arrays = np.random.default_rng(0), {}
    named = file_pieces(FAMILY, heads, network.sublayers(), {path: x.shape for path, x in shapes.items()})
    for name, parts in named.items():
        arrays[name] = rng.standard_normal(parts[0].file_shape(), dtype=np.float32)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def child(what, folder, cache):
    """Makes one measurement; prints the seconds, the processor seconds, and how much the process grew.

    what: "read" or "load".  cache: "warm" or "cold".
    """
    import jax
    import numpy as np

    import xfm.hub.checkpoint as hub

    jax.device_put(np.zeros(3)).block_until_ready()
    file = folder / "model.safetensors"
    if cache == "cold":
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    traced = [0.0, 0.0]

    def timed(*given):
        wall, cpu = time.perf_counter(), time.process_time()
        shapes = whole(*given)
        traced[:] = time.perf_counter() - wall, time.process_time() - cpu
        return shapes

    whole, hub.flat_shapes = hub.flat_shapes, timed
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    if what == "read":
        memory = np.empty(file.stat().st_size, np.uint8)
        view = memoryview(memory)
        with open(file, "rb", buffering=0) as opened:
            while len(view):
                view = view[opened.readinto(view) :]
    else:
        m = hub.load(folder)
        jax.block_until_ready(m.params)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    grew = peak() - before
    print(json.dumps(dict(seconds=wall, processor=cpu, tracing=traced[0], tracing_processor=traced[1], grew_mb=grew)))


def peak():
    """The largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(what, folder, cache):
    total, busy = ticks()
    command = [sys.executable, __file__, what, str(folder), cache]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = (usage.ru_utime + usage.ru_stime) * os.sysconf("SC_CLK_TCK")
    total, busy = (b - a for a, b in zip((total, busy), ticks(), strict=True))
    others = max(0.0, busy - (own - measure.before)) / max(total, 1)
    measure.before = own
    return {**answer, "others": round(others, 3)}


measure.before = 0.0


def main():
    results = {}
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder = pathlib.Path(name)
        subprocess.run([sys.executable, __file__, "write", name, "warm"], check=True)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        measure.before = (usage.ru_utime + usage.ru_stime) * os.sysconf("SC_CLK_TCK")
        size = (folder / "model.safetensors").stat().st_size / 2**20
        measure("read", folder, "warm")
        for cache in ("warm", "cold"):
            wait_for_quiet(time.monotonic() + PATIENCE)
            rounds = [{what: measure(what, folder, cache) for what in ("read", "load")} for _ in range(ROUNDS)]

            def median(what, key, rounds=rounds):
                return statistics.median(one[what][key] for one in rounds)

            busy = max(one[what]["others"] for one in rounds for what in one)
            read, loading = median("read", "seconds"), median("load", "seconds")
            results[cache] = dict(
                file_mb=round(size, 1),
                read_s=round(read, 3),
                load_s=round(loading, 3),
                tracing_s=round(median("load", "tracing"), 3),
                ratio=round(loading / read, 2),
                ratio_without_tracing=round((loading - median("load", "tracing")) / read, 2),
                ratio_of_processor_time=round(median("load", "processor") / median("read", "processor"), 2),
                memory_ratio=round(median("load", "grew_mb") / size, 3),
                counted="quiet" if busy <= QUIET else "disturbed",
                goals=GOALS,
                rounds=rounds,
            )
            print(cache, {key: value for key, value in results[cache].items() if key != "rounds"}, flush=True)
    record("load", __doc__.splitlines()[0], results, versions())


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "write":
        write(pathlib.Path(sys.argv[2]))
    else:
        child(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])
