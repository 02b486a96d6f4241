"""Reads the folder of a sentence encoder in both generations of sentence-transformers' format, and writes the older.

`modules.json` names Python classes. They are looked up in a table; nothing is imported, and other names are refused.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.errors import XfmError, nearest
from xfm.folders import read_json
from xfm.hub.files import tensors_of
from xfm.parts.activation import activation

# pooling mode -> its key in older files, in the order in which the vectors of several modes are concatenated
MODES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
OLD = "sentence_transformers.models."
NEW = {  # class -> its module in newer releases
    "Transformer": "base.modules.transformer",
    "Pooling": "sentence_transformer.modules.pooling",
    "Dense": "base.modules.dense",
    "Normalize": "base.modules.normalize",
    "LayerNorm": "sentence_transformer.modules.layer_norm",
    "Dropout": "sentence_transformer.modules.dropout",
}
TYPES = {f"{OLD}{name}": name for name in NEW} | {
    f"sentence_transformers.{module}.{name}": name for name, module in NEW.items()
}
# PyTorch's classes of activations -> xfm's names
ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How tokens are pooled.

    modes: names of MODES, whose vectors are concatenated.  prompt: "pooled" with the text, or "left out".
    """

    modes: tuple[str, ...] = ("mean",)
    prompt: str = "pooled"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """activation(x Wᵀ + b), to which a skip connection adds x ("plain") or x Rᵀ ("projected")."""

    weight: Float[Array, "E D"]
    bias: Float[Array, "E"] | None
    residual: Float[Array, "E D"] | None
    activation: str = dataclasses.field(metadata=dict(static=True))
    skip: str = dataclasses.field(default="none", metadata=dict(static=True))  # or "plain", "projected"

    @property
    def widths(self) -> tuple[int, int]:
        """The number of input and of output features."""
        return self.weight.shape[1], self.weight.shape[0]

    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B E"]:
        y = jnp.matmul(x, self.weight.T, precision="highest")
        y = activation(self.activation)(y if self.bias is None else y + self.bias)
        if self.skip == "projected":
            x = jnp.matmul(x, self.residual.T, precision="highest")
        return y if self.skip == "none" else y + x


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation of a vector, with scale and bias, and with PyTorch's default epsilon."""

    scale: Float[Array, "D"]
    bias: Float[Array, "D"]

    @property
    def widths(self) -> tuple[int, int]:
        """The number of input and of output features."""
        return len(self.scale), len(self.scale)

    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B D"]:
        x = x - x.mean(axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5) * self.scale + self.bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normalize:
    """Scales a vector to length 1."""

    widths = None  # any number of features

    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B D"]:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


