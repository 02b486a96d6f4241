"""Exports a run of xfm's trainer as a checkpoint of the Hub, if a family there has its network."""

import contextlib
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from xfm.errors import XfmError
from xfm.folders import folder_of, is_run, read_json
from xfm.hub.checkpoint import Checkpoint, example_of
from xfm.hub.keys import complete
from xfm.hub.matching import Match, match
from xfm.hub.saving import copy
from xfm.hub.sentence.heads import pooling
from xfm.hub.sentence.modules import Modules, write_modules
from xfm.hub.weights import flat_shapes, hidden_width
from xfm.spec import build as build_from
from xfm.structures import build
from xfm.tokenizers.checkpoint.files import FILES
from xfm.transforms import lasting, merged, operated
from xfm.transforms.saved import save
from xfm.vocabulary import Vocabulary

SPECIALS = {"pad": "pad_token", "unknown": "unk_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
IDS = {"pad": "pad_token_id", "cls": "cls_token_id", "sep": "sep_token_id", "mask": "mask_token_id"}
WORDS = re.compile(r"embed/(tokens/)?word/embedding|head_mlm/(bias|table)")  # parameters with a row for each id


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """The content of a workdir.

    config: of the training, but with transforms merged into network and weights if possible.
    classes: names of the labels.  vocabulary: of its tokeniser.
    weights: the parameters that evaluation uses, by path.  family: the Hub's family that it started from.
    typed: the config with paths as the user typed them.
    metrics: of the last validation; None if they are damaged.
    """

    workdir: Path
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    vocabulary: Vocabulary | None
    weights: Mapping[str, np.ndarray]
    family: str | None
    typed: Mapping[str, Any]
    metrics: Mapping[str, float] | None

    @property
    def tokenizer(self) -> Mapping[str, Any]:
        """The spec of its tokeniser."""
        return self.config["data"].get("tokenizer") or {}

    def match(self) -> Match:
        """How a family of the Hub expresses its network. Raises XfmError if none does, or if transforms are left."""
        if self.config.get("transforms"):
            merged(self.config, traverse_util.unflatten_dict(dict(self.weights), sep="/"))  # raises the reason
        return match_of(self.config, self.classes)


def match_of(config: Mapping[str, Any], classes: tuple[str, ...] = ()) -> Match:
    """How a family of the Hub expresses the network of a run's config, with transforms merged.

    Raises XfmError if none does, or if a transform cannot be merged.
    """
    transforms = config.get("transforms") or ()
    if name := lasting(transforms):
        raise XfmError(f"the transform {name!r} of this run cannot be merged into the weights of a network of the Hub")
    spec, _ = operated(config.get("model") or {}, None, transforms)
    return match(spec, classes, (config.get("start") or {}).get("family"))


def read_run(workdir: str | Path) -> OpenedRun:
    """The newest valid checkpoint of a run, without its data. Raises XfmError if its tokeniser is damaged or absent."""
    from xfm.tokenizers import TOKENIZERS
    from xfm.train.checkpoint import Checkpoints
    from xfm.train.kept import tokenizer_of
    from xfm.train.record import open_run

    workdir, record = open_run(workdir)
    config = record.config
    tokenizer = tokenizer_of(workdir, config["data"], record.kept)
    with contextlib.closing(Checkpoints(workdir, mode="read")) as checkpoints:
        if not checkpoints.steps():
            raise XfmError(f"{workdir} has no checkpoint yet; train it first")
        step, weights, notes = checkpoints.newest()
    config, weights = without_transforms(config, weights)
    return OpenedRun(
        workdir=workdir,
        config=config,
        classes=tuple(record.classes),
        vocabulary=build_from(TOKENIZERS, tokenizer).fit(tuple, "", workdir).vocabulary if tokenizer else None,
        weights=weights,
        family=(config.get("start") or {}).get("family"),
        typed=record.as_typed(),
        metrics=last_metrics(workdir, step, (notes.get("metrics"), record.metrics)),
    )


def trained_alone(workdir: str | Path, file: Path) -> Path:
    """Writes what a run with transforms trained to a file: the transforms' parameters, and others that were trained.

    Raises XfmError if `workdir` is not a run with transforms.
    """
    from xfm.train.checkpoint import Checkpoints
    from xfm.train.optimiser import frozen_paths
    from xfm.train.record import open_run

    folder, record = open_run(workdir) if is_run(workdir) else (None, None)
    if record is None or not record.config.get("transforms"):
        raise XfmError(f"a file .npz is for what a run with transforms trained; {workdir} is not such a run")
    config = record.config
    with contextlib.closing(Checkpoints(folder, mode="read")) as checkpoints:
        weights = checkpoints.weights()
    still = frozen_paths(weights, config.get("freeze") or (), config.get("train_only") or ())
    also = [f"^{re.escape(path)}$" for path in weights if path not in still]
    return save(file, config, traverse_util.unflatten_dict(dict(weights), sep="/"), also)


def without_transforms(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
    """A run's config and weights with its transforms merged; unchanged if there are none or one cannot be merged."""
    transforms = config.get("transforms") or ()
    if not transforms or lasting(transforms):
        return config, weights
    try:
        spec, params = merged(config, traverse_util.unflatten_dict(dict(weights), sep="/"))
    except XfmError:  # such as a shift of a linear map without bias; `OpenedRun.match` raises it again
        return config, weights
    flat = {path: np.asarray(x) for path, x in traverse_util.flatten_dict(params, sep="/").items()}
    return {**config, "model": spec, "transforms": []}, flat


def last_metrics(workdir: Path, step: int, marks: tuple[list[int] | None, ...]) -> dict[str, float] | None:
    """The metrics of the last validation up to `step`, empty if there was none; None if metrics.jsonl is damaged.

    marks: of the file, from when it was not damaged.
    """
    from xfm.train.logs import changed_since, read_metrics

    if changed_since(workdir, marks):
        return None
    valid = [one for one in read_metrics(workdir) if one["kind"] == "valid" and one["step"] <= step]
    return {name: value for name, value in (valid[-1] if valid else {}).items() if isinstance(value, float)}


@contextlib.contextmanager
def run_checkpoint(workdir: str | Path) -> Iterator[tuple[Checkpoint, dict[str, Any]]]:
    """The newest valid checkpoint of a run, and facts for its card: data, training, metrics and notes.

    Raises XfmError if no family has the network, or not the family that the run started from.
    """
    from xfm.train.record import open_run

    config = open_run(workdir)[1].config
    match_of(config)  # before anything slow
    run = read_run(workdir)
    m = run.match()
    metrics = {f"{name} (validation)": value for name, value in (run.metrics or {}).items()}
    training = {key: value for key, value in run.typed.items() if key not in ("model", "data", "mesh")}
    with tempfile.TemporaryDirectory() as draft:
        c = exported(run, m, Path(draft))
        left = [name for name in m.left if not write_pooling(c.folder, run.config["model"], name)]
        notes = [*m.near, *(f"the Hub's {m.family.model_type} has no head {one!r}, which is left out" for one in left)]
        notes += without_tokenizer(run, c)
        notes += ["the run's metrics.jsonl is damaged, so its metrics are left out"] if run.metrics is None else []
        yield c, {"data": run.typed["data"], "training": training, "metrics": metrics, "notes": notes}


def without_tokenizer(run: OpenedRun, c: Checkpoint) -> list[str]:
    """A note if the run's tokeniser has no file that could be written, and the family makes none without a file."""
    kind = run.tokenizer.get("kind")
    made = kind == "characters" and c.family.model_type == "canine"
    if kind is None or made or any((c.folder / name).is_file() for name in FILES):
        return []
    return [f"the run's tokeniser, of kind {kind!r}, has no file that transformers could read, so none is written"]


def exported(run: OpenedRun, m: Match, folder: Path) -> Checkpoint:
    """The checkpoint of the Hub that a run is written as; the tokeniser's files are written to `folder`."""
    pad = None if run.vocabulary is None or run.tokenizer.get("kind") == "checkpoint" else run.vocabulary.pad
    c = checkpoint_of(m, traverse_util.unflatten_dict(dict(run.weights), sep="/"), folder, pad)
    write_processor(run, folder)
    return c.replace(config=write_tokenizer(run, folder, m) | c.config)


def write_processor(run: OpenedRun, folder: Path) -> None:
    """Writes preprocessor_config.json for a run on images, by which they are prepared as they were in training.

    Only for images of one channel or three and the same height and width: transformers crops no others as xfm does.
    """
    from xfm.data import SOURCES

    data = run.config["data"]
    if data.get("kind") != "images":
        return
    source = build_from(SOURCES, data)
    (height, width, channels), _ = source.row()["images"]
    mean, std = ([float(x) for x in np.broadcast_to(x, channels)] for x in (source.mean, source.std))
    if height != width:
        return
    content = dict(image_processor_type="BitImageProcessor", do_resize=True, size={"shortest_edge": height}, resample=2)
    content |= dict(do_center_crop=True, crop_size={"height": height, "width": width}, do_rescale=True)
    content |= dict(rescale_factor=1 / 255, do_normalize=True, image_mean=mean, image_std=std)
    content |= dict(do_convert_rgb=True) if channels == 3 else dict(do_convert_rgb=False)
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2) + "\n")


