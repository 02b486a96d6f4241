"""A checkpoint of the Hub as a network of xfm: it is loaded, called with the Hub's arguments, and saved."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Int

from xfm.batch import with_prefix
from xfm.context import Context
from xfm.errors import XfmError, nearest
from xfm.fields import shown
from xfm.folders import folder_of, is_run, line, read_json
from xfm.hub.buffers import check_buffers
from xfm.hub.families import FAMILIES, TIMM
from xfm.hub.families.backbones import is_backbone
from xfm.hub.family import Family, Head
from xfm.hub.files import Tensors, tensors_of
from xfm.hub.inputs import KINDS, TEXTS, array_of, check_ids, of_pairs, whole
from xfm.hub.naming import At, Piece
from xfm.hub.settings import Settings
from xfm.hub.weights import assign, dtypes_in, fill, flat_shapes, held, prefixes_of
from xfm.spec import SpecError, freeze
from xfm.structures import build
from xfm.structures.stack import dtype_of
from xfm.structures.sublayer import Sublayer


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint, called as `checkpoint(input_ids=…, attention_mask=…)` or `checkpoint(images=…)`.

    model: the Flax module.  params: its parameters.  config: config.json as in the file.  spec: of the network.
    family: its family.  heads: the loaded heads, by the Hub's names of tasks.  folder: where the files are.
    ignore: keys of config.json that the caller declared harmless.
    dtypes: of the files' tensors, by their current names.
    prefixes: of the encoder's names in files with a head and without one (see `before_names`).
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
        """A copy with other values of some fields, such as `params`."""
        return dataclasses.replace(self, **changes)

    @cached_property
    def tokenizer(self):
        """The checkpoint's tokeniser (see `xfm.tokenizers.checkpoint.tokenizer`), read on first access."""
        from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer

        return read_tokenizer(self.folder, self.config)

    @cached_property
    def processor(self):
        """The checkpoint's image processor (see `xfm.images.Processor`), read on first access: `m(images=m.processor(
        pictures))`; of a model of videos its video processor (`xfm.images.VideoProcessor`): `m(video=m.processor(
        videos))`. Raises XfmError if the model reads neither.
        """
        from xfm.images import read_processor, read_video_processor

        reads = [one.calling.reads for one in (self.family, *self.family.towers.values())]
        if "video" in reads:
            return read_video_processor(self.folder, self.config)
        if "images" not in reads:
            use = "; use its tokenizer" if "text" in reads else ""
            raise XfmError(f"{self.family.model_type} reads {reads[0]}, so it has no image processor{use}")
        return read_processor(self.folder, self.config)

    def save(self, path: str | Path, **how: Any) -> Path:
        """Writes the checkpoint as a folder that transformers can load; arguments as in `xfm.hub.saving.save`."""
        from xfm.hub.saving import save

        return save(self, path, **how)

    def __call__(
        self,
        input_ids: Int[Array, "*B T"] | None = None,
        attention_mask: Int[Array, "*B T"] | None = None,
        token_type_ids: Int[Array, "*B T"] | None = None,
        position_ids: Int[Array, "*B T"] | None = None,
        *,
        output_hidden_states: bool = False,
        **more: Array,
    ) -> dict[str, Any]:
        """The outputs by the Hub's names: `last_hidden_state` [B T D], and those of the loaded heads, such as `pooled`
        [B D] and `logits`.

        The arguments have the Hub's meaning; attention_mask is 0 at padding. Outputs at padding have no meaning.
        Multiple choice takes [B choices T] and returns logits [B choices].
        A pyramid also returns `feature_maps`, a tuple of its chosen stages' features [B h w D], channels last.
        output_hidden_states: whether to return `hidden_states`, a tuple of the embedding and each layer's output. A
        pyramid's are those of its stages; they are in `reshaped_hidden_states` too, as maps [B h w D], channels last.
        more: inputs that only this family has, such as Longformer's global_attention_mask. A model of images takes
        `images` [B height width C] or the Hub's `pixel_values` [B C height width], one of videos `video` [B time height
        width C] or `pixel_values` [B time C height width], one of spectrograms `frames` or `input_values` [B time
        bands]. A model of several towers takes the inputs of each; those without inputs do not run.
        The network is compiled once per shape. Raises XfmError for inputs of a wrong shape, dtype or range.
        """
        texts = dict(zip(TEXTS, (input_ids, attention_mask, token_type_ids, position_ids), strict=True))
        given = {name: array for name, array in texts.items() if array is not None} | more
        towers = self.family.towers or {"": self.family}
        if unknown := set(given).difference(*(arguments(tower) for tower in towers.values())):
            raise XfmError(_no_input(towers.values(), self.family.model_type, min(unknown)))
        batch, choices = {}, None
        for prefix, tower in towers.items():
            own = {name: array for name, array in given.items() if name in arguments(tower)}
            if own or not given or not self.family.towers:
                part, choices = self._batch(tower, own)
                batch |= with_prefix(prefix, part)
        check_ids(batch, self.network.ids())
        features = self.family.calling.features
        out = self._run(self.params, batch, output_hidden_states or bool(features))
        answer = self._answer(self.family.calling.outputs(batch, out), choices)
        if features:
            answer["feature_maps"] = tuple(answer["reshaped_hidden_states"][i] for i in features)
        if features and not output_hidden_states:
            del answer["hidden_states"], answer["reshaped_hidden_states"]
        return answer

    def _batch(self, family: Family, given: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        """The batch of the Hub's inputs, for one tower where there are several, and the number of choices in a row."""
        calling = family.calling
        if calling.reads != "text":
            kind = KINDS[calling.reads]
            more = {name: array for name, array in given.items() if name in calling.more}
            return calling.inputs(self._settings, array_of(kind, given), **more), None
        more = {name: given[name] for name in calling.more if name in given}
        arrays = whole(*(given.get(name) for name in TEXTS), **more)
        pairs = of_pairs(arrays[0].shape, {name: given[name] for name in calling.pairs if name in given})
        choices = arrays[0].shape[1] if arrays[0].ndim == 3 else None
        arrays = [a if a is None else a.reshape(-1, a.shape[-1]) for a in arrays]
        more = dict(zip(more, arrays[len(TEXTS) :], strict=True))
        return calling.inputs(self._settings, *arrays[: len(TEXTS)], **more, **pairs), choices

    @cached_property
    def _settings(self) -> Settings:
        return Settings(self.config, str(self.folder / "config.json"))

    @cached_property
    def network(self) -> nn.Module:
        """The structure that `spec` describes, without the transforms that `model` may have."""
        return build(self.spec)

    def batch(
        self, input_ids, attention_mask=None, token_type_ids=None, position_ids=None, **more
    ) -> dict[str, np.ndarray]:
        """The Hub's inputs as a batch of the model; arguments as in `__call__`."""
        inputs = self.family.calling.inputs
        return inputs(self._settings, input_ids, attention_mask, token_type_ids, position_ids, **more)

    @cached_property
    def _run(self) -> Callable:
        return jax.jit(partial(_run, self.model, self.family), static_argnums=2)

    def _answer(self, out: Mapping[str, Any], choices: int | None) -> dict[str, Any]:
        if self.family.towers:
            return dict(out)
        answer = {"last_hidden_state": out["hidden"]}
        answer |= {name: out[name] for name in ("hidden_states", "reshaped_hidden_states") if name in out}
        answer |= {name: out[name] for name in self.family.calling.beside if name in out}
        if maps := tuple(value for name, value in out.items() if re.fullmatch(r"(stage|layer)_\d+", name)):
            answer["feature_maps"] = maps
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


def arguments(family: Family) -> tuple[str, ...]:
    """The names of a call's arguments that a model of one tower takes."""
    calling = family.calling
    if calling.reads == "text":
        return (*TEXTS, *calling.more, *calling.pairs)
    return (KINDS[calling.reads].name, KINDS[calling.reads].hub, *calling.more)


def _no_input(towers: Iterable[Family], model_type: str, name: str) -> str:
    """The sentence with which an unknown input is refused."""
    if all(tower.calling.reads == "text" for tower in towers):
        return f"{model_type} has no input {name!r}; leave it out"
    reads = " and ".join(tower.calling.reads for tower in towers)
    known = [arguments(tower)[:1] if tower.calling.reads == "text" else arguments(tower) for tower in towers]
    return f"{model_type} reads {reads} and has no input {name!r}; give {' or '.join(sum(known, ()))}"


def _run(model: nn.Module, family: Family, params, batch, with_states: bool) -> dict[str, Any]:
    if not with_states:
        return model.apply({"params": params}, batch)

    def keep(module, method):
        named = module.name in ("embed", "spread") or "/".join(module.path) in family.calling.streams
        return named or isinstance(module, Sublayer)

    out, kept = model.apply({"params": params}, batch, capture_intermediates=keep, mutable=["intermediates"])
    kept = kept["intermediates"]
    if family.towers:
        ran = [prefix for prefix in family.towers if prefix in kept]
        states = {prefix: _states(kept[prefix], out[f"{prefix}/hidden"], family.towers[prefix]) for prefix in ran}
        return out | {name: x for prefix, found in states.items() for name, x in with_prefix(prefix, found).items()}
    return out | _states(kept, out["hidden"], family)


def _states(kept: Mapping[str, Any], last: Array, family: Family) -> dict[str, Any]:
    """The hidden states by the Hub's names; arguments as in `layers_of`."""
    maps = tuple(x for path in family.calling.streams for x in _maps(kept, path))
    return {"hidden_states": layers_of(kept, last, family), **({"reshaped_hidden_states": maps} if maps else {})}


def layers_of(kept: Mapping[str, Any], last: Array, family: Family) -> tuple[Array, ...]:
    """The hidden states: the embedding and the output of each of the Hub's layers, [B T D] each.

    kept: captured intermediates.  last: the network's output, which is the last state if the family says so.
    For a funnel with a decoder, the input of the decoder is among them.
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
    """The output of each sublayer of a period in each repetition, in the order in which they run."""
    runs = [
        [x for y, _ in sublayers[name]["__call__"] for x in y.reshape(-1, *y.shape[-3:])]
        for name in sorted(sublayers, key=_number)
    ]
    return [x for run in zip(*runs, strict=True) for x in run]


def _stream(kept: Mapping[str, Any], path: str) -> Array:
    """The outputs of the module at `path`, stacked: [B T D] for each of its repetitions in a scan."""
    made = _made(kept, path)
    x = made[0] if isinstance(made, tuple) else made
    return x.reshape(-1, *x.shape[-3:])


def _maps(kept: Mapping[str, Any], path: str) -> list[Array]:
    """The stream after the module at `path` as a map [B h w D], in a list; an empty one if it returns no such grid."""
    made = _made(kept, path)
    ctx = made[1] if isinstance(made, tuple) else None
    x, grid = made[0] if isinstance(ctx, Context) else None, getattr(ctx, "grid", None) or ()
    return [x.reshape(x.shape[0], *grid, -1)] if len(grid) == 2 and math.prod(grid) == x.shape[1] else []


def _made(kept: Mapping[str, Any], path: str) -> Any:
    """What the module at `path` returned."""
    (made,) = reduce(lambda inside, name: inside[name], path.split("/"), kept)["__call__"]
    return made


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A checkpoint that is checked and ready to be read, but whose numbers are not read yet.

    checkpoint: everything but the parameters.  shapes: parameter path -> shape.
    assigned: parameter path -> the pieces of the files that it consists of.
    unused: name of a tensor that is not read -> the reason.  tensors: the open files.
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
    """Loads the checkpoint in a folder, or with that name on the Hub, as a network of xfm.

    head: the only head to load ("masked_lm", "sequence_classification", …); "none" for no head, as for a classifier of
    another number of classes; None for all that the files hold.
    revision: of the Hub's repository.  ignore: keys of config.json that are known not to change the result.
    dtype: in which the network computes; if None, bfloat16 on accelerators and float32 on a CPU.
    place: a function that puts a parameter on devices, from its path and its array on the host; if None, the default
    device is used. `sharded(mesh, rules)` returns one that shards over a mesh.

    No code of a checkpoint is executed. Raises XfmError, before any parameter is read, if config.json describes
    something that xfm does not have, or if names or shapes in the files are not those of the family.
    """
    if is_run(source):
        raise XfmError(f"{source} is the workdir of a run, not a checkpoint of the Hub; xfm.load opens both")
    with prepared(source, head, revision, ignore, dtype) as p:
        params = fill(p.shapes, p.assigned, p.tensors, place or (lambda path, array: jax.device_put(array)))
        return p.checkpoint.replace(params=params)


@contextlib.contextmanager
def prepared(
    source: str | Path,
    head: str | None = None,
    revision: str | None = None,
    ignore: tuple[str, ...] = (),
    dtype: str | None = None,
) -> Iterator[Prepared]:
    """The first half of `load`: everything that can be checked before a number is read. Arguments and errors as there.

    The files are open within the `with` block.
    """
    if isinstance(ignore, str):
        raise XfmError(f"ignore={ignore!r} is one text, where a list of keys should be; give ({ignore!r},)")
    if dtype is not None:
        dtype_of(dtype)  # raises SpecError for names of no dtype
    folder = folder_of(source, revision)
    config = read_json(folder / "config.json")
    settings = Settings(config, str(folder / "config.json"), ignore)
    family = family_of(config, settings.path).with_head(head).described_by(settings)
    with tensors_of(folder) as tensors:
        try:
            _check_counts(config, settings.path, tensors)
            heads = _untied(family, config, tensors, _heads(family, config, tensors, head))
            spec = dict(family.network(settings), dtype=dtype)
            if not family.towers:
                spec["heads"] = {h.name: dict(h.spec(settings)) for h in heads.values()}
            settings.finish()
            model = build(spec)
            shapes = flat_shapes(model, example_of(family, settings))
        except SpecError as error:  # a value outside the range of a field, such as an epsilon of -1
            raise XfmError(f"{settings.path} does not describe a valid network: {error}") from error
        except XfmError:
            raise
        except Exception as error:  # a number in place of a string, a negative size, …
            reason = f"{type(error).__name__}: {line(error)}"
            raise XfmError(f"{settings.path} does not describe a valid network: {reason}") from error
        assigned, unused = assign(family, heads, model.sublayers(), shapes, tensors)
        check_buffers(family, settings, spec, unused, tensors)
        known = dict(dtypes=dtypes_in(family, tensors), prefixes=prefixes_of(family, heads, assigned, tensors))
        checkpoint = Checkpoint(model, {}, config, spec, family, heads, folder, tuple(ignore), **known)
        yield Prepared(checkpoint, shapes, assigned, unused, tensors)


def family_of(config: Mapping[str, Any], path: str = "config.json") -> Family:
    """The family of the model_type in config.json. Raises XfmError if xfm does not have it."""
    name = str(config.get("architecture"))
    if "model_type" not in config and (known := next((start for start in TIMM if name.startswith(start)), None)):
        return TIMM[known]
    kind = shown(config.get("model_type")).strip("'")
    if kind not in FAMILIES:
        raise XfmError(
            f"{path} has the model_type {kind!r}{nearest(kind, FAMILIES)}; xfm loads {len(FAMILIES)} others, which "
            "docs/works.md lists"
        )
    kin = FAMILIES[kind].files.kin
    return next((other for (key, value), other in kin.items() if freeze(config.get(key)) == value), FAMILIES[kind])


def head_of_texts(folder: Path) -> str | None:
    """The head by which the tower that reads texts is loaded alone from a folder of several; None for other folders."""
    path = folder / "config.json"
    towers = family_of(read_json(path), str(path)).towers
    return next((list(one.heads)[-1] for one in towers.values() if one.calling.reads == "text"), None)


def refuse_towers(checkpoint: Checkpoint, what: str) -> None:
    """Raises XfmError for a checkpoint of several towers.  what: that needs one of them, with how to choose it."""
    if towers := checkpoint.family.towers:
        heads = ", ".join(head for one in towers.values() for head in one.heads if head != "pooled")
        raise XfmError(f"{checkpoint.folder} has the towers {', '.join(towers)}, and {what}, one of {heads}")


def _check_counts(config: Mapping[str, Any], path: str, tensors: Tensors) -> None:
    """Checks the counts in config.json against the files, so that an absurd number of layers or classes is not built.

    Raises XfmError if it names more layers than there are tensors, or more classes than there are numbers.
    """
    numbers = sum(math.prod(tensors.shape(name)) for name in tensors)
    for key, value in config.items():
        if isinstance(value, Mapping) and len(value) > numbers:
            raise XfmError(f"{path} lists {len(value)} items as {key}, but the files hold only {numbers} numbers")
        elif isinstance(value, Mapping):
            _check_counts(value, f"{path}, {key}", tensors)
        elif isinstance(value, int) and re.search(r"layers?$", key) and value > len(tensors):
            raise XfmError(f"{path} sets {key} to {shown(value)}, but the files hold only {len(tensors)} tensors")
        elif isinstance(value, int) and re.search(r"_(labels|size|heads)$", key) and value > numbers:
            raise XfmError(f"{path} sets {key} to {shown(value)}, but the files hold only {numbers} numbers")


def _heads(family: Family, config: Mapping[str, Any], tensors: Tensors, task: str | None) -> dict[str, Head]:
    """The heads to load: those of the class in config.json and all others that the files hold, or as `task` says."""
    there = held(family, tensors)
    if task == "none" or (task is None and is_backbone(config)):
        return {}
    if task is not None:
        family.head(task)
        if task not in there:
            raise XfmError(f"the files do not have the head {task!r}; they have {', '.join(there) or 'none'}")
        return family.chosen((task,))
    named = [one for one in family.tasks_of(config.get("architectures") or []) or () if one in there]
    names = {one: _names(head) for one, head in there.items()}
    clear = [
        one for one in there if names[one] and not any(names[one] & names[other] for other in there if other != one)
    ]
    order = [one for one in (*named, *clear) if one != "pooled"]
    order = list({there[one].name: one for one in reversed(order)}.values())[::-1]  # the first of equal names wins
    return family.chosen(tuple(dict.fromkeys([*(["pooled"] if "pooled" in there else []), *order])))


def _untied(family: Family, config: Mapping[str, Any], tensors: Tensors, heads: Mapping[str, Head]) -> dict[str, Head]:
    """The heads; if config.json does not tie them to the embedding, with the names of their own tensors."""
    if config.get("tie_word_embeddings", True):
        return dict(heads)
    names = {family.today(name) for name in tensors}
    return {task: head.untied(names.__contains__) for task, head in heads.items()}


def _names(head: Head) -> set[str]:
    """The names in the files of a head's rows."""
    return {row.name if isinstance(row, At) else row for row in head.names.values()}


def example_of(family: Family, settings: Settings) -> dict[str, Any]:
    """The smallest batch of a family, to trace the network with."""
    if family.towers:
        parts = {prefix: example_of(tower, settings) for prefix, tower in family.towers.items()}
        return {name: array for prefix, part in parts.items() for name, array in with_prefix(prefix, part).items()}
    if family.calling.example is not None:
        return family.calling.example(settings)
    return family.calling.inputs(settings, np.ones((1, 1), np.int32), None, None, None)


def sharded(mesh: jax.sharding.Mesh, rules: Any) -> Callable[[str, np.ndarray], Array]:
    """A function for `load(place=…)` that shards each parameter over a mesh by the trainer's sharding rules.

    rules: pairs (regex of the path, partition spec) as in `xfm.sharding`, or the name of a set of them there.
    """
    from xfm.sharding import fit, rule_of, rules_named

    rules = rules_named(rules) if isinstance(rules, str) else rules

    def place(path: str, array: np.ndarray) -> Array:
        where = jax.sharding.NamedSharding(mesh, fit(path, array.shape, rule_of(path, rules), mesh)[0])
        return jax.make_array_from_callback(array.shape, where, lambda index: array[index])

    return place
