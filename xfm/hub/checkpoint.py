"""A checkpoint of the Hub as a network of xfm's: loaded, called by the Hub's names, saved back."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Int

from xfm.errors import XfmError, nearest
from xfm.fields import shown
from xfm.folders import folder_of, is_run, line, read_json
from xfm.hub.buffers import check_buffers
from xfm.hub.families import FAMILIES
from xfm.hub.family import Family, Head
from xfm.hub.files import Tensors, tensors_of
from xfm.hub.inputs import check_ids, of_pairs, whole
from xfm.hub.naming import At, Piece
from xfm.hub.settings import Settings
from xfm.hub.weights import assign, dtypes_in, fill, flat_shapes, held, prefixes_of
from xfm.spec import SpecError
from xfm.structures import build
from xfm.structures.sublayer import Sublayer


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: `checkpoint(input_ids=…, attention_mask=…)`.

    model: the Flax module.  params: its parameters.  config: config.json as it was.  spec: the stack that it describes.
    family: the table of names.  heads: those that were loaded, by the Hub's names.  folder: where the files are.
    dtypes: of the files' tensors, by today's names.  prefixes: before the encoder's names there (`before_names`).
    """

    model: nn.Module
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    spec: Mapping[str, Any]
    family: Family
    heads: Mapping[str, Head]
    folder: Path
    ignore: tuple[str, ...] = ()
    dtypes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prefixes: tuple[str, str] | None = None

    def replace(self, **changes: Any) -> "Checkpoint":
        """The same checkpoint with other fields, `params` for one."""
        return dataclasses.replace(self, **changes)

    @cached_property
    def tokenizer(self):
        """The checkpoint's tokeniser (see `xfm.tokenizers.checkpoint.tokenizer`), read when first asked for."""
        from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer

        return read_tokenizer(self.folder, self.config)

    def save(self, path: str | Path, **how: Any) -> Path:
        """Writes it as a folder that transformers loads as its own; see `xfm.hub.saving.save`."""
        from xfm.hub.saving import save

        return save(self, path, **how)

    def __call__(
        self,
        input_ids: Int[Array, "*B T"],
        attention_mask: Int[Array, "*B T"] | None = None,
        token_type_ids: Int[Array, "*B T"] | None = None,
        position_ids: Int[Array, "*B T"] | None = None,
        *,
        output_hidden_states: bool = False,
        **more: Int[Array, "*B T"],
    ) -> dict[str, Any]:
        """`last_hidden_state` [B T D]; `pooled` [B D], `logits` and each head's output by name, where there are any.

        The arguments are the Hub's: attention_mask is 0 at padding. What stands at padding in the outputs is without
        meaning. hidden_states, if asked for: the embedding and each layer, a tuple of [B T D]. Multiple choice takes
        [B choices T] and gives logits [B choices]. more: what this family alone takes, as Longformer does
        global_attention_mask. Compiled once per shape.
        """
        if unknown := set(more) - set(self.family.calling.more) - set(self.family.calling.pairs):
            raise XfmError(f"{self.family.model_type} takes no input {min(unknown)!r}")
        pairs = {name: more.pop(name) for name in self.family.calling.pairs if name in more}
        given = whole(input_ids, attention_mask, token_type_ids, position_ids, **more)
        pairs = of_pairs(given[0].shape, pairs)
        choices = given[0].shape[1] if given[0].ndim == 3 else None
        given = [a if a is None else a.reshape(-1, a.shape[-1]) for a in given]
        batch = self.batch(*given[:4], **dict(zip(more, given[4:], strict=True)), **pairs)
        check_ids(batch, self.network.ids())
        out = self._run(self.params, batch, output_hidden_states)
        return self._answer(self.family.calling.outputs(batch, out), choices)

    @cached_property
    def network(self) -> nn.Module:
        """The structure that `spec` describes, without the transforms that `model` may have."""
        return build(self.spec)

    def batch(
        self, input_ids, attention_mask=None, token_type_ids=None, position_ids=None, **more
    ) -> dict[str, np.ndarray]:
        """The Hub's inputs as a batch of the model's."""
        settings = Settings(self.config, str(self.folder / "config.json"))
        return self.family.calling.inputs(settings, input_ids, attention_mask, token_type_ids, position_ids, **more)

    @cached_property
    def _run(self) -> Callable:
        return jax.jit(partial(_run, self.model, self.family), static_argnums=2)

    def _answer(self, out: Mapping[str, Any], choices: int | None) -> dict[str, Any]:
        answer = {"last_hidden_state": out["hidden"]}
        if "hidden_states" in out:
            answer["hidden_states"] = out["hidden_states"]
        for task, head in self.heads.items():
            value = out[head.name]
            if task == "question_answering":
                answer["start_logits"], answer["end_logits"] = value[..., 0], value[..., 1]
            elif task == "multiple_choice":
                value = value.reshape(-1, choices or 1)
            answer[task] = value
            if isinstance(value, Mapping):
                answer |= value
                continue
            if self.spec["heads"][head.name]["kind"] != "vector":
                answer.setdefault("logits", value)
        return answer


