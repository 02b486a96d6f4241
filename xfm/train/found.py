"""What `config.start.source` names: a checkpoint of the Hub, or a run of xfm, before its weights are read."""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from xfm.errors import XfmError
from xfm.folders import is_run
from xfm.paths import flatten
from xfm.spec import nested, plain
from xfm.structures import build
from xfm.structures.pretrained import OwnHead
from xfm.train.kept import tokenizer_of
from xfm.train.record import read_record
from xfm.transforms import lasting, merged, operated, transforms_of
from xfm.transforms.base import Transform

Ids = Mapping[str, tuple[int, int]]
NUMBER = re.compile(r"(LABEL_)?\d+")  # a class name that says no more than the class's number


@dataclasses.dataclass(frozen=True)
class Found:
    """A checkpoint that a network can start from.

    source: its name.  spec: that of its network.  heads: names of those that a network of kind "pretrained" takes.
    asked: the head that config.start.head names, which has to fit.  own: see `xfm.structures.pretrained`.
    tokenizer: spec of its tokeniser.  kinds: the number of token types in its texts.
    family: the Hub's model_type; None if it has none.  labels: the class names of each head that has such names.
    shapes, weights: functions that return those of its parameters, by path.
    inputs: a function from a row of the data, and the ids that the network has rows for (`Structure.ids`), to the row
    that its network takes; None if rows need no change.
    transforms: specs of its network's transforms, whose own parameters are among the weights.
    pixels: fields of a data source of images, `mean` and `std`, with which its images were normalised, if it says so.
    """

    source: str
    spec: dict[str, Any]
    heads: tuple[str, ...]
    asked: str | None
    own: OwnHead
    tokenizer: dict[str, Any]
    kinds: int
    family: str | None
    labels: Mapping[str, tuple[str, ...]]
    shapes: Callable[[], Mapping[str, tuple[int, ...]]]
    weights: Callable[[], Mapping[str, np.ndarray]]
    inputs: Callable[[Mapping[str, np.ndarray], Ids], dict[str, np.ndarray]] | None = None
    transforms: Sequence[Mapping[str, Any]] = ()
    pixels: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def find(source: str, head: str | None = None, revision: str | None = None) -> Found:
    """The checkpoint of that name, without reading its weights."""
    return of_run(Path(source).expanduser(), head) if is_run(source) else of_hub(source, head, revision)


def of_hub(source: str, head: str | None, revision: str | None) -> Found:
    """A checkpoint in the Hub's format: config.json and the names of tensors are read, no weights."""
    from xfm.hub.checkpoint import load, prepared, refuse_towers
    from xfm.hub.inputs import check_ids
    from xfm.hub.settings import Settings
    from xfm.tokenizers.checkpoint.tokenizer import TYPES

    with prepared(source, head, revision) as plan:
        checkpoint, shapes = plan.checkpoint, {path: tuple(x.shape) for path, x in plan.shapes.items()}
    refuse_towers(checkpoint, "a run starts from one of them; set config.start.head")
    config, family = checkpoint.config, checkpoint.family
    kept = [h.name for h in checkpoint.heads.values() if h.of_encoder or head is not None]
    names = class_names(Settings(config).labels) if isinstance(config.get("id2label"), Mapping) else ()
    kinds = config.get("type_vocab_size") or TYPES.get(family.model_type, 0)

    def weights():
        return flatten(load(source, head=head, revision=revision, place=lambda path, array: array).params)

    def inputs(row, ids):
        tokens = row["tokens"].reshape(-1, row["tokens"].shape[-1])
        typed = ("segments", "types") if kinds > 1 else ("segments",)
        mask, types = (row[n].reshape(tokens.shape) if n in typed and n in row else None for n in ("segments", "types"))
        made = checkpoint.batch(tokens, mask, types, None)
        check_ids(made, ids)
        lead = row["tokens"].shape[:-1]
        return {**row, **{n: x.reshape(*lead, *x.shape[1:]) for n, x in made.items() if n != "segments"}}

    return Found(
        source=str(source),
        spec=plain(checkpoint.spec),
        heads=tuple(kept),
        asked=None if head in (None, "none") else family.heads[head].name,
        own=own_heads(family, config),
        tokenizer={"kind": "checkpoint", "source": str(source), "revision": revision},
        kinds=kinds,
        family=str(family.files.part(config)["model_type"]),
        labels={
            name: names for name, one in checkpoint.spec["heads"].items() if names and classes_of(one) == len(names)
        },
        shapes=lambda: shapes,
        weights=weights,
        inputs=inputs if family.calling.reads == "text" else None,
        pixels=normalised(checkpoint),
    )


