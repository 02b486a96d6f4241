"""Starting from a checkpoint: config.start = {"source": a folder, a name on the Hub, or an xfm run, …}.

The network is then the checkpoint's with the heads of config.model, and the tokeniser is the checkpoint's.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xfm.errors import XfmError, nearest
from xfm.spec import build, plain, schema
from xfm.train.kept import require_whole
from xfm.train.paths import flatten, map_by_path
from xfm.train.record import FILE, read_record
from xfm.train.state import State

KEPT = ("dtype", "remat")  # of config.model: how to compute, which no checkpoint decides


@dataclasses.dataclass(frozen=True)
class Start:
    """source: folder of a checkpoint in the Hub's format, its name there, or the workdir of a run of xfm; None starts
    from nothing.

    head: the head to take along, by the Hub's name of the task, or of a run by its name in config.model.heads; all
    others are fresh, but for a pooler.  revision: of the Hub's repository.
    drop: rate of the dropouts in the checkpoint's network, which files of the Hub do not always tell.
    """

    source: str | None = None
    head: str | None = None
    revision: str | None = None
    drop: float = 0.0


@dataclasses.dataclass(frozen=True)
class Found:
    """What a checkpoint gives: its stack's spec, which of its heads go along, its tokeniser's spec.

    weights: reads its parameters, path -> array.  inputs: from a batch of the data to one of its network's.
    """

    spec: dict[str, Any]
    heads: tuple[str, ...]
    tokenizer: dict[str, Any]
    weights: Callable[[], Mapping[str, np.ndarray]]
    inputs: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None = None


def resolved(config: Mapping[str, Any], found: "Found | None" = None) -> Mapping[str, Any]:
    """The config with model and tokeniser of the checkpoint that it starts from; as it is where there is none."""
    start = of(config)
    return config if start.source is None else _with(config, start, found or find(start))


def of(config: Mapping[str, Any]) -> Start:
    """config.start; XfmError for a key that it does not have."""
    given = plain(config.get("start") or {})
    legal = schema(Start)
    for key in given:
        if key not in legal:
            raise XfmError(f"config.start has no key {key!r}{nearest(key, legal)}; it has {', '.join(legal)}")
    return build({"start": Start}, {"kind": "start", **given})


def find(start: Start) -> Found:
    """The checkpoint, with what can be known of it before its numbers are read."""
    run = Path(start.source).expanduser()
    return _of_run(run, start) if (run / "checkpoints").is_dir() and (run / FILE).is_file() else _of_hub(start)


def _with(config: Mapping[str, Any], start: Start, found: Found) -> dict[str, Any]:
    from xfm.data import SOURCES

    config = plain(config)
    own = config.get("model", {})
    heads = dict(own.get("heads", {}))
    for name in found.heads:
        if name in heads or start.head is not None:
            heads[name] = found.spec["heads"][name]
            _check_classes(heads[name], config["objective"], start)
    model = {**found.spec, "heads": heads, **{key: own[key] for key in KEPT if own.get(key) is not None}}
    data = dict(config["data"])
    fields = schema(SOURCES[data["kind"]]) if data.get("kind") in SOURCES else {}
    if "tokenizer" in fields:
        data["tokenizer"] = found.tokenizer
    if "kinds" in fields:
        data["kinds"] = min(max(model["embed"].get("types", 0), 1), 2)
    position = model["embed"].get("position") or {}
    places = position.get("length", 0) - position.get("first", 0) if position.get("kind") == "learned" else None
    if places is not None and data.get("length", 0) > places:
        raise XfmError(f"config.data.length is {data['length']}, and {start.source} has places for {places} tokens")
    if data.get("packing") == "documents" and found.inputs is not None:
        raise XfmError(
            "config.data.packing='documents' restarts positions in a row, which this start cannot; use 'stream'"
        )
    return {**config, "model": _dropping(model, start.drop), "data": data}


def _check_classes(head: Mapping[str, Any], objective: Mapping[str, Any], start: Start) -> None:
    there, here = head.get("classes"), objective.get("classes")
    if None not in (there, here) and there != here:
        raise XfmError(
            f"the head {start.head!r} of {start.source} has {there} classes and config.objective.classes is {here}; "
            "set that, or leave config.start.head out for a fresh head"
        )


def _dropping(spec: Any, rate: float) -> Any:
    """The spec with the rate in all parts that have a `drop`, but for heads."""
    from xfm.parts import SLOTS

    if isinstance(spec, list):
        return [_dropping(one, rate) for one in spec]
    if not isinstance(spec, Mapping):
        return spec
    out = {key: value if key in ("heads", "norms", "norm") else _dropping(value, rate) for key, value in spec.items()}
    classes = [table[spec["kind"]] for slot, table in SLOTS.items() if spec.get("kind") in table and slot != "head"]
    if rate and any("drop" in schema(cls) for cls in classes):
        out["drop"] = rate
    if "pattern" in spec and rate:
        out["residual"] = {"kind": "plain", **plain(spec.get("residual") or {}), "drop": rate}
    return out


def _of_hub(start: Start) -> Found:
    from xfm.hub.checkpoint import load, planned
    from xfm.hub.inputs import check_ids

    with planned(start.source, start.head, start.revision) as plan:
        checkpoint = plan.checkpoint
    kept = [h.name for task, h in checkpoint.heads.items() if h.of_encoder or start.head is not None]
    tokenizer = {"kind": "checkpoint", "source": str(start.source), "revision": start.revision}

    def weights():
        found = load(start.source, head=start.head, revision=start.revision, place=lambda path, array: array)
        return flatten(found.params)

    def inputs(row):
        tokens = row["tokens"].reshape(-1, row["tokens"].shape[-1])
        mask, types = (row[n].reshape(tokens.shape) if n in row else None for n in ("segments", "types"))
        made = checkpoint.batch(tokens, mask, types, None)
        check_ids(made, checkpoint.spec["embed"])
        lead = row["tokens"].shape[:-1]
        return {**row, **{n: x.reshape(*lead, *x.shape[1:]) for n, x in made.items() if n != "segments"}}

    return Found(plain(checkpoint.spec), tuple(kept), tokenizer, weights, inputs)


def _of_run(workdir: Path, start: Start) -> Found:
    record = read_record(workdir)
    config = record.config
    spec = config["model"]
    if start.head is not None and start.head not in spec.get("heads", {}):
        has = ", ".join(spec.get("heads", {})) or "none"
        raise XfmError(f"the run in {workdir} has no head {start.head!r}; it has {has}")
    kept = [name for name in spec.get("heads", {}) if name in ("pooled", start.head)]
    file = workdir / "tokenizer.json"
    require_whole(workdir, record.kept)
    tokenizer = {"kind": "file", "path": str(file)} if file.exists() else config["data"].get("tokenizer")

    def weights():
        from xfm.train.checkpoint import Checkpoints

        checkpoints = Checkpoints(workdir, mode="read")
        try:
            return checkpoints.weights()
        finally:
            checkpoints.close()

    return Found(spec, tuple(kept), tokenizer or {"kind": "bytes"}, weights)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a source as the checkpoint's network takes them (RoBERTa counts places from 2); else the source."""

    source: Any
    inputs: Callable

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.inputs(self.source[index])

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "source"), name)


