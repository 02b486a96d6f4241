"""The smallest thing that the trainer can train, in the place of objectives and data; a script for
tests that kill it.

    python linear_regression.py WORKDIR '{"steps": 20}' [step] [a signal | full | lost] [seconds]

signals itself, fills the disk or loses the folder of checkpoints, so many seconds after the save of that step began.
"""

import dataclasses
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import xfm.train.loop as loop
import xfm.train.run as run
from xfm.errors import XfmError
from xfm.evaluators.base import Evaluator
from xfm.evaluators.rows import predict
from xfm.train.checkpoint import FOLDER

WIDTH = 6
FULL = 2_000  # bytes a file may have on a disk called full


@dataclasses.dataclass(frozen=True)
class Linear:
    """y = x · kernel + bias with noise on x from rng; `bad` are counts of calls at which the loss
    is NaN.
    """

    outputs: int = 3
    noise: float = 0.1
    bad: tuple[int, ...] = ()

    def init(self, rng, batch):
        kernel = jax.random.normal(rng, (batch["x"].shape[1], self.outputs)) * 0.1
        return {"head": {"kernel": kernel, "bias": jnp.zeros(self.outputs)}}, {"calls": jnp.int32(0)}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        x = batch["x"]
        if train:
            x = x + self.noise * jax.random.normal(rng, x.shape)
        y = x @ params["head"]["kernel"] + params["head"]["bias"]
        weights = batch.get("weights", jnp.ones(len(y)))
        summed, count = (((y - batch["labels"]) ** 2).mean(1) * weights).sum(), weights.sum()
        if train and self.bad:
            calls = batch["number"].max()  # the data says when, for a skipped step leaves extra as it was
            summed = jnp.where(jnp.isin(calls, jnp.array(self.bad)), jnp.nan, summed)
        return summed / count, {"loss": (summed, count)}, {"calls": extra["calls"] + 1}

    def evaluated_in(self, rows):
        return self, None

    def baseline(self, data):
        return {"mean": 1.0}

    def forward(self, name, params, batch):
        return {"number": batch["number"]}, {}


@dataclasses.dataclass(frozen=True)
class Size(Evaluator):
    """Half, as the mean of the numbers of all rows is."""

    def run(self, forward, params, extra, data, mesh):
        def number(params, batch):
            return forward("model", params, batch)[0]["number"]

        numbers = predict(number, params, data.valid, mesh, self.batch)
        return {"size": float(numbers.mean() / (len(data.valid) - 1))}

    def examples(self, forward, params, extra, data, mesh):
        return ["one line", "another"]


class Rows:
    """Rows of a fixed linear map; `number` is the row's own."""

    def __init__(self, rows, seed):
        rng = np.random.default_rng(seed)
        truth = np.random.default_rng(0).normal(size=(WIDTH, 3))
        self.x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
        self.y = (self.x @ truth).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i], "number": np.int32(i)}


@dataclasses.dataclass
class LinearData:
    train: Rows
    valid: Rows
    fingerprint: str
    tokenizer: None = None
    vocabulary: None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def install(set_attribute=setattr):
    """Puts the dummies where the loop looks for data and objectives."""

    def open_data(spec, workdir):
        rows = spec.get("rows", 64)
        return LinearData(Rows(rows, 1), Rows(20, 2), f"linear-{rows}-{spec.get('version', 0)}")

    def build_objective(config, vocabulary):
        return Linear(**{k: v for k, v in config["objective"].items() if k != "kind"})

    set_attribute(run, "open_data", open_data)
    set_attribute(run, "build_objective", build_objective)


def config(**changes):
    base = dict(
        objective=dict(kind="linear"),
        data=dict(kind="linear"),
        evals=[dict(kind="linear_regression:Size")],
        batch=8,
        steps=20,
        optimiser=dict(kind="adamw", weight_decay=0.1),
        schedule=dict(kind="cosine", peak=0.05, warmup=3),
        log_every=4,
        eval_every=10,
        save_every=5,
        ema=0.9,
    )
    base.update(changes)
    return ml_collections.ConfigDict(base)


def join():
    """Joins the other processes of a test: JOIN is "port count id"."""
    if "JOIN" in os.environ:
        port, count, own = map(int, os.environ["JOIN"].split())
        jax.distributed.initialize(
            f"127.0.0.1:{port}",
            num_processes=count,
            process_id=own,
            heartbeat_timeout_seconds=10,
        )


def lose_checkpoints(workdir):
    """What a file system that went away does to the folder of checkpoints."""
    (workdir / FOLDER).rename(workdir / "elsewhere")
    (workdir / FOLDER).write_text("")


def main(workdir, changes="{}", die_after="0", how="SIGKILL", hold="0"):
    def listener(name, values):
        if name == "save" and values["step"] == int(die_after):
            time.sleep(float(hold))
            if how == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))  # as on a full disk
            elif how == "lost":
                lose_checkpoints(Path(workdir))
            else:
                os.kill(os.getpid(), getattr(signal, how))

    join()
    install()
    try:
        loop.train(config(**json.loads(changes)), Path(workdir), listener)
    except XfmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