@dataclasses.dataclass(frozen=True)
class Modules:
    """The content of a sentence encoder's folder.

    encoder: the folder of the checkpoint.  pooling: after the checkpoint.  steps: modules after the pooling, in order.
    settings: of config_sentence_transformers.json.
    max_length: the most tokens of a text; None if the folder does not say.  lower: whether texts are lower-cased.
    texts: how texts are passed to the tokeniser, which depends on the release of sentence-transformers that wrote the
    folder. Up to release 5 they are "stripped": white space at both ends is removed, and if `lower` Python lower-cases
    them. From release 6 on they are "whole", and the tokeniser lower-cases them.
    """

    encoder: Path
    pooling: Pooling
    steps: tuple[Dense | LayerNorm | Normalize, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_length: int | None = None
    lower: bool = False
    texts: str = "whole"

    def taken(self, text: str) -> str:
        """The text that is passed to the tokeniser."""
        if self.texts == "whole":
            return text
        return text.strip().lower() if self.lower else text.strip()


def read_modules(folder: Path) -> Modules:
    """The modules of a folder. A checkpoint without modules.json gets mean pooling, or the last token's output if it is
    a causal language model.

    Raises XfmError for modules that xfm does not have, and for damaged files.
    """
    settings = _checked(folder / "config_sentence_transformers.json", SETTINGS)
    if not (folder / "modules.json").is_file():
        return Modules(folder, usual_pooling(read_json(folder / "config.json")), settings=settings)
    rows = _rows(folder / "modules.json")
    if [name for name, _ in rows[:2]] != ["Transformer", "Pooling"]:
        names = ", ".join(name for name, _ in rows)
        raise XfmError(f"{folder / 'modules.json'} has the modules {names}; xfm needs Transformer and Pooling first")
    if extra := [name for name, _ in rows[2:] if name not in STEPS]:
        raise XfmError(f"{folder / 'modules.json'} has a second {extra[0]}; xfm supports one, at the beginning")
    encoder = rows[0][1]
    own = _checked(encoder / LENGTHS, OWN) or _checked(folder / LENGTHS, OWN)
    steps = [step for name, path in rows[2:] for step in STEPS[name](path)]
    return Modules(
        encoder=encoder,
        pooling=_pooling(rows[1][1] / "config.json"),
        steps=tuple(steps),
        settings=settings,
        max_length=length if (length := own.get("max_seq_length", ENDLESS)) < ENDLESS else None,
        lower=bool(own.get("do_lower_case", False)),
        texts="stripped" if _generation(settings) < WHOLE else "whole",
    )


def usual_pooling(config: Mapping[str, Any]) -> Pooling:
    """The pooling of a checkpoint without modules: the last token if it is a causal language model, else the mean.

    config: of config.json.
    """
    named = config.get("architectures") or []
    causal = any(str(name).endswith("ForCausalLM") for name in (named if isinstance(named, list) else ()))
    return Pooling(("lasttoken",) if causal else ("mean",))


WHOLE = 6  # the first release of sentence-transformers that does not strip texts


def _generation(settings: Mapping[str, Any]) -> int:
    """The major release of sentence-transformers that wrote a folder; 0 if it does not say, as before release 2."""
    said = (settings.get("__version__") or {}).get("sentence_transformers")
    number = str(said).split(".")[0]
    return int(number) if number.isdecimal() and len(number) < 4 else 0


def _rows(path: Path) -> list[tuple[str, Path]]:
    """The class and the folder of each module, in order. Raises XfmError for classes that xfm does not have."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [(str(row["type"]), str(row["path"])) for row in sorted(content, key=lambda row: row["idx"])]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise XfmError(f"{path} is not a list of modules with idx, path and type") from error
    found = []
    for type, name in rows:
        if type not in TYPES:
            raise XfmError(
                f"{path} names the module {type!r}{nearest(type, TYPES)}; xfm has {', '.join(NEW)} of "
                "sentence-transformers and runs no code of a checkpoint"
            )
        if not re.fullmatch(r"(?!\.)[\w.-]*", name):
            raise XfmError(f"{path} gives the path {name!r}; it must be a folder beside the file")
        found.append((TYPES[type], path.parent / name))
    return found


LENGTHS = "sentence_bert_config.json"
ENDLESS = 10**9  # a max_seq_length from here on means that there is no limit
# For each file: key -> (check of the value, description of legal values). null is equal to an absent key.
OWN = {
    "max_seq_length": (lambda x: _whole(x) and x > 0, "a whole number from 1 up"),
    "do_lower_case": (lambda x: isinstance(x, bool), "true or false"),
}
SETTINGS = {
    "__version__": (lambda x: isinstance(x, dict), "an object of releases"),
    "prompts": (
        lambda x: isinstance(x, dict) and all(text is None or isinstance(text, str) for text in x.values()),
        "an object of texts",
    ),
    "default_prompt_name": (lambda x: isinstance(x, str), "a name"),
    "similarity_fn_name": (lambda x: isinstance(x, str), "a name"),
    "truncate_dim": (lambda x: _whole(x) and x > 0, "a whole number from 1 up"),
}
POOLING = {key: (lambda x: isinstance(x, bool), "true or false") for key in (*MODES.values(), "include_prompt")} | {
    "pooling_mode": (
        lambda x: isinstance(x, str) or (isinstance(x, list) and all(isinstance(one, str) for one in x) and len(x) > 0),
        "a name or a list of them",
    ),
}
DENSE = {
    "activation_function": (lambda x: isinstance(x, str), "the name of a class"),
    "bias": (lambda x: isinstance(x, bool), "true or false"),
    "use_residual": (lambda x: isinstance(x, bool), "true or false"),
}


def _whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _checked(path: Path, legal: Mapping[str, tuple], *, there: str = "maybe") -> dict[str, Any]:
    """The object in a file, without keys that are null.

    legal: key -> (check, description).  there: if "maybe", an absent file counts as empty; if "surely", as an error.
    Raises XfmError, naming the file and the key, for a value that its check refuses.
    """
    if there == "maybe" and not path.is_file():
        return {}
    content = {key: value for key, value in read_json(path).items() if value is not None}
    for key, (right, words) in legal.items():
        if key in content and not right(content[key]):
            shown = repr(content[key])
            shown = shown if len(shown) < 80 else f"{shown[:77]}…"
            raise XfmError(f"{path} has {key} {shown}, where {words} should be")
    return content


def _pooling(path: Path) -> Pooling:
    content = _checked(path, POOLING, there="surely")
    if "pooling_mode" in content:
        modes = content["pooling_mode"]
        modes = (modes,) if isinstance(modes, str) else tuple(modes)
    else:
        modes = tuple(mode for mode, key in MODES.items() if content.get(key)) or ("mean",)
    for mode in modes:
        if mode not in MODES:
            raise XfmError(f"{path} has the pooling mode {mode!r}{nearest(mode, MODES)}; there are {', '.join(MODES)}")
    return Pooling(modes, "pooled" if content.get("include_prompt", True) else "left out")


def _dense(folder: Path) -> list[Dense]:
    content = _checked(folder / "config.json", DENSE, there="surely")
    name = content.get("activation_function", "torch.nn.modules.activation.Tanh")
    if name not in ACTIVATIONS:
        raise XfmError(f"{folder / 'config.json'} has the activation {name!r}; xfm has {', '.join(ACTIVATIONS)}")
    if content.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise XfmError(
            f"{folder / 'config.json'} sets module_input_name to {content['module_input_name']!r}; xfm only supports "
            "sentence_embedding"
        )
    E, D = content.get("out_features"), content.get("in_features")
    with_bias, skip = content.get("bias", True), "none"
    wanted = {"linear.weight": (E, D)} | ({"linear.bias": (E,)} if with_bias else {})
    if content.get("use_residual"):
        skip = "plain" if E == D else "projected"
        wanted |= {"residual.weight": (E, D)} if skip == "projected" else {}
    arrays = _arrays(folder, wanted)
    weight, bias, residual = (arrays.get(n) for n in ("linear.weight", "linear.bias", "residual.weight"))
    return [Dense(weight, bias, residual, ACTIVATIONS[name], skip)]


def _layer_norm(folder: Path) -> list[LayerNorm]:
    width = (read_json(folder / "config.json").get("dimension"),)
    arrays = _arrays(folder, {"norm.weight": width, "norm.bias": width})
    return [LayerNorm(arrays["norm.weight"], arrays["norm.bias"])]


def _arrays(folder: Path, wanted: Mapping[str, tuple]) -> dict[str, np.ndarray]:
    with tensors_of(folder) as tensors:
        if set(tensors) != set(wanted):
            raise XfmError(
                f"{folder} has the tensors {', '.join(tensors)}; its config.json requires {', '.join(wanted)}"
            )
        for name, shape in wanted.items():
            if tuple(tensors.shape(name)) != shape:
                has = tensors.shape(name)
                raise XfmError(f"{name} in {folder} has the shape {has}; its config.json requires {shape}")
            tensors.check(name)
        return {n: np.concatenate([block.astype(np.float32) for _, block in tensors.blocks(n)]) for n in wanted}


STEPS = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": lambda folder: [Normalize()],  # its folder is empty, and therefore often absent
    "Dropout": lambda folder: [],  # has no effect outside training
}


def check_order(pooling: Pooling) -> None:
    """Raises XfmError for pooling modes in an order that the older format cannot express."""
    if list(pooling.modes) != [mode for mode in MODES if mode in pooling.modes]:
        raise XfmError(
            f"pooling modes in the order {', '.join(pooling.modes)} cannot be saved; the format's order is "
            f"{', '.join(MODES)}"
        )


def write_modules(
    folder: Path, modules: Modules, width: int, settings: Mapping[str, Any], max_length: int | None
) -> None:
    """Writes the files of a sentence encoder beside its checkpoint, in a form that all releases can read.

    width: of the checkpoint's outputs.  settings: prompts, default_prompt_name, similarity_fn_name and truncate_dim.
    max_length: the most tokens of a text.
    Raises XfmError for pooling modes in an order that the older format cannot express.
    """
    import safetensors.numpy

    check_order(modules.pooling)
    rows = [("Transformer", "")]
    for old in folder.glob("[0-9]_*"):
        shutil.rmtree(old)

    def sub(name, content):
        path = folder / f"{len(rows)}_{name}"
        path.mkdir(parents=True, exist_ok=True)
        rows.append((name, path.name))
        if content:
            _write(path / "config.json", content)
        return path

    pooling = {key: mode in modules.pooling.modes for mode, key in MODES.items()}
    keep = modules.pooling.prompt == "pooled"
    sub("Pooling", {"word_embedding_dimension": width, **pooling, "include_prompt": keep})
    for step in modules.steps:
        if isinstance(step, Normalize):
            sub("Normalize", None)
        elif isinstance(step, LayerNorm):
            path = sub("LayerNorm", {"dimension": len(step.scale)})
            arrays = {"norm.weight": step.scale, "norm.bias": step.bias}
        else:
            E, D = step.weight.shape
            name = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == step.activation)
            config = {"in_features": D, "out_features": E, "bias": step.bias is not None, "activation_function": name}
            path = sub("Dense", config | ({"use_residual": True} if step.skip != "none" else {}))
            arrays = {"linear.weight": step.weight, "linear.bias": step.bias, "residual.weight": step.residual}
        if not isinstance(step, Normalize):
            arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
            safetensors.numpy.save_file(arrays, path / "model.safetensors")
    listed = [dict(idx=i, name=str(i), path=path, type=OLD + name) for i, (name, path) in enumerate(rows)]
    _write(folder / "modules.json", listed)
    _write(folder / LENGTHS, {"max_seq_length": max_length, "do_lower_case": modules.lower})
    release = "2.2.2" if modules.texts == "stripped" else f"{WHOLE}.0.0"  # only shows whether texts are stripped
    settings = {"__version__": {"sentence_transformers": release}, **settings}
    _write(folder / "config_sentence_transformers.json", settings)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
