"""Sentence encoders: a checkpoint, a pooling and what follows it, as sentence-transformers keeps them.

Reimers, Gurevych 2019, "Sentence-BERT". Texts are sorted by length and packed several to a row, so that a network is
compiled for a few shapes only and computes little padding.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, Int, Num

from xfm.errors import XfmError, nearest
from xfm.folders import folder_of
from xfm.hub.checkpoint import Checkpoint, load
from xfm.hub.sentence.modules import Modules, read_modules, write_modules
from xfm.hub.sentence.packing import ROW, Batch, lay, plan, ramp
from xfm.hub.sentence.pooling import pooled
from xfm.kernels.platform import platform
from xfm.spec import named, nested
from xfm.structures import build

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Vectors = Num[np.ndarray, "N D"]

CHUNK = 4096  # texts that are tokenised, sorted and packed together
CHARACTERS = 8_000_000  # or fewer, if they are long
CACHED = 1024  # tokens of a batch on a CPU, at most; 4096 cost 1.4 times the time with MiniLM
AHEAD = 3  # batches under way while their results are awaited
# Layers that see a token's own text only, at its own distances, so that packed equals separate.
SLOTS_THAT_MIX = ("embed", "mixer", "ffn", "sight", "residual")
PACKED = {("embed", "tokens"), ("mixer", "attention"), ("ffn", "mlp"), ("ffn", "glu"), ("residual", "plain")}


@dataclasses.dataclass
class SentenceEncoder:
    """`encoder.encode(texts)` -> vectors [N D].

    checkpoint: whose tokens are pooled.  modules: pooling, what follows it, and where it came from.
    prompts: by name, put before each text.  default_prompt_name: which one if none is named.
    similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan".  max_seq_length: tokens of a text that are read.
    truncate_dim: how many of the numbers of a vector are kept; all if None.
    """

    checkpoint: Checkpoint
    modules: Modules
    prompts: dict[str, str] = dataclasses.field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"
    max_seq_length: int | None = None
    truncate_dim: int | None = None

    def __post_init__(self):
        _legal("similarity_fn_name", self.similarity_fn_name, SIMILARITIES)
        if self.default_prompt_name is not None:
            _legal("default_prompt_name", self.default_prompt_name, self.prompts)
        if self.modules.lower and self.modules.texts == "whole":
            self.tokenizer.lowercase()

    @property
    def tokenizer(self):
        return self.checkpoint.tokenizer

    @cached_property
    def width(self) -> int:
        """D of the vectors, before any truncation; XfmError where the modules do not fit each other."""
        width = self.checkpoint.network.width * len(self.modules.pooling.modes)
        for step in self.modules.steps:
            takes, gives = step.widths or (width, width)
            if takes != width:
                raise XfmError(
                    f"a {type(step).__name__} of {self.modules.encoder} takes {takes} numbers and is given {width}"
                )
            width = gives
        return width

    def width_of(self, truncate_dim: int | None = None) -> int:
        """D of the vectors that `encode` gives."""
        dim = self.truncate_dim if truncate_dim is None else truncate_dim
        if dim is not None and dim < 1:
            raise XfmError(f"truncate_dim is 1 or more, not {dim}")
        return self.width if dim is None else min(dim, self.width)

    def encode(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        precision: Precision = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Vectors | Num[np.ndarray, "D"]:
        """The vectors of texts, in their order; of one text, one vector.

        prompt: goes before each text; prompt_name: one of `prompts` instead.
        batch_size: rows of 128 tokens, or as many tokens in longer rows, that are computed at once; at most, since a
        CPU takes fewer.
        normalize_embeddings: to length 1.  truncate_dim: keep so many numbers of each, before that.
        precision: "int8" and "uint8" take their range from these very vectors, so compare them with each other only;
        "binary" and "ubinary" keep the signs, eight to a byte.
        """
        one = isinstance(sentences, str)
        texts = [sentences] if one else list(sentences)
        _legal("precision", precision, QUANTISED)
        stream = self.stream(
            texts, prompt_name, prompt, batch_size, normalize_embeddings=normalize_embeddings, truncate_dim=truncate_dim
        )
        dim = self.width_of(truncate_dim)
        vectors = np.empty((len(texts), dim), np.float32)
        with _bar(len(texts), show_progress_bar) as bar:
            done = 0
            for part in stream:
                vectors[done : done + len(part)] = part
                done += len(part)
                bar.update(len(part))
        vectors = QUANTISED[precision](vectors)
        return vectors[0] if one else vectors

    def encode_query(self, sentences: str | Sequence[str], **more: Any) -> Vectors:
        """`encode` with the prompt "query", where there is one and no other is given."""
        return self.encode(sentences, **self._prompted(more, ("query",)))

    def encode_document(self, sentences: str | Sequence[str], **more: Any) -> Vectors:
        """`encode` with the prompt "document", "passage" or "corpus", where there is one and no other is given."""
        return self.encode(sentences, **self._prompted(more, ("document", "passage", "corpus")))

    def stream(
        self,
        sentences: Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Iterator[Float[np.ndarray, "n D"]]:
        """The vectors of any number of texts, some at a time and in order, in bounded memory."""
        if batch_size < 1:
            raise XfmError(f"batch_size is 1 or more, not {batch_size}")
        prompt = self._prompt(prompt_name, prompt)
        dim = self.width_of(truncate_dim)
        skip = self._prompt_tokens(prompt)
        for texts in _chunks(sentences):
            texts = [prompt + text for text in texts] if prompt else texts
            vectors = self._vectors(texts, _tokens(batch_size), skip)[:, :dim]
            if normalize_embeddings:
                vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            yield vectors

    def similarity(
        self, embeddings1: Num[np.ndarray, "*N D"], embeddings2: Num[np.ndarray, "*M D"]
    ) -> Float[np.ndarray, "N M"]:
        """How alike each vector of the first is to each of the second, by `similarity_fn_name`."""
        return SIMILARITIES[self.similarity_fn_name][0](_rows(embeddings1), _rows(embeddings2))

    def similarity_pairwise(
        self, embeddings1: Num[np.ndarray, "*N D"], embeddings2: Num[np.ndarray, "*N D"]
    ) -> Float[np.ndarray, "N"]:
        """How alike each vector of the first is to that of the second in the same place."""
        return SIMILARITIES[self.similarity_fn_name][1](_rows(embeddings1), _rows(embeddings2))

    def save(self, path: str | Path) -> None:
        """Writes the folder in the older layout, which every release of sentence-transformers reads."""
        self.checkpoint.save(path)
        settings = dict(
            prompts=self.prompts,
            default_prompt_name=self.default_prompt_name,
            similarity_fn_name=self.similarity_fn_name,
        )
        if self.truncate_dim is not None:
            settings["truncate_dim"] = self.truncate_dim
        width = self.checkpoint.network.width
        write_modules(Path(path).expanduser(), self.modules, width, settings, self.max_seq_length)

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            if name is not None:
                raise XfmError(f"both prompt={prompt!r} and prompt_name={name!r} are given; one of them is right")
            return prompt
        name = self.default_prompt_name if name is None else name
        if name is None:
            return ""
        _legal("prompt_name", name, self.prompts)
        return self.prompts[name]

    def _prompted(self, more: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        if more.get("prompt") is None and more.get("prompt_name") is None:
            more["prompt_name"] = next((name for name in names if name in self.prompts), None)
        return more

    def _prompt_tokens(self, prompt: str) -> int:
        """How many tokens of each text are the prompt's and left out of the pooling."""
        if not prompt or self.modules.pooling.prompt == "pooled":
            return 0
        ids = self.tokenizer.read(self.modules.taken(prompt), max_length=self.max_seq_length)[0][0]
        ends = self.tokenizer.backend.token_to_id
        special = {ends(token) for token in self.tokenizer.special.values()}
        return len(ids) - (ids[-1] in special)

    def _vectors(self, texts: list[str], tokens: int, skip: int) -> Float[np.ndarray, "n D"]:
        ids, types = self.tokenizer.read([self.modules.taken(text) for text in texts], max_length=self.max_seq_length)
        sizes = np.array([len(one) for one in ids])
        if not sizes.min():
            raise XfmError(f"the text {texts[int(sizes.argmin())]!r} has no tokens, so it has no vector")
        longest = self.max_seq_length or 1 << int(sizes.max() - 1).bit_length()
        vectors = np.empty((len(texts), self.width), np.float32)
        under_way: list[tuple[Batch, Any]] = []

        def finish():
            batch, made = under_way.pop(0)
            vectors[batch.text] = np.asarray(made)[batch.row, batch.slot]

        for batch in plan(sizes, tokens, max(longest, int(sizes.max())), self._layout):
            inputs = self._laid(batch, [ids[i] for i in batch.text], [types[i] for i in batch.text])
            under_way.append((batch, self._run(self._params, self.modules.steps, *inputs, skip, batch.slots)))
            if len(under_way) > AHEAD:
                finish()
        while under_way:
            finish()
        return vectors

    def _laid(self, batch: Batch, ids: list[list[int]], types: list[list[int]]):
        """The model's batch, which text of its row each token belongs to, and its place in it; all [rows, width]."""
        sizes = np.array([len(one) for one in ids])
        packed = self._layout == "packed"
        rows, width = (len(ids), int(sizes.max())) if packed else (batch.rows, batch.width)
        mask = np.zeros((rows, width), np.int32)
        mask[: len(ids)] = np.arange(width)[None] < sizes[:, None]
        tokens, typed = np.full_like(mask, self.tokenizer.pad_token_id or 0), np.zeros_like(mask)
        tokens[mask > 0], typed[mask > 0] = _flat(ids, sizes), _flat(types, sizes)
        inputs = self.checkpoint.batch(tokens, mask, typed if self.tokenizer.types > 1 else None)
        own = lay(batch, sizes, dict(text=np.repeat(batch.slot + 1, sizes), place=ramp(sizes)))
        if packed:  # what each text has when it stands alone, moved to where it stands
            inputs = lay(batch, sizes, {name: array[mask > 0] for name, array in inputs.items()})
            inputs["segments"] = own["text"]
        return inputs, own["text"], own["place"]

    @cached_property
    def _layout(self) -> str:
        used = {(slot, one["kind"]) for one in nested(self.checkpoint.spec, but=("heads",)) for slot in SLOTS_THAT_MIX
                if named(one["kind"], slot)}  # fmt: skip
        return "packed" if used <= PACKED else "separate"

    @cached_property
    def _params(self):
        return {name: p for name, p in self.checkpoint.params.items() if not name.startswith("head_")}

    @cached_property
    def _run(self):
        model = build(dict(self.checkpoint.spec, heads={}))
        run = partial(_run, model, self.modules.pooling.modes)
        return jax.jit(run, static_argnums=6)