def _run(model: nn.Module, family: Family, params, batch, with_states: bool) -> dict[str, Any]:
    if not with_states:
        return model.apply({"params": params}, batch)

    def keep(module, method):
        named = module.name in ("embed", "spread") or "/".join(module.path) in family.calling.streams
        return named or isinstance(module, Sublayer)

    out, kept = model.apply({"params": params}, batch, capture_intermediates=keep, mutable=["intermediates"])
    return {**out, "hidden_states": layers_of(kept["intermediates"], out["hidden"], family)}


def layers_of(kept: Mapping[str, Any], last: Array, family: Family) -> tuple[Array, ...]:
    """The embedding and the stream after each of the file's layers; at the end `last`, where the family has it so.

    Of a funnel with a decoder, what that starts from as well.
    """
    if family.calling.streams:
        return tuple(x for path in family.calling.streams for x in _stream(kept, path))
    ((embedded, _),) = kept["embed"]["__call__"]
    blocks = sorted((name for name in kept if name.startswith("block_")), key=_number)
    parts = [kept[name].get(part, {}) for name in blocks for part in ("first", "layers")]
    parts += [kept.get(name, {}) for name in ("prologue", "layers", "epilogue")]
    stream = [x for part in parts for x in _after(part)[family.sublayers - 1 :: family.sublayers]]
    if "spread" in kept:
        stream.append(kept["spread"]["__call__"][0])
        stream += _after(kept.get("decoder", {}).get("layers", {}))[family.sublayers - 1 :: family.sublayers]
    return (embedded, *stream[:-1], {"hidden": last, "layer": stream[-1]}[family.calling.last])


def _number(name: str) -> int:
    return int(name.rsplit("_", 1)[1])


def _after(sublayers: Mapping[str, Any]) -> list[Array]:
    """The stream after each run of each sublayer of a period, in order."""
    runs = [
        [x for y, _ in sublayers[name]["__call__"] for x in y.reshape(-1, *y.shape[-3:])]
        for name in sorted(sublayers, key=_number)
    ]
    return [x for run in zip(*runs, strict=True) for x in run]


