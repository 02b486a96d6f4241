"""Times two programs that alternate on the same two cores: while one computes, the other waits.

Each side is a separate process, since the thread pools of PyTorch and XLA disturb each other. A side is a function
`start(folder) -> {case: call}`; a call computes a result to the end and may return an array, which is compared with the
other side's. Both sides share the folder, by which weights are passed.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
THREADS = 2
QUIET = 0.05  # share of the cores that other programs may take during a call that counts
PATIENCE = 15 * 60  # seconds per case to wait for quiet calls; after that all calls count
KEEP_PAGES = dict(MALLOC_ARENA_MAX="1", MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**31 - 1))  # of glibc
PACKAGES = ("jax", "jaxlib", "flax", "torch", "transformers", "numpy")


def serve(start, folder):
    """The loop of a child process: reads a line with a case, runs it, and prints a line with the seconds."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    answers, sys.stdout = sys.stdout, sys.stderr
    calls = start(pathlib.Path(folder))
    print(json.dumps(dict(cases=list(calls), versions=versions())), file=answers, flush=True)
    for line in sys.stdin:
        case, output = json.loads(line)
        before = time.perf_counter()
        value = calls[case]()
        seconds = time.perf_counter() - before
        if output is not None and value is not None:
            import numpy as np

            np.save(output, np.asarray(value))
        print(json.dumps(seconds), file=answers, flush=True)