def _run(model, modes, params, steps, batch, text, place, skip, slots):
    hidden = model.apply({"params": params}, batch)["hidden"]
    vectors = pooled(hidden, text, place, slots, modes, skip)
    for step in steps:
        vectors = step(vectors)
    return vectors


def sentence_encoder(
    source: str | Path | Checkpoint, *, revision: str | None = None, dtype: str | None = None
) -> SentenceEncoder:
    """The sentence encoder in a folder or of that name on the Hub; mean pooling over any other checkpoint.

    Nothing of the checkpoint is executed. Raises XfmError for modules that xfm does not have, and as `load` does.
    """
    checkpoint = source if isinstance(source, Checkpoint) else None
    folder = folder_of(source, revision) if checkpoint is None else checkpoint.folder
    modules = read_modules(folder)
    if checkpoint is None:
        checkpoint = load(modules.encoder, dtype=dtype)
    told = modules.settings
    encoder = SentenceEncoder(
        checkpoint,
        modules,
        prompts={name: text or "" for name, text in (told.get("prompts") or {}).items()},
        default_prompt_name=told.get("default_prompt_name"),
        similarity_fn_name=told.get("similarity_fn_name") or "cosine",
        max_seq_length=longest(modules.max_length, checkpoint.tokenizer, checkpoint.config),
        truncate_dim=told.get("truncate_dim"),
    )
    encoder.width  # noqa: B018 (raises where the modules do not fit)
    return encoder