def _stream(kept: Mapping[str, Any], path: str) -> Array:
    """What the module of that path gave, one [B T D] for each time that it stands in the network."""
    (made,) = reduce(lambda inside, name: inside[name], path.split("/"), kept)["__call__"]
    x = made[0] if isinstance(made, tuple) else made
    return x.reshape(-1, *x.shape[-3:])


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checkpoint before its numbers are read.

    checkpoint: all but the parameters.  shapes: of each by its path.  assigned: the pieces of the files that make it.
    unused: tensors that stay where they are, and why.  tensors: the open files.
    """

    checkpoint: Checkpoint
    shapes: Mapping[str, jax.ShapeDtypeStruct]
    assigned: Mapping[str, list[Piece]]
    unused: Mapping[str, str]
    tensors: Tensors


def load(
    source: str | Path,
    *,
    head: str | None = None,
    revision: str | None = None,
    ignore: tuple[str, ...] = (),
    dtype: str | None = None,
    place: Callable[[str, np.ndarray], Any] | None = None,
) -> Checkpoint:
    """The checkpoint in a folder, or of that name on the Hub, as a network of xfm's.

    head: which one to load ("masked_lm", "sequence_classification", …); None loads all that the files hold.
    revision: of the Hub's repository.  ignore: keys of config.json that are known not to change the result.
    dtype: in which the network computes; bfloat16 on accelerators and float32 on a CPU if None.
    place: from a parameter's path and its array on the host to what the parameter becomes, a device's array if None;
    `sharded(mesh, rules)` puts each onto the shards of a mesh.

    Nothing of the checkpoint is executed. Raises XfmError, before any parameter is made, where config.json asks for
    what xfm does not have, and where names or shapes in the files are not those of the family.
    """
    if is_run(source):
        raise XfmError(f"{source} is the workdir of a run, and no checkpoint of the Hub's; xfm.load opens both")
    with planned(source, head, revision, ignore, dtype) as plan:
        params = fill(plan.shapes, plan.assigned, plan.tensors, place or (lambda path, array: jax.device_put(array)))
        return plan.checkpoint.replace(params=params)


@contextlib.contextmanager
def planned(
    source: str | Path,
    head: str | None = None,
    revision: str | None = None,
    ignore: tuple[str, ...] = (),
    dtype: str | None = None,
) -> Iterator[Plan]:
    """What `load` would do, with everything checked that can be before a number is read."""
    folder = folder_of(source, revision)
    config = read_json(folder / "config.json")
    settings = Settings(config, str(folder / "config.json"), ignore)
    family = family_of(config, settings.path)
    with tensors_of(folder) as tensors:
        try:
            _check_counts(config, settings.path, tensors)
            heads = _untied(family, config, tensors, _heads(family, config, tensors, head))
            spec = dict(family.network(settings), dtype=dtype)
            spec["heads"] = {h.name: dict(h.spec(settings)) for h in heads.values()}
            settings.finish()
            model = build(spec)
            shapes = flat_shapes(model, example_of(family, settings))
        except SpecError as error:  # a value that no field of a part may hold: an epsilon of -1
            raise XfmError(f"{settings.path} describes no network: {error}") from error
        except XfmError:
            raise
        except Exception as error:  # a number where a word should be, a negative size, …
            raise XfmError(f"{settings.path} describes no network: {type(error).__name__}: {line(error)}") from error
        assigned, unused = assign(family, heads, model.layers(), shapes, tensors)
        check_buffers(family, settings, spec, unused, tensors)
        known = dict(dtypes=dtypes_in(family, tensors), prefixes=prefixes_of(family, heads, assigned, tensors))
        checkpoint = Checkpoint(model, {}, config, spec, family, heads, folder, tuple(ignore), **known)
        yield Plan(checkpoint, shapes, assigned, unused, tensors)


def family_of(config: Mapping[str, Any], path: str = "config.json") -> Family:
    """The family that a config.json names; XfmError with those that there are."""
    kind = shown(config.get("model_type")).strip("'")
    if kind not in FAMILIES:
        raise XfmError(f"{path} is of model_type {kind!r}{nearest(kind, FAMILIES)}; xfm loads {', '.join(FAMILIES)}")
    kin = FAMILIES[kind].files.kin
    return next((other for (key, value), other in kin.items() if config.get(key) == value), FAMILIES[kind])


def _check_counts(config: Mapping[str, Any], path: str, tensors: Tensors) -> None:
    """Raises XfmError for more layers or classes than there can be, before somebody counts to them."""
    numbers = sum(math.prod(tensors.shape(name)) for name in tensors)
    for key, value in config.items():
        if isinstance(value, Mapping) and len(value) > numbers:
            raise XfmError(f"{path} lists {len(value)} items as {key}, and the files hold {numbers} numbers in all")
        elif isinstance(value, Mapping):
            _check_counts(value, f"{path}, {key}", tensors)
        elif isinstance(value, int) and re.search(r"layers?$", key) and value > len(tensors):
            raise XfmError(f"{path} sets {key} to {shown(value)}, and the files hold {len(tensors)} tensors in all")
        elif isinstance(value, int) and re.search(r"_(labels|size|heads)$", key) and value > numbers:
            raise XfmError(f"{path} sets {key} to {shown(value)}, and the files hold {numbers} numbers in all")


def _heads(family: Family, config: Mapping[str, Any], tensors: Tensors, task: str | None) -> dict[str, Head]:
    """The heads to load: the one asked for, or those of config.json's class and all others that are in the file."""
    there = held(family, tensors)
    if task is not None:
        family.head(task)
        if task not in there:
            raise XfmError(f"the file holds no head {task!r}; it holds {', '.join(there) or 'none'}")
        return family.chosen((task,))
    named = [one for one in family.tasks_of(config.get("architectures") or []) or () if one in there]
    names = {one: _names(head) for one, head in there.items()}
    clear = [
        one for one in there if names[one] and not any(names[one] & names[other] for other in there if other != one)
    ]
    order = [one for one in (*named, *clear) if one != "pooled"]
    order = list({there[one].name: one for one in reversed(order)}.values())[::-1]  # of two ways to keep one, the first
    return family.chosen(tuple(dict.fromkeys([*(["pooled"] if "pooled" in there else []), *order])))


def _untied(family: Family, config: Mapping[str, Any], tensors: Tensors, heads: Mapping[str, Head]) -> dict[str, Head]:
    """The heads with the names that they have in files where nothing is tied to the embedding, if it is so here."""
    if config.get("tie_word_embeddings", True):
        return dict(heads)
    names = {family.today(name) for name in tensors}
    return {task: head.told_apart(names.__contains__) for task, head in heads.items()}


def _names(head: Head) -> set[str]:
    return {row.name if isinstance(row, At) else row for row in head.names.values()}


def example_of(family: Family, settings: Settings) -> dict[str, Any]:
    """The smallest batch, to trace the network with."""
    return family.calling.inputs(settings, np.ones((1, 1), np.int32), None, None, None)


def sharded(mesh: jax.sharding.Mesh, rules: Any) -> Callable[[str, np.ndarray], Array]:
    """For `load(place=…)`: each parameter goes onto the shards of a mesh, by the trainer's sharding rules.

    rules: (regex on the path, partition spec), as `xfm.sharding` has them, or the name of a set of them there.
    """
    from xfm.sharding import fit, rule_of, rules_named

    rules = rules_named(rules) if isinstance(rules, str) else rules

    def place(path: str, array: np.ndarray) -> Array:
        where = jax.sharding.NamedSharding(mesh, fit(path, array.shape, rule_of(path, rules), mesh)[0])
        return jax.make_array_from_callback(array.shape, where, lambda index: array[index])

    return place
