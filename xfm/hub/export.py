"""A run of xfm's trainer as a checkpoint of the Hub, where its network is one that a family there has."""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from xfm.errors import XfmError
from xfm.hub.checkpoint import Checkpoint, example_of
from xfm.hub.files import folder_of, read_json
from xfm.hub.keys import complete
from xfm.hub.matching import Match, match
from xfm.hub.saving import copy
from xfm.hub.sentence_modules import Modules, Pooling, write_modules
from xfm.hub.weights import flat_shapes
from xfm.structures import build

SPECIALS = {"pad": "pad_token", "unknown": "unk_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
IDS = {"pad": "pad_token_id", "cls": "cls_token_id", "sep": "sep_token_id", "mask": "mask_token_id"}
WORDS = re.compile(r"embed/(tokens/)?word/embedding|head_mlm/(bias|table)")  # with a row for each id
POOLS = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}  # xfm's -> sentence-transformers'


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a workdir of `xfm train`."""
    path = Path(folder).expanduser() / "config.json"
    if not path.is_file():
        return False
    return (path.parent / "checkpoints").is_dir() or read_json(path).keys() >= {"config", "data"}


@contextlib.contextmanager
def run_checkpoint(workdir: str | Path) -> Iterator[tuple[Checkpoint, dict[str, Any]]]:
    """The newest good checkpoint of a run, and what the card says of it: data, training, metrics and notes.

    The data of the run must still be there, as for `xfm eval`. Raises XfmError where no family has such a network.
    """
    from xfm.train.evaluation import weights_of
    from xfm.train.logs import changed_since, read_metrics
    from xfm.train.record import open_run
    from xfm.train.run import setup

    workdir, record = open_run(workdir)
    config = record.config
    if "tokenizer.json" in record.kept and not (workdir / "tokenizer.json").is_file():
        raise XfmError(f"{workdir} has lost its tokenizer.json; bring back a copy, or run `xfm train` there to make it")
    match(config.get("model") or {})  # before anything slow
    run = setup(config, workdir, "read", None)
    with contextlib.closing(run.checkpoints), contextlib.closing(run.report):
        found = run.checkpoints.restore(run.like)
    if found is None:
        raise XfmError(f"{workdir} holds no checkpoint yet; train it first")
    state, m = found[0], match(config["model"], run.data.classes)
    damaged = changed_since(workdir, (found[1].get("metrics"), record.metrics))
    valid = [
        one
        for one in ([] if damaged else read_metrics(workdir))
        if one["kind"] == "valid" and one["step"] <= int(state.step)
    ]
    metrics = {f"{k} (validation)": v for k, v in (valid[-1] if valid else {}).items() if isinstance(v, float)}
    typed = record.as_typed()
    training = {key: value for key, value in typed.items() if key not in ("model", "data", "mesh")}
    with tempfile.TemporaryDirectory() as draft:
        folder, data = Path(draft), run.data
        c = checkpoint_of(m, weights_of(state), folder, None if data.vocabulary is None else data.vocabulary.pad)
        ids = write_tokenizer(workdir, folder, run.config["data"], data.vocabulary, m)
        left = [name for name in m.left if not write_pooling(folder, config["model"], name)]
        notes = [*m.near, *(f"the Hub's {m.family.model_type} has no head {one!r}, which is left out" for one in left)]
        notes += ["the run's metrics.jsonl is damaged, so its metrics are left out"] if damaged else []
        about = {"data": typed["data"], "training": training, "metrics": metrics, "notes": notes}
        yield c.replace(config=ids | c.config), about


def checkpoint_of(m: Match, params: Mapping[str, Any], folder: Path, pad: int | None = None) -> Checkpoint:
    """A run's parameters as the checkpoint that they are written as.  pad: the run's id of padding."""
    model = build(m.spec)
    shapes = flat_shapes(model, example_of(m.family, m.settings))
    made = parameters(params, shapes, m.moved, swapped_ids(m, pad))
    content = ({} if pad is None else {"pad_token_id": pad}) | m.settings.content
    return Checkpoint(model, made, content, m.spec, m.family, m.heads, folder)


def write_pooling(folder: Path, spec: Mapping[str, Any], name: str) -> bool:
    """The files of sentence-transformers for a head that only pools; False for any other."""
    head = complete(spec)["heads"][name]
    if head["kind"] != "vector" or head["pool"]["kind"] not in POOLS:
        return False
    modules = Modules(folder, Pooling((POOLS[head["pool"]["kind"]],)))
    write_modules(folder, modules, spec["embed"]["width"], {}, places(complete(spec)))
    return True


def places(spec: Mapping[str, Any]) -> int | None:
    """How many tokens a network has places for, None if any number."""
    position = spec["embed"].get("position") or {}
    return position["length"] - position["first"] if position.get("kind") == "learned" else None


def swapped_ids(m: Match, pad: int | None) -> tuple[int, int] | None:
    """Two ids to be exchanged, where a family counts its places from an id for padding that the run's is not."""
    wanted = m.settings.content.get("pad_token_id")
    return None if wanted is None or pad is None or wanted == pad else (pad, wanted)