class Side:
    """One side of a comparison: a child process that runs cases on request."""

    def __init__(self, name, python, script, folder, settings):
        self.name = name
        environment = (
            os.environ
            | settings
            | {
                "OMP_NUM_THREADS": str(THREADS),
                "MKL_NUM_THREADS": str(THREADS),
            }
        )
        self.process = subprocess.Popen(
            [python, script, "--side", name, "--folder", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        about = self.answer()
        self.cases, self.versions = about["cases"], about["versions"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the side {self.name} has ended with an error; its output is above")
        return json.loads(line)

    def time(self, case, output=None):
        """The seconds of one call, the share of the cores that others used during it, and its processor seconds."""
        before = self.ticks()
        self.process.stdin.write(json.dumps([case, output]) + "\n")
        self.process.stdin.flush()
        seconds = self.answer()
        total, busy, own = (b - a for a, b in zip(before, self.ticks(), strict=True))
        return seconds, round(max(0.0, busy - own) / max(total, 1), 3), own / os.sysconf("SC_CLK_TCK")

    def ticks(self):
        """The clock ticks so far: of all cores, of all cores when they were not idle, and of this child and its own."""
        own, processes = 0, [self.process.pid]
        for process in processes:
            folder = pathlib.Path(f"/proc/{process}")
            child = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            own += int(child[11]) + int(child[12])
            processes += [p for task in folder.glob("task/*/children") for p in task.read_text().split()]
        return *ticks(), own

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(script, about, sides, rounds=7, close=1e-3):
    """Runs both sides of a benchmark script, and writes its record.

    about: a description for the record.  sides: {"peer": start, "xfm": start}; the peer starts first and may write
    weights to the folder.  rounds: quiet calls per side.  close: the largest relative difference of outputs.
    """
    arguments = argparse.ArgumentParser(description=about)
    arguments.add_argument("--peer", default=sys.executable, help="a Python that has PyTorch")
    arguments.add_argument("--cases", help="only cases whose name contains this text")
    arguments.add_argument("--patience", type=float, default=PATIENCE, help="seconds per case")
    arguments.add_argument(
        "--keep-pages",
        action="store_true",
        help="the C library of both sides keeps freed memory, as the command line of xfm sets it (xfm/memory.py)",
    )
    arguments.add_argument("--side", choices=sides, help=argparse.SUPPRESS)
    arguments.add_argument("--folder", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.side:
        return serve(sides[given.side], given.folder)

    results, settings = {}, KEEP_PAGES if given.keep_pages else {}
    with tempfile.TemporaryDirectory() as folder:
        peer = Side("peer", given.peer, script, folder, settings)
        ours = Side("xfm", sys.executable, script, folder, settings)
        for case in ours.cases:
            if given.cases and given.cases not in case:
                continue
            results[case] = one(case, peer, ours, pathlib.Path(folder), rounds, close, given.patience)
            r = results[case]
            print(
                f"{case:24} peer {r['peer_ms']:8.1f} ms   xfm {r['xfm_ms']:8.1f} ms   "
                f"ratio {r['ratio']:.2f}   (first call of xfm {r['xfm_first_s']:.1f} s, "
                f"outputs differ by {r['difference']:.0e})",
                flush=True,
            )
        peer.end()
        ours.end()
    record(pathlib.Path(script).stem, about, results, {"peer": peer.versions, "xfm": ours.versions}, settings)


def one(case, peer, ours, folder, rounds, close, patience):
    """The result of one case: first calls, then alternating calls until enough were quiet, and their medians."""
    files = {side.name: folder / f"{side.name}.npy" for side in (peer, ours)}
    first = {side.name: side.time(case, str(files[side.name]))[0] for side in (peer, ours)}
    calls = {"peer": [], "xfm": []}
    until = time.monotonic() + patience

    def quiet(name):
        return [seconds for seconds, others, _ in calls[name] if others <= QUIET]

    while not calls["xfm"] or (min(len(quiet(name)) for name in calls) < rounds and time.monotonic() < until):
        wait_for_quiet(until)
        for side in (peer, ours):
            time.sleep(0.2)
            calls[side.name].append(side.time(case))
    enough = min(len(quiet(name)) for name in calls) >= rounds
    times = {n: quiet(n) if enough else [seconds for seconds, *_ in calls[n]] for n in calls}
    processor = {name: [own for *_, own in calls[name]] for name in calls}
    median = {name: 1000 * statistics.median(values) for name, values in times.items()}
    return dict(
        peer_ms=round(median["peer"], 2),
        xfm_ms=round(median["xfm"], 2),
        ratio=round(median["xfm"] / median["peer"], 3),
        ratio_of_processor_seconds=round(
            statistics.median(processor["xfm"]) / max(statistics.median(processor["peer"]), 0.01), 3
        ),
        ratio_of_best=round(min(times["xfm"]) / min(times["peer"]), 3),
        xfm_first_s=round(first["xfm"], 2),
        peer_first_s=round(first["peer"], 2),
        difference=difference(files, close),
        quiet_calls={name: len(quiet(name)) for name in calls},
        counted="quiet" if enough else "all",
        ms={name: [round(1000 * seconds, 2) for seconds, *_ in calls[name]] for name in calls},
        processor_ms={name: [round(1000 * own) for own in processor[name]] for name in calls},
        others={name: [others for _, others, _ in calls[name]] for name in calls},
    )


def wait_for_quiet(until):
    """Sleeps until all cores were idle for a second, or until the time `until`."""
    while time.monotonic() < until:
        before = ticks()
        time.sleep(1.0)
        total, busy = (b - a for a, b in zip(before, ticks(), strict=True))
        if busy <= QUIET * total:
            return


def ticks():
    """The clock ticks so far of all cores, and those in which they were not idle."""
    all_cores = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    cores = [int(t) for t in all_cores]
    return sum(cores), sum(cores) - cores[3] - cores[4]


def difference(files, close):
    """The largest difference of the two outputs, relative to their scale; NaN if there are no outputs.

    Ends the program if it is not below `close`.
    """
    if not all(path.exists() for path in files.values()):
        return float("nan")
    import numpy as np

    a, b = (np.load(files[name]).astype(np.float64) for name in ("xfm", "peer"))
    for path in files.values():
        path.unlink()
    error = float(np.abs(a - b).max() / np.abs(b).max())
    if not error < close:
        raise SystemExit(f"the two sides do not compute the same: they differ by {error:.1e}")
    return error


def versions():
    """The installed versions of PACKAGES."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """The facts about this machine that the figures depend on."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")
    flags = next((x.split(":")[1].split() for x in lines if x.startswith("flags")), [])
    return dict(
        cpu=model,
        cores=len(os.sched_getaffinity(0)),
        threads=THREADS,
        simd=[f for f in flags if f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")],
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def record(name, about, results, versions_of, settings=None):
    """Writes the JSON record of a run to results/; settings: environment variables that both sides had."""
    now = datetime.datetime.now(datetime.UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y%m%d-%H%M}.json"
    content = dict(
        benchmark=name,
        about=about,
        date=now.isoformat(timespec="seconds"),
        machine=machine(),
        versions=versions_of,
        settings=settings or {},
        results=results,
    )
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"recorded in {path.relative_to(ROOT)}")
