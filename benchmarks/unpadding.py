"""Real tokens per second at random lengths, packed and in layout "tokens", against rows without padding.

    python benchmarks/unpadding.py

Two layers of width 256, float32, rows of 128 tokens. Texts have 4 to 128 tokens, with all lengths equally likely, and
batches have about the same number of real tokens. Forward: the outputs at all tokens, or a vector of each text. Step:
forward, backward, clipping, AdamW; masked language modelling of packed rows, classification of texts in layout
"tokens".
"""

import os
import statistics
import sys
import time

from common import QUIET, ROOT, THREADS, record, ticks, versions

sys.path.append(str(ROOT))
LAYERS, WIDTH, HEADS, VOCAB, LENGTH = 2, 256, 4, 8192, 128
ROWS, SHORTEST, TEXTS = 128, 4, 248  # rows without padding; shortest text; texts of random length in a batch
ROUNDS, STEPS = 9, 2  # repetitions of each measurement; different batches
GOAL = 0.95
# case -> (what is measured, what it is measured against)
PAIRS = {
    "forward packed": ("forward packed", "forward full"),
    "forward tokens": ("vectors tokens", "vectors full"),
    "step packed": ("masking packed", "masking full"),
    "step tokens": ("classes tokens", "classes full"),
    "step padded": ("classes padded", "classes full"),
}


def sources():
    """Batches by name: rows without padding, rows packed with documents, padded rows of one text, and the same texts in
    layout "tokens".
    """
    import numpy as np

    from xfm.data import Batches
    from xfm.data.layout import Tokens
    from xfm.data.packing import documents
    from xfm.data.source import Arrays

    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LENGTH + 1, 40 * TEXTS)
    ids = lambda *shape: rng.integers(5, VOCAB, shape).astype(np.int32)  # noqa: E731

    def rows(**arrays):
        n = len(arrays["tokens"])
        return Arrays({**arrays, "labels": rng.integers(0, 2, n).astype(np.int32)})

    full = rows(tokens=ids(40 * ROWS, LENGTH), segments=np.ones((40 * ROWS, LENGTH), np.int32))
    packed = rows(**documents(ids(lengths.sum()), lengths - 2, LENGTH, cls=2, sep=3))
    real = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    one = rows(tokens=ids(len(lengths), LENGTH) * real, segments=real)
    return {
        "full": Batches(full, ROWS, 0),
        "packed": Batches(packed, ROWS, 0),
        "padded": Batches(one, TEXTS, 0),
        "tokens": Tokens().over(Batches(one, TEXTS, 0)),
    }


def calls(batches):
    """The measured functions by name; each takes a batch and returns when its result is computed."""
    import jax

    from xfm import build
    from xfm.configs.text import bert
    from xfm.objectives import build_objective
    from xfm.train.optimiser import build_optimiser
    from xfm.train.state import new_state
    from xfm.train.step import make_step
    from xfm.vocabulary import Vocabulary

    def config(heads):
        c = bert.get_config("base")
        c.model = bert.network(LAYERS, WIDTH, HEADS, VOCAB, LENGTH)
        c.model.heads = heads
        return c

    mlm = bert.network(LAYERS, WIDTH, HEADS, VOCAB, LENGTH)["heads"]["mlm"]
    mean = dict(kind="mean")
    label = dict(kind="classification", classes=2, pool=mean)
    vocabulary = Vocabulary(size=VOCAB, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))

    def forward(head):
        model = build(config({"pooled": dict(kind="vector", pool=mean)} if head == "pooled" else {}).model)
        params = jax.jit(model.init)(jax.random.key(0), batches["full"][0])
        run = jax.jit(lambda batch: model.apply(params, batch)[head])
        return lambda batch: run(batch).block_until_ready()

    def step(head, spec, objective):
        c = config({head: spec})
        c.objective = objective
        objective = build_objective(c, vocabulary)
        first = jax.jit(lambda batch: objective.init(jax.random.key(0), batch)[0])
        optimiser = build_optimiser(c.optimiser, lambda _: 1e-4, first(batches["full"][0]), clip=1.0)
        update = make_step(objective, optimiser)
        state = [new_state(objective, optimiser, jax.random.key(0), batches["full"][0], None)]

        def call(batch):
            state[0], metrics = update(state[0], batch)
            float(metrics["loss"][0])

        return call

    return {
        "forward": forward("hidden"),
        "vectors": forward("pooled"),
        "masking": step("mlm", mlm, dict(kind="masked_lm")),
        "classes": step("label", label, dict(kind="classification", classes=2)),
    }


def timed(call, batch):
    """The seconds of a call, and the share of the cores that other programs used during it."""
    before, own = ticks(), time.process_time()
    start = time.perf_counter()
    call(batch)
    seconds = time.perf_counter() - start
    total, busy = (b - a for a, b in zip(before, ticks(), strict=True))
    own = (time.process_time() - own) * os.sysconf("SC_CLK_TCK")
    return seconds, round(max(0.0, busy - own) / max(total, 1), 3)


def main():
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    import jax

    made, planning = sources(), time.perf_counter()
    rows = {name: [one.rows(step) for step in range(STEPS)] for name, one in made.items()}
    planning = time.perf_counter() - planning
    batches = {name: jax.device_put(several) for name, several in rows.items()}
    real = {name: [int((batch["segments"] > 0).sum()) for batch in several] for name, several in rows.items()}
    cells = {name: [batch.get("cells", batch["tokens"]).size for batch in several] for name, several in rows.items()}
    run = calls(batches)
    names = sorted({name for pair in PAIRS.values() for name in pair})
    kinds = {name: name.split() for name in names}
    for what, of in kinds.values():
        for batch in batches[of]:
            run[what](batch)  # compiles

    taken = {name: [] for name in names}
    for i in range(ROUNDS):
        for name, (what, of) in kinds.items():
            seconds, others = timed(run[what], batches[of][i % STEPS])
            taken[name].append((1e6 * seconds / real[of][i % STEPS], others))

    results = {"padding": {of: round(1 - sum(real[of]) / sum(cells[of]), 4) for of in rows}}
    print("padding", results["padding"])
    for case, (own, full) in PAIRS.items():
        both = list(zip(taken[own], taken[full], strict=True))
        quiet = [(a, b) for (a, x), (b, y) in both if max(x, y) <= QUIET]
        counted = quiet if len(quiet) >= 7 else [(a, b) for (a, _), (b, _) in both]
        ratios = sorted(b / a for a, b in counted)
        low, middle, high = statistics.quantiles(ratios, n=4)
        best = min(b for _, b in counted) / min(a for a, _ in counted)
        results[case] = dict(
            us_per_real_token={name: round(statistics.median(t for t, _ in taken[name]), 2) for name in (own, full)},
            ratio=round(middle, 3), quartiles=[round(low, 3), round(high, 3)], ratio_of_best=round(best, 3),
            goal=GOAL, met=middle >= GOAL, quiet_rounds=len(quiet), counted="quiet" if counted is quiet else "all",
        )  # fmt: skip
        print(f"{case:16} {results[case]}", flush=True)
    results["calls"] = {name: [(round(t, 3), others) for t, others in pairs] for name, pairs in taken.items()}
    results["rows_and_planning_ms_per_step"] = round(1000 * planning / STEPS / len(rows), 1)
    record("unpadding", __doc__.splitlines()[0], results, versions())


if __name__ == "__main__":
    main()