def parameters(
    params: Mapping[str, Any], shapes: Mapping[str, Any], moved: Mapping[str, str], swap: tuple[int, int] | None
) -> dict[str, Any]:
    """Those of a run that the written network has, where it has them; zeros for biases that the run does without."""
    flat = {path: np.zeros(shape.shape, shape.dtype) for path, shape in shapes.items() if path.endswith("bias")}
    for path, array in traverse_util.flatten_dict(params, sep="/").items():
        start = next((one for one in moved if path.startswith(one)), "")
        path = moved.get(start, "") + path.removeprefix(start)
        if path in shapes:
            flat[path] = array if swap is None or not WORDS.fullmatch(path) else swapped_rows(array, *swap)
    return traverse_util.unflatten_dict(flat, sep="/")


def swapped_rows(array: Any, a: int, b: int) -> np.ndarray:
    array = np.array(array)
    array[[a, b]] = array[[b, a]]
    return array


def write_tokenizer(workdir: Path, folder: Path, data: Mapping[str, Any], vocabulary: Any, m: Match) -> dict[str, Any]:
    """The run's tokeniser made ready for whole texts, with its settings; gives the ids for config.json.

    data: the run's config of it.
    """
    if vocabulary is None:
        return {}
    swap = swapped_ids(m, vocabulary.pad)
    change = {} if swap is None else dict(zip(swap, swap[::-1], strict=True))
    ids = {role: getattr(vocabulary, role) for role in SPECIALS if getattr(vocabulary, role) is not None}
    ids = {role: change.get(i, i) for role, i in ids.items()}
    known, source = {IDS[role]: i for role, i in ids.items() if role in IDS}, data.get("tokenizer") or {}
    if source.get("kind") == "checkpoint":
        copy(folder_of(source["source"], source.get("revision")), folder)
        return known
    file = Path(source["path"]).expanduser() if source.get("kind") == "file" else workdir / "tokenizer.json"
    if not file.is_file():
        return known
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_str(json.dumps(renumbered(read_json(file), change)))
    words = {role: tokenizer.id_to_token(i) for role, i in ids.items()}
    if tokenizer.post_processor is None and {"cls", "sep"} <= words.keys():
        cls, sep = words["cls"], words["sep"]
        end = "" if m.spec.get("mask") == "causal" else f" {sep}"  # a causal network goes on where a text stops
        tokenizer.post_processor = TemplateProcessing(
            single=f"{cls} $A{end}",
            pair=f"{cls} $A {sep} $B:1 {sep}:1",
            special_tokens=[(cls, ids["cls"]), (sep, ids["sep"])],
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {SPECIALS[role]: word for role, word in words.items()}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    if (most := places(m.spec)) is not None:
        settings["model_max_length"] = most
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return known


def renumbered(content: dict[str, Any], change: Mapping[int, int]) -> dict[str, Any]:
    """A tokenizer.json in which ids are exchanged."""
    vocab = content["model"]["vocab"]
    if change and not isinstance(vocab, dict):
        raise XfmError("the ids of this tokeniser cannot be exchanged, and its family counts places from another one's")
    if change:
        content["model"]["vocab"] = {token: change.get(i, i) for token, i in vocab.items()}
        added = [token | {"id": change.get(token["id"], token["id"])} for token in content.get("added_tokens") or ()]
        content["added_tokens"] = sorted(added, key=lambda token: token["id"])
    return content