def normalised(checkpoint: Any) -> dict[str, Any]:
    """The mean and deviation of a checkpoint's image processor; nothing if it has none that xfm can read."""
    try:
        found = checkpoint.processor
    except XfmError:
        return {}
    return {} if found.mean is None or found.scale is None else {"mean": found.mean, "std": found.std}


def of_run(workdir: Path, head: str | None) -> Found:
    """A run of xfm. Raises XfmError where it has no such head, and where its tokeniser is damaged or absent."""
    record = read_record(workdir)
    config = record.config
    spec, data = config["model"], config["data"]
    if head is not None and head not in spec.get("heads", {}):
        has = ", ".join(spec.get("heads", {})) or "none"
        raise XfmError(f"the run in {workdir} has no head {head!r}; it has {has}")
    tokenizer = tokenizer_of(workdir, data, record.kept) or {"kind": "bytes"}
    names = class_names(dict(enumerate(record.classes)))

    @functools.cache
    def weights():
        from xfm.train.checkpoint import Checkpoints

        checkpoints = Checkpoints(workdir, mode="read")
        try:
            return checkpoints.weights()
        finally:
            checkpoints.close()

    family, own = family_of_run(config)
    return Found(
        source=str(workdir),
        spec=spec,
        heads=tuple(name for name in spec.get("heads", {}) if name in ("pooled", head)),
        asked=head,
        own=own,
        tokenizer=tokenizer,
        kinds=data.get("kinds") or getattr(build(spec), "types", None) or 0,
        family=family,
        labels={name: names for name, one in spec.get("heads", {}).items() if names and classes_of(one) == len(names)},
        shapes=lambda: {path: tuple(x.shape) for path, x in weights().items()},
        weights=weights,
        transforms=config.get("transforms") or (),
        pixels={name: data[name] for name in ("mean", "std") if data.get("kind") == "images" and name in data},
    )


def carried(found: Found, transforms: Sequence[Mapping[str, Any]]) -> Found:
    """The checkpoint as a network with these transforms starts from it.

    From a run with the same transforms everything is taken. Those of any other run are merged into its weights first,
    and then the new ones do their surgery on these. Raises XfmError for a transform that cannot be merged.
    """
    operates = any(type(one).surgery is not Transform.surgery for _, one in transforms_of(transforms))
    if plain(found.transforms) == plain(transforms) or not (found.transforms or operates):
        return found
    if name := lasting(found.transforms):
        raise XfmError(
            f"{found.source} has the transform {name!r}, which cannot be merged into its weights; to start from it, "
            "give config.transforms the same value as there"
        )
    there = {"model": found.spec, "transforms": found.transforms}

    @functools.cache
    def weights():
        spec, params = merged(there, unflatten_dict(dict(found.weights()), sep="/"))
        return {path: np.asarray(x) for path, x in flatten(operated(spec, params, transforms)[1]).items()}

    return dataclasses.replace(
        found,
        spec=plain(operated(found.spec, None, found.transforms)[0]),
        shapes=lambda: {path: tuple(x.shape) for path, x in weights().items()},
        weights=weights,
        transforms=(),
    )


def family_of_run(config: Mapping[str, Any]) -> tuple[str | None, OwnHead]:
    """The family of the Hub that can express a run's network, and that family's own heads; (None, no heads) if none."""
    from xfm.hub.matching import match
    from xfm.structures.pretrained import no_head

    try:
        m = match(config["model"], family=(config.get("start") or {}).get("family"))
    except XfmError:
        return None, no_head
    return m.family.model_type, own_heads(m.family, m.settings.content)


def own_heads(family: Any, config: Mapping[str, Any]) -> OwnHead:
    """From a head's name and number of classes to the specs of the family's head of that name and those it needs."""
    from xfm.hub.settings import Settings

    def own(name, classes):
        task = next((task for task, head in family.heads.items() if head.name == name), None)
        if task is None:
            return None
        counted = {} if classes is None else {"id2label": {str(i): f"LABEL_{i}" for i in range(classes)}}
        settings = Settings({**config, **counted})
        return {head.name: plain(head.spec(settings)) for head in family.chosen((task,)).values()}

    return own


def classes_of(head: Mapping[str, Any]) -> int | None:
    """How many classes a head has, or the head inside it; None if it has no classes."""
    return next((one["classes"] for one in nested(head) if one.get("classes")), None)


def class_names(labels: Mapping[int, str]) -> tuple[str, ...]:
    """The names in the order of their numbers; none where they only repeat the numbers, as the Hub's LABEL_0 does."""
    names = tuple(labels[number] for number in sorted(labels))
    counted = sorted(labels) == list(range(len(labels)))
    return () if not counted or all(NUMBER.fullmatch(name) for name in names) else names


def same_names(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists name the same classes in any order, upper and lower case aside."""
    return sorted(name.casefold() for name in one) == sorted(name.casefold() for name in other)
