"""The description of a family of checkpoints: plain data and a few small functions."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from xfm.errors import XfmError, nearest
from xfm.hub.keys import Keys
from xfm.hub.naming import Names
from xfm.hub.settings import Settings

Spec = Mapping[str, Any]
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Head:
    """A head, as the Hub's files have it.

    name: of the head in xfm's network, by which objectives find it.
    spec: from config.json to the head's spec.
    names: path below `head_NAME` -> name in the files (see naming.py).
    needs: other heads (by the Hub's names of tasks) that must come before it, such as a pooler.
    of_encoder: whether the files have it under the encoder's prefix.
    apart: rows that replace those of `names` if config.json does not tie the head to the embedding.
    """

    name: str
    spec: Callable[[Settings], Spec]
    names: Names
    needs: tuple[str, ...] = ()
    of_encoder: bool = False
    apart: Names = dataclasses.field(default_factory=dict)

    def untied(self, held: Callable[[str], bool] = lambda name: True) -> "Head":
        """The head with a table of its own: with the rows of `apart` whose names satisfy `held`."""
        rows = {path: name for path, name in self.apart.items() if held(name)}
        return dataclasses.replace(self, names={**self.names, **rows})


def counted(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family whose positions count every token of a row, padding included (as in BERT).

    Arguments are arrays [B T] or None; attention_mask is 0 at padding.
    """
    length = input_ids.shape[1]
    positions = np.arange(length)[None] if position_ids is None else position_ids
    batch = dict(tokens=input_ids, positions=np.broadcast_to(positions, input_ids.shape))
    if attention_mask is not None:
        batch["segments"] = attention_mask > 0
    if token_type_ids is not None:
        batch["types"] = token_type_ids
    return {name: np.asarray(value, np.int32) for name, value in batch.items()}


@dataclasses.dataclass(frozen=True)
class Files:
    """Peculiarities of a family's files: old names, and tensors that are not parameters of xfm's network.

    renames: (regex, replacement) from names in older files to the current ones.
    ignored: regex of a tensor's name -> the reason why it is not used.
    buffers: regex of a tensor's name -> a check that it equals what the network computes (see `xfm.hub.buffers`).
    beside: regex of the names of the network's tensors that are outside of the encoder's prefix, as those of the norms
    of a backbone's features are.
    tied: name of a tensor that files may have -> name of the tensor that it must equal.
    constants: from config.json to tensors that files need but that are no parameters, by name without prefix.
    wholes: suffixes of classes that hold more networks than the one that is loaded.
    part: from the config.json of such a class to that of the loaded network.
    kin: (key, value) in config.json, lists as tuples, -> another family, to which files with this model_type belong.
    """

    renames: tuple[tuple[str, str], ...] = ()
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    buffers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    beside: str = "$^"
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Callable[[Settings], dict[str, np.ndarray]] = lambda c: {}
    wholes: tuple[str, ...] = ()
    part: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    kin: Mapping[tuple[str, Any], "Family"] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Calling:
    """How a family's model is called, and what it returns.

    reads: what the model is given: "text", ids of tokens, or another kind of array, a name of `inputs.KINDS`.
    inputs: from the Hub's inputs to a batch.
    example: from config.json to the smallest batch; if None, a text of one token.
    more: optional extra inputs of `inputs`, by the Hub's names: [B T] for texts, of images any shape.
    pairs: optional extra inputs [B K T] about pairs of tokens, by the Hub's names.
    outputs: from the batch and the network's outputs to the outputs of the Hub's model.
    beside: further outputs of the Hub's model that are of no head, by the names that `outputs` gives them.
    streams: paths of the modules whose outputs are the hidden states, or a function of config.json that returns them;
    if empty, the embedding and the stack's layers. Those of a grid are in `reshaped_hidden_states` [B h w D] too.
    features: a function of config.json that returns the numbers of the hidden states that are `feature_maps`, where
    these are no outputs of the network itself.
    last: the last hidden state: the network's output ("hidden"), or that of its last layer before the final norm and
    projection ("layer").
    """

    reads: Literal["text", "images", "video", "frames", "patches"] = "text"
    inputs: Callable[..., Batch] = counted
    example: Callable[[Settings], Batch] | None = None
    more: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    outputs: Callable[[Batch, dict[str, Any]], dict[str, Any]] = lambda batch, out: out
    beside: tuple[str, ...] = ()
    streams: tuple[str, ...] | Callable[[Settings], tuple[str, ...]] = ()
    features: tuple[int, ...] | Callable[[Settings], tuple[int, ...]] = ()
    last: Literal["hidden", "layer"] = "hidden"


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of checkpoints: all that share a model_type.

    network: from config.json to the network's spec, without heads.
    names: path in the encoder -> name in the files (see naming.py), or a function of config.json that returns them.
    heads: by the Hub's names of tasks.
    architectures: suffix of the class in config.json -> the heads of that class.
    prefix: of the encoder's names in files that also have a head, such as "bert.".
    sublayers: the number of xfm's sublayers that make one layer of the Hub's, by stage where they differ (see
    `naming.pieces`); the hidden states of such a family are its `streams`.
    keys: the inverse of `network`, from a spec to config.json (see keys.py); empty if the family cannot be written.
    classes: the prefix of its classes' names, such as "Bert".
    near: field of a spec -> a note for the card, for values that the Hub's files cannot express exactly.
    files: peculiarities of its files.  calling: how its model is called.
    towers: for a network of several towers, the family of each, by its prefix in batches, spec and parameters. Each can
    also be loaded alone from the same files, by the name of one of its heads.
    """

    model_type: str
    network: Callable[[Settings], Spec]
    names: Names | Callable[[Settings], Names]
    heads: Mapping[str, Head] = dataclasses.field(default_factory=dict)
    architectures: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    sublayers: int | Mapping[str, int] = 2
    keys: Keys = dataclasses.field(default_factory=dict)
    classes: str = ""
    near: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Files = Files()
    calling: Calling = Calling()
    towers: Mapping[str, "Family"] = dataclasses.field(default_factory=dict)

    def described_by(self, settings: Settings) -> "Family":
        """The family with the names of the files, and the hidden states, that a config.json describes."""
        given = self.names, self.calling.streams, self.calling.features
        names, streams, features = (a(settings) if callable(a) else a for a in given)
        towers = {prefix: tower.described_by(settings) for prefix, tower in self.towers.items()}
        for prefix, tower in towers.items():
            names = {**names, **{f"{prefix}/{path}": name for path, name in tower.rows(tower.all_heads).items()}}
        calling = dataclasses.replace(self.calling, streams=streams, features=features)
        return dataclasses.replace(self, names=names, calling=calling, towers=towers)

    @property
    def all_heads(self) -> dict[str, Head]:
        """Its heads, the first one of those that have the same name."""
        return {task: head for task, head in self.heads.items() if head is self._by_name[head.name]}

    @property
    def _by_name(self) -> dict[str, Head]:
        return {head.name: head for head in reversed(self.heads.values())}

    def with_head(self, task: str | None) -> "Family":
        """This family, or the one of its towers that alone has the head of this task."""
        owners = [tower for tower in self.towers.values() if task in tower.heads]
        return owners[0] if owners and task not in self.heads else self

    def head(self, task: str) -> Head:
        """The head of a task. Raises XfmError, listing all tasks, if the family does not have it."""
        if task not in self.heads:
            known = [*self.heads, *(one for tower in self.towers.values() for one in tower.heads)]
            raise XfmError(f"{self.model_type} has no head {task!r}{nearest(task, known)}; it has {', '.join(known)}")
        return self.heads[task]

    def chosen(self, tasks: tuple[str, ...]) -> dict[str, Head]:
        """The heads of these tasks and the heads that they need, in an order that the network can build."""
        wanted: dict[str, Head] = {}
        for task in tasks:
            wanted |= {needed: self.head(needed) for needed in self.head(task).needs}
            wanted[task] = self.head(task)
        return wanted

    def tasks_of(self, architectures: list[str]) -> tuple[str, ...] | None:
        """The tasks of the class named in config.json; None if xfm does not know the class."""
        for end in sorted(self.architectures, key=len, reverse=True):
            if any(name.endswith(end) for name in architectures):
                return self.architectures[end]
        return None

    def rows(self, heads: Mapping[str, Head]) -> Names:
        """The table of names of the encoder and of `heads`."""
        rows = dict(self.names)
        for head in heads.values():
            rows |= {f"head_{head.name}/{path}".rstrip("/"): name for path, name in head.names.items()}
        return rows

    def today(self, name: str) -> str:
        """The current name of a tensor, without the prefix, from its name in a file of any age."""
        name = name.removeprefix(self.prefix) if self.prefix else name
        for pattern, new in self.files.renames:
            name = re.sub(pattern, new, name)
        return name