def checkpoint_of(m: Match, params: Mapping[str, Any], folder: Path, pad: int | None = None) -> Checkpoint:
    """The checkpoint of the Hub that a run's parameters are written as.  pad: the run's id of padding."""
    model = build(m.spec)
    shapes = flat_shapes(model, example_of(m.family, m.settings))
    made = parameters(params, shapes, m.moved, swapped_ids(m, pad))
    content = ({} if pad is None else {"pad_token_id": pad}) | m.settings.content
    return Checkpoint(model, made, content, m.spec, m.family, m.heads, folder)


def write_pooling(folder: Path, spec: Mapping[str, Any], name: str) -> bool:
    """Writes the files of sentence-transformers for a head that is a pooling; returns whether it is one."""
    found = pooling(complete(spec)["heads"][name])
    if found is not None:
        model = build(spec)
        write_modules(folder, Modules(folder, found), hidden_width(model), {}, model.most())
    return found is not None


def swapped_ids(m: Match, pad: int | None) -> tuple[int, int] | None:
    """Two ids to exchange, if the family counts positions from another id of padding than the run has; else None."""
    wanted = m.settings.content.get("pad_token_id")
    return None if wanted is None or pad is None or wanted == pad else (pad, wanted)


def parameters(
    params: Mapping[str, Any], shapes: Mapping[str, Any], moved: Mapping[str, str], swap: tuple[int, int] | None
) -> dict[str, Any]:
    """The parameters of the written network, from those of a run; biases that the run does not have are zero.

    shapes: of the written network, by path.  moved: prefixes of paths that change.  swap: ids to exchange.
    """
    flat = {path: np.zeros(shape.shape, shape.dtype) for path, shape in shapes.items() if path.endswith("bias")}
    for path, array in traverse_util.flatten_dict(params, sep="/").items():
        start = next((one for one in moved if path.startswith(one)), "")
        path = moved.get(start, "") + path.removeprefix(start)
        if path in shapes:
            flat[path] = array if swap is None or not WORDS.fullmatch(path) else swapped_rows(array, *swap)
    return traverse_util.unflatten_dict(flat, sep="/")