def longest(own: int | None, tokenizer: Any, config: Mapping[str, Any]) -> int | None:
    """How many tokens of a text are read: the folder's own number, as far as there is a position for each.

    Where it has none, the smaller of the tokeniser's and of config.json's max_position_embeddings, which
    sentence-transformers takes even where the network has no table of positions.
    """
    named = config.get("max_position_embeddings")
    limits = (own,) if own else (tokenizer.model_max_length, named if isinstance(named, int) and named > 0 else None)
    return min((n for n in (*limits, tokenizer.positions) if n), default=None)


def _tokens(batch_size: int) -> int:
    """Of a batch: a CPU is fastest while the activations of a layer stay in its cache."""
    return min(batch_size * ROW, CACHED) if platform() == "cpu" else batch_size * ROW


def _chunks(sentences: Iterable[str]) -> Iterator[list[str]]:
    """Some texts at a time: CHUNK of them, or fewer with CHARACTERS in all."""
    chunk, size = [], 0
    for i, text in enumerate(sentences):
        if not isinstance(text, str):
            raise XfmError(f"a sentence is a text; number {i} of these is of type {type(text).__name__}")
        chunk.append(text)
        size += len(text)
        if len(chunk) == CHUNK or size > CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _flat(rows: list[list[int]], sizes: Int[np.ndarray, "n"]) -> Int[np.ndarray, "t"]:
    return np.fromiter(chain.from_iterable(rows), np.int32, int(sizes.sum()))


