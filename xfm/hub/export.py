"""A run of xfm's trainer as a checkpoint of the Hub, where its network is one that a family there has.

A family takes part by `config_of`, the way back from a stack's spec to config.json. Nothing is believed: the network
that the new config.json describes must be the one that was trained, key by key.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.hub.checkpoint import Checkpoint
from xfm.hub.families import FAMILIES
from xfm.hub.family import Family, Head
from xfm.hub.files import line, read_json
from xfm.hub.settings import Settings
from xfm.structures import build

PASSING = ("drop", "dtype", "remat")  # of a spec: they change no result
SPECIALS = {"pad": "pad_token", "unknown": "unk_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a workdir of `xfm train`."""
    path = Path(folder).expanduser() / "config.json"
    return path.is_file() and read_json(path).keys() == {"config", "data"}


@contextlib.contextmanager
def run_checkpoint(workdir: str | Path) -> Iterator[tuple[Checkpoint, dict[str, Any]]]:
    """The newest good checkpoint of a run, and what the card says of it: data, training and metrics.

    The data of the run must still be there, as for `xfm eval`. Raises XfmError where no family has such a network.
    """
    from xfm.train.evaluation import weights_of
    from xfm.train.logs import read_metrics
    from xfm.train.record import open_workdir, read_record
    from xfm.train.run import setup

    workdir = open_workdir(workdir)
    config = read_record(workdir)[0]
    spec = config.get("model") or {}
    family, settings, heads = match(spec)
    run = setup(config, workdir, "read", None)
    with contextlib.closing(run.checkpoints), contextlib.closing(run.report):
        found = run.checkpoints.restore(run.like)
    if found is None:
        raise XfmError(f"{workdir} holds no checkpoint yet; train it first")
    state = found[0]
    valid = [one for one in read_metrics(workdir) if one["kind"] == "valid" and one["step"] <= int(state.step)]
    metrics = {f"{k} (validation)": v for k, v in (valid[-1] if valid else {}).items() if isinstance(v, float)}
    training = {key: value for key, value in config.items() if key not in ("model", "data", "mesh")}
    about = {"data": config["data"], "training": training, "metrics": metrics}
    with tempfile.TemporaryDirectory() as folder:
        content = settings.content | write_tokenizer(workdir, Path(folder), run.data.vocabulary, settings.content)
        params = weights_of(state)
        yield Checkpoint(build(spec), params, content, spec, family, heads, Path(folder)), about


def match(spec: Mapping[str, Any]) -> tuple[Family, Settings, dict[str, Head]]:
    """The family that has this network, its config.json, and its names of the heads."""
    reasons = []
    for family in FAMILIES.values():
        if family.config_of is None:
            continue
        try:
            config = family.config_of(spec) | labels_of(spec)
            settings = Settings(config)
            heads = {task: head for task, head in family.heads.items() if head.name in spec.get("heads", {})}
            again = dict(family.network(settings)) | {"heads": {h.name: h.spec(settings) for h in heads.values()}}
            settings.finish()
            differ = different(spec, again)
        except (KeyError, TypeError, ValueError, XfmError) as error:
            differ = f"{type(error).__name__}: {line(error)}"
        if differ is None:
            return family, settings, heads
        reasons.append(f"{family.model_type}: {differ}")
    raise XfmError(f"no family of the Hub that xfm can write has this network ({'; '.join(reasons)})")


def labels_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The classes of config.json, of the one head that has some of its own."""
    found = [head["classes"] for name, head in spec.get("heads", {}).items() if "classes" in head and name != "nsp"]
    names = {str(i): f"LABEL_{i}" for i in range(found[0])} if found else {}
    return {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}} if found else {}


def different(one: Any, other: Any, where: str = "model") -> str | None:
    """The first place at which two specs differ in what changes a result, with both values; None if nowhere."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = [key for key in {**one, **other} if key not in PASSING]
        found = (different(one.get(key), other.get(key), f"{where}.{key}") for key in keys)
        return next((words for words in found if words), None)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        found = (different(a, b, f"{where}.{i}") for i, (a, b) in enumerate(zip(one, other, strict=True)))
        return next((words for words in found if words), None)
    nothing = (None, {}, [], ())  # a field that may as well be absent; False is not, its default may be True
    same = one == other or (one in nothing and other in nothing)
    return None if same else f"{where} is {one!r} and would be {other!r}"


def write_tokenizer(workdir: Path, folder: Path, vocabulary: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The run's tokenizer.json made ready for whole texts, with its settings; gives the ids for config.json."""
    if vocabulary is None:
        return {}
    ids = {role: getattr(vocabulary, role) for role in SPECIALS if getattr(vocabulary, role) is not None}
    keys = {"pad": "pad_token_id", "cls": "cls_token_id", "sep": "sep_token_id", "mask": "mask_token_id"}
    if (workdir / "tokenizer.json").is_file():
        from tokenizers import Tokenizer
        from tokenizers.processors import TemplateProcessing

        tokenizer = Tokenizer.from_file(str(workdir / "tokenizer.json"))
        words = {role: tokenizer.id_to_token(i) for role, i in ids.items()}
        if tokenizer.post_processor is None and {"cls", "sep"} <= words.keys():
            cls, sep = words["cls"], words["sep"]
            tokenizer.post_processor = TemplateProcessing(
                single=f"{cls} $A {sep}",
                pair=f"{cls} $A {sep} $B:1 {sep}:1",
                special_tokens=[(cls, ids["cls"]), (sep, ids["sep"])],
            )
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {SPECIALS[role]: word for role, word in words.items()}
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
        if "max_position_embeddings" in config:
            settings["model_max_length"] = config["max_position_embeddings"]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return {key: ids[role] for role, key in keys.items() if role in ids}
