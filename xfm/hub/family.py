"""What xfm knows of one family of checkpoints: plain data and a few small functions."""

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
    """A head as the Hub has it.

    name: of the head in xfm's stack, where objectives look for it.
    spec: from config.json to the head's spec.  names: its rows of the table, by places below `head_NAME`.
    needs: heads, by the family's names, that must stand before it (a pooler).
    of_encoder: whether files keep it with the encoder, under the family's prefix.
    apart: rows that stand in for those of `names` where config.json does not tie the head to the embedding.
    """

    name: str
    spec: Callable[[Settings], Spec]
    names: Names
    needs: tuple[str, ...] = ()
    of_encoder: bool = False
    apart: Names = dataclasses.field(default_factory=dict)

    def told_apart(self, held: Callable[[str], bool] = lambda name: True) -> "Head":
        """The head with the rows of `apart` whose names a file holds, or all of them."""
        rows = {place: name for place, name in self.apart.items() if held(name)}
        return dataclasses.replace(self, names={**self.names, **rows})


def counted(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family whose positions count every token of a row, padding too (BERT).

    Arrays [B T], or None where the caller gave none; attention_mask is 0 at padding.
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
    """What the files of a family hold beside the encoder and its heads, and under which names.

    renames: (regex, replacement) that turn names of older files into today's.
    ignored: regex of a file's name -> why it may be there unused.
    buffers: regex of a file's name -> whether what it holds is what the network computes, see `xfm.hub.buffers`.
    tied: a file's name -> the name of the tensor that it must repeat, if it is there at all.
    constants: tensors that files have and that follow from config.json, by their names without the prefix.
    wholes: ends of classes that hold more than is loaded.  part: from the config.json of such a whole to that of the
    part alone, where they differ.
    kin: (key, value) of config.json -> the family that files of this model_type are of where they say so.
    """

    renames: tuple[tuple[str, str], ...] = ()
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    buffers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Callable[[Settings], dict[str, np.ndarray]] = lambda c: {}
    wholes: tuple[str, ...] = ()
    part: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    kin: Mapping[tuple[str, Any], "Family"] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Calling:
    """How a family's model is called, and what it gives.

    inputs: from the Hub's inputs to a batch.  more: names of further inputs of the Hub that `inputs` takes, or may.
    pairs: names of those that say something of pairs of tokens, [B K T].
    outputs: from the batch and what the network made of it to what the Hub's model gives, where the two differ.
    streams: paths of the modules whose outputs are the hidden states; the embedding and a stack's layers if empty.
    last: of the hidden states: the stack's output, "hidden", or that of its last layer, "layer", before norm and map.
    """

    inputs: Callable[..., Batch] = counted
    more: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    outputs: Callable[[Batch, dict[str, Any]], dict[str, Any]] = lambda batch, out: out
    streams: tuple[str, ...] = ()
    last: Literal["hidden", "layer"] = "hidden"


@dataclasses.dataclass(frozen=True)
class Family:
    """A network, a table of names, and heads.

    network: from config.json to the stack's spec, without heads.  names: rows of the encoder's parameters.
    prefix: under which a file with a head keeps the encoder, "bert." for one.
    heads: by the Hub's names of tasks.  architectures: end of the class in config.json -> the heads that it has.
    sublayers: how many of the stack's make one of the file's layers.
    keys: the way back of `network`, from a stack's spec to config.json; empty where nobody has written it.
    classes: what the names of its classes begin with, "Bert" for one.
    near: field of a spec -> what differs where a trained network has another value there than the Hub's files can say.
    files: what else its files hold.  calling: how its model is called.
    """

    model_type: str
    network: Callable[[Settings], Spec]
    names: Names
    heads: Mapping[str, Head] = dataclasses.field(default_factory=dict)
    architectures: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    sublayers: int = 2
    keys: Keys = dataclasses.field(default_factory=dict)
    classes: str = ""
    near: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: Files = Files()
    calling: Calling = Calling()

    def head(self, task: str) -> Head:
        """The head of that name; XfmError with the legal ones."""
        if task not in self.heads:
            raise XfmError(
                f"{self.model_type} has no head {task!r}{nearest(task, self.heads)}; it has {', '.join(self.heads)}"
            )
        return self.heads[task]

    def chosen(self, tasks: tuple[str, ...]) -> dict[str, Head]:
        """The heads of these tasks and those they need, in the order in which they must stand."""
        wanted: dict[str, Head] = {}
        for task in tasks:
            wanted |= {needed: self.head(needed) for needed in self.head(task).needs}
            wanted[task] = self.head(task)
        return wanted

    def tasks_of(self, architectures: list[str]) -> tuple[str, ...] | None:
        """The heads of the class that config.json names; None where xfm does not know its name."""
        for end in sorted(self.architectures, key=len, reverse=True):
            if any(name.endswith(end) for name in architectures):
                return self.architectures[end]
        return None

    def rows(self, heads: Mapping[str, Head]) -> Names:
        """The encoder's rows and those of these heads."""
        rows = dict(self.names)
        for head in heads.values():
            rows |= {f"head_{head.name}/{place}".rstrip("/"): name for place, name in head.names.items()}
        return rows

    def today(self, name: str) -> str:
        """A file's name without the prefix, as today's files have it."""
        name = name.removeprefix(self.prefix) if self.prefix else name
        for pattern, new in self.files.renames:
            name = re.sub(pattern, new, name)
        return name