def _bar(total: int, shown: bool):
    from tqdm import tqdm

    return tqdm(total=total, unit="text", disable=not shown)


def _legal(what: str, name: str, legal: Iterable[str]) -> None:
    if name not in legal:
        raise XfmError(f"{what} {name!r} does not exist{nearest(name, legal)}; there are {', '.join(legal) or 'none'}")


def _quantised(vectors: Vectors, dtype: type, lowest: int) -> Vectors:
    """256 steps from the smallest to the largest value of each feature among these vectors; none of none."""
    if not len(vectors):
        return vectors.astype(dtype)
    if len(vectors) < 2:
        raise XfmError(f"{np.dtype(dtype).name} needs a range, which one vector does not have; encode more at once")
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    step = (high - low) / 255
    levels = np.clip(np.floor((vectors - low) / np.where(step == 0, 1, step)), 0, 255)
    return (levels + lowest).astype(dtype)


QUANTISED = {
    "float32": lambda x: x,
    "int8": lambda x: _quantised(x, np.int8, -128),
    "uint8": lambda x: _quantised(x, np.uint8, 0),
    "binary": lambda x: (np.packbits(x > 0, axis=-1).astype(np.int16) - 128).astype(np.int8),
    "ubinary": lambda x: np.packbits(x > 0, axis=-1),
}


def _rows(vectors: Any) -> Float[np.ndarray, "N D"]:
    return np.atleast_2d(np.asarray(vectors, np.float32))


def _unit(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _distances(a, b) -> Float[np.ndarray, "N M"]:
    """Of each from each, a row at a time, so that memory stays that of the result."""
    return np.stack([np.linalg.norm(b - one, axis=-1) for one in a])


# name -> (each with each, each with its own)
SIMILARITIES = {
    "cosine": (lambda a, b: _unit(a) @ _unit(b).T, lambda a, b: (_unit(a) * _unit(b)).sum(axis=-1)),
    "dot": (lambda a, b: a @ b.T, lambda a, b: (a * b).sum(axis=-1)),
    "euclidean": (lambda a, b: -_distances(a, b), lambda a, b: -np.linalg.norm(a - b, axis=-1)),
    "manhattan": (
        lambda a, b: -np.stack([np.abs(b - one).sum(axis=-1) for one in a]),
        lambda a, b: -np.abs(a - b).sum(axis=-1),
    ),
}