def adapted(data: Any, found: Found) -> Any:
    """The data with both sources as the checkpoint's network takes them."""
    if found.inputs is None:
        return data
    return dataclasses.replace(data, train=Rows(data.train, found.inputs), valid=Rows(data.valid, found.inputs))


def started(state: State, found: Found, source: str) -> State:
    """The state of step 0 with the checkpoint's parameters in the place of fresh ones, heads aside that stay fresh.

    Raises XfmError that lists what the network has and the checkpoint has not, or in another shape.
    """
    weights, shapes = found.weights(), {path: leaf.shape for path, leaf in flatten(state.params).items()}
    heads = tuple(f"head_{name}/" for name in found.heads)
    there = {path: x for path, x in weights.items() if not path.startswith("head_") or path.startswith(heads)}
    wrong = [
        f"{path} is {tuple(there[path].shape) if path in there else 'absent'} there and {shape} here"
        for path, shape in shapes.items()
        if (path in there or not path.startswith("head_")) and np.shape(there.get(path)) != shape
    ]
    wrong += [
        f"{p} is {x.shape} there and absent here" for p, x in there.items() if p not in shapes and p[:5] != "head_"
    ]
    if wrong:
        more = f" (and {len(wrong) - 4} more)" if len(wrong) > 4 else ""
        raise XfmError(f"{source} does not fit the network of this config: {', '.join(wrong[:4])}{more}")

    def put(path, leaf):
        if path not in there:
            return leaf
        array = np.asarray(there[path], leaf.dtype)
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: np.array(array[index]))

    ema = None if state.ema is None else map_by_path(put, state.ema)
    return state.replace(params=map_by_path(put, state.params), ema=ema)