def swapped_rows(array: Any, a: int, b: int) -> np.ndarray:
    """A copy of an array with rows a and b exchanged."""
    array = np.array(array)
    array[[a, b]] = array[[b, a]]
    return array


def write_tokenizer(run: OpenedRun, folder: Path, m: Match | None) -> dict[str, Any]:
    """Writes the run's tokeniser to a folder, with a template for texts and with its settings.

    m: how the network is written; None if it is not written.  Returns the keys of config.json about the tokeniser.
    """
    vocabulary = run.vocabulary
    if vocabulary is None:
        return {}
    if run.tokenizer.get("kind") == "checkpoint":
        return copy_tokenizer(folder_of(run.tokenizer["source"], run.tokenizer.get("revision")), folder, vocabulary.pad)
    swap = None if m is None else swapped_ids(m, vocabulary.pad)
    spec = run.config["model"] if m is None else m.spec
    change = {} if swap is None else dict(zip(swap, swap[::-1], strict=True))
    ids = {role: getattr(vocabulary, role) for role in SPECIALS if getattr(vocabulary, role) is not None}
    ids = {role: change.get(i, i) for role, i in ids.items()}
    known = {IDS[role]: i for role, i in ids.items() if role in IDS}
    file = Path(run.tokenizer["path"]).expanduser() if run.tokenizer.get("kind") == "file" else None
    file = file or run.workdir / "tokenizer.json"
    if not file.is_file():
        return known
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_str(json.dumps(renumbered(read_json(file), change)))
    words = {role: tokenizer.id_to_token(i) for role, i in ids.items()}
    if tokenizer.post_processor is None and {"cls", "sep"} <= words.keys():
        cls, sep = words["cls"], words["sep"]
        end = "" if run.config["objective"]["kind"] == "causal_lm" else f" {sep}"  # a causal model continues the text
        tokenizer.post_processor = TemplateProcessing(
            single=f"{cls} $A{end}",
            pair=f"{cls} $A {sep} $B:1 {sep}:1",
            special_tokens=[(cls, ids["cls"]), (sep, ids["sep"])],
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {SPECIALS[role]: word for role, word in words.items()}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    if (most := build(spec).most()) is not None:
        settings["model_max_length"] = most
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return known


def copy_tokenizer(source: Path, folder: Path, pad: int) -> dict[str, Any]:
    """Copies a checkpoint's tokeniser to `folder`; returns the keys of its config.json about the tokeniser.

    pad: the id of padding in training. If the files do not name the class or a padding token (as GPT-2's), they are
    added to tokenizer_config.json.
    """
    from xfm.tokenizers.checkpoint.files import read_settings
    from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer

    copy(source, folder)
    content, settings = read_json(source / "config.json"), read_settings(source)
    kept = {key: content[key] for key in content if key.endswith("_token_id") or key == "tokenizer_class"}
    kept = {key: value for key, value in kept.items() if value is not None}
    tokenizer = read_tokenizer(source, content)
    special = {"pad": tokenizer.backend.id_to_token(pad)} | tokenizer.special
    said = {f"{role}_token": token for role, token in special.items() if not settings.get(f"{role}_token")}
    if (source / "tokenizer.json").is_file() and not ({"tokenizer_class"} & {*settings, *kept}):
        most = {"model_max_length": tokenizer.model_max_length} if tokenizer.model_max_length else {}
        how = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "padding_side": tokenizer.side,
            "truncation_side": tokenizer.cut,
        }
        said |= {key: value for key, value in (how | most).items() if key not in settings}
    if said:
        file = folder / "tokenizer_config.json"
        before = read_json(file) if file.is_file() else {}
        file.write_text(json.dumps(before | said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"pad_token_id": pad} | kept


def renumbered(content: dict[str, Any], change: Mapping[int, int]) -> dict[str, Any]:
    """The content of a tokenizer.json after exchanging ids.  change: id -> new id."""
    vocab = content["model"]["vocab"]
    if change and not isinstance(vocab, dict):
        raise XfmError(
            "the ids of this tokeniser cannot be exchanged, but its family counts positions from another id of padding"
        )
    if change:
        content["model"]["vocab"] = {token: change.get(i, i) for token, i in vocab.items()}
        added = [token | {"id": change.get(token["id"], token["id"])} for token in content.get("added_tokens") or ()]
        content["added_tokens"] = sorted(added, key=lambda token: token["id"])
        content["post_processor"] = _renumbered(content.get("post_processor"), change)
    return content


def _renumbered(step: Any, change: Mapping[int, int]) -> Any:
    """A post-processor of a tokenizer.json, or a part of one, after exchanging the ids of its special tokens."""
    if not isinstance(step, Mapping):
        return step
    if step.get("type") == "Sequence":
        return {**step, "processors": [_renumbered(one, change) for one in step["processors"]]}
    step = dict(step)
    for role in {"cls", "sep"} & step.keys():  # of a BertProcessing or RobertaProcessing: [token, id]
        token, i = step[role]
        step[role] = [token, change.get(i, i)]
    if "special_tokens" in step:  # of a TemplateProcessing
        tokens = {name: {**one, "ids": [change.get(i, i) for i in one["ids"]]}
                  for name, one in step["special_tokens"].items()}  # fmt: skip
        step["special_tokens"] = tokens
    return step
