"""Sentence encoders: a checkpoint, a pooling and further modules, in the format of sentence-transformers.

Reimers, Gurevych 2019, "Sentence-BERT". Texts are sorted by length and packed, several to a row, so that the network is
compiled for only a few shapes and computes little padding.
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
from xfm.hub.checkpoint import Checkpoint, head_of_texts, load, refuse_towers
from xfm.hub.keys import complete
from xfm.hub.sentence.heads import pooling
from xfm.hub.sentence.modules import Modules, check_order, read_modules, usual_pooling, write_modules
from xfm.hub.sentence.packing import ROW, Batch, lay, plan, ramp
from xfm.hub.sentence.pooling import pooled
from xfm.hub.weights import hidden_width
from xfm.kernels.platform import platform
from xfm.spec import named, nested
from xfm.structures import build
from xfm.transforms.transformed import OWN, Transformed

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Vectors = Num[np.ndarray, "N D"]

CHUNK = 4096  # texts that are tokenised, sorted and packed together
CHARACTERS = 8_000_000  # the most characters of a chunk, which has fewer texts if they are long
CACHED = 1024  # the most tokens of a batch on a CPU; 4096 take 1.4 times as long with MiniLM
AHEAD = 3  # batches that are dispatched before the first result is awaited
# Kinds of parts for which a text has the same result in a packed row as in one of its own; and the slots to check.
SLOTS_THAT_MIX = ("structure", "embed", "mixer", "ffn", "sight", "residual")
PACKED = {("structure", "stack"), ("embed", "tokens"), ("mixer", "attention"), ("ffn", "mlp"), ("ffn", "glu"),
          ("residual", "plain")}  # fmt: skip


@dataclasses.dataclass
class SentenceEncoder:
    """A sentence encoder: `encoder.encode(texts)` returns vectors [N D].

    checkpoint: the network whose outputs are pooled.  modules: the pooling, the modules after it, and their settings.
    prompts: name -> prefix of a text.  default_prompt_name: the prompt to use if none is named; None for no prompt.
    similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan".
    max_seq_length: the number of tokens to which texts are truncated; None for no limit.
    truncate_dim: how many of the first numbers of a vector are kept; None for all.
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
        """The checkpoint's tokeniser."""
        return self.checkpoint.tokenizer

    @cached_property
    def width(self) -> int:
        """D of the vectors, before any truncation. Raises XfmError if the widths of the modules do not fit."""
        width = self._hidden * len(self.modules.pooling.modes)
        for step in self.modules.steps:
            takes, gives = step.widths or (width, width)
            if takes != width:
                raise XfmError(
                    f"a {type(step).__name__} of {self.modules.encoder} takes {takes} numbers, but is given {width}"
                )
            width = gives
        return width

    def width_of(self, truncate_dim: int | None = None) -> int:
        """D of the vectors that `encode` returns, with this `truncate_dim` or, if None, the encoder's own."""
        dim = self.truncate_dim if truncate_dim is None else truncate_dim
        if dim is not None and dim < 1:
            raise XfmError(f"truncate_dim is {dim}; it must be 1 or more")
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
        """The vectors of texts [N D], in the same order; for a single text, its vector [D].

        prompt: a prefix for each text.  prompt_name: in place of `prompt`, a name in `prompts`.
        batch_size: the number of rows of 128 tokens (or as many tokens in longer rows) that are computed at once; a CPU
        computes fewer.
        normalize_embeddings: whether vectors are scaled to length 1.
        truncate_dim: how many of the first numbers of each vector are kept, before normalisation.
        precision: "int8" and "uint8" quantise to the range of these vectors, so they can only be compared with each
        other; "binary" and "ubinary" keep only the signs, eight in a byte.
        Raises XfmError for a value that is not text, for a text without tokens, and for names that do not exist.
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
        """`encode` with the prompt "query", if the encoder has it and no prompt is given."""
        return self.encode(sentences, **self._prompted(more, ("query",)))

    def encode_document(self, sentences: str | Sequence[str], **more: Any) -> Vectors:
        """`encode` with the prompt "document", "passage" or "corpus", if the encoder has it and no prompt is given."""
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
        """The vectors of any number of texts, in blocks [n D] and in the same order, with bounded memory.

        Arguments and errors as in `encode`.
        """
        if batch_size < 1:
            raise XfmError(f"batch_size is {batch_size}; it must be 1 or more")
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
        """The similarity of each vector of the first argument to each of the second, by `similarity_fn_name`."""
        return SIMILARITIES[self.similarity_fn_name][0](_rows(embeddings1), _rows(embeddings2))

    def similarity_pairwise(
        self, embeddings1: Num[np.ndarray, "*N D"], embeddings2: Num[np.ndarray, "*N D"]
    ) -> Float[np.ndarray, "N"]:
        """The similarity of each vector of the first argument to the vector of the second with the same index."""
        return SIMILARITIES[self.similarity_fn_name][1](_rows(embeddings1), _rows(embeddings2))

    def save(self, path: str | Path) -> None:
        """Writes the encoder to a folder, in the older layout that every release of sentence-transformers reads.

        Raises XfmError as `Checkpoint.save` and `write_modules` do.
        """
        check_order(self.modules.pooling)
        self.checkpoint.save(path)
        settings = dict(
            prompts=self.prompts,
            default_prompt_name=self.default_prompt_name,
            similarity_fn_name=self.similarity_fn_name,
        )
        if self.truncate_dim is not None:
            settings["truncate_dim"] = self.truncate_dim
        write_modules(Path(path).expanduser(), self.modules, self._hidden, settings, self.max_seq_length)

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            if name is not None:
                raise XfmError(f"both prompt={prompt!r} and prompt_name={name!r} are given; leave out one of them")
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
        """The number of tokens at the beginning of each text that belong to the prompt and are not pooled."""
        if not prompt or self.modules.pooling.prompt == "pooled":
            return 0
        ids = self.tokenizer.read(self.modules.taken(prompt), max_length=self.max_seq_length)[0][0]
        ends = self.tokenizer.backend.token_to_id
        special = {ends(token) for token in self.tokenizer.special.values()}
        return len(ids) - any(last in special for last in ids[-1:])

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
        """The model's batch, and the number of each token's text in its row and its position there; [rows width]."""
        sizes = np.array([len(one) for one in ids])
        packed = self._layout == "packed"
        rows, width = (len(ids), int(sizes.max())) if packed else (batch.rows, batch.width)
        mask = np.zeros((rows, width), np.int32)
        mask[: len(ids)] = np.arange(width)[None] < sizes[:, None]
        tokens, typed = np.full_like(mask, self.tokenizer.pad_token_id or 0), np.zeros_like(mask)
        tokens[mask > 0], typed[mask > 0] = _flat(ids, sizes), _flat(types, sizes)
        inputs = self.checkpoint.batch(tokens, mask, typed if self.tokenizer.types > 1 else None)
        own = lay(batch, sizes, dict(text=np.repeat(batch.slot + 1, sizes), position=ramp(sizes)))
        if packed:  # the inputs of each text in a row of its own are moved to its cells in the packed rows
            inputs = lay(batch, sizes, {name: array[mask > 0] for name, array in inputs.items()})
            inputs["segments"] = own["text"]
        return inputs, own["text"], own["position"]

    @cached_property
    def _hidden(self) -> int:
        return hidden_width(build(dict(self.checkpoint.spec, heads={})))

    @cached_property
    def _layout(self) -> str:
        used = {(slot, one["kind"]) for one in nested(self.checkpoint.spec, but=("heads",)) for slot in SLOTS_THAT_MIX
                if named(one["kind"], slot)}  # fmt: skip
        return "packed" if used <= PACKED else "separate"

    @cached_property
    def _params(self):
        params = _headless(self.checkpoint.params)
        return params | {OWN: _headless(params[OWN])} if OWN in params else params

    @cached_property
    def _run(self):
        model, whole = build(dict(self.checkpoint.spec, heads={})), self.checkpoint.model
        model = Transformed(model, whole.transforms) if isinstance(whole, Transformed) else model
        run = partial(_run, model, self.modules.pooling.modes)
        return jax.jit(run, static_argnums=6)


def _headless(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: p for name, p in params.items() if not name.startswith("head_")}


def _run(model, modes, params, steps, batch, text, position, skip, slots):
    hidden = model.apply({"params": params}, batch)["hidden"]
    vectors = pooled(hidden, text, position, slots, modes, skip)
    for step in steps:
        vectors = step(vectors)
    return vectors


def sentence_encoder(
    source: str | Path | Checkpoint, *, revision: str | None = None, dtype: str | None = None
) -> SentenceEncoder:
    """The sentence encoder in a folder, or with that name on the Hub; for a checkpoint of another kind, one with mean
    pooling (or, for a causal language model, with the last token's output).

    source: also a loaded checkpoint. If it is one of a run, the pooling is that of its network's head, if it has one.
    revision, dtype: as in `load`. No code of a checkpoint is executed. Raises XfmError for modules that xfm does not
    have, and as `load` does.
    """
    checkpoint = source if isinstance(source, Checkpoint) else None
    if checkpoint is not None:
        refuse_towers(checkpoint, "a sentence encoder is one tower; load it with a head")
    modules = read_modules(folder_of(source, revision)) if checkpoint is None else _modules_of(checkpoint)
    if checkpoint is None:
        checkpoint = load(modules.encoder, head=head_of_texts(modules.encoder), dtype=dtype)
    given = modules.settings
    encoder = SentenceEncoder(
        checkpoint,
        modules,
        prompts={name: text or "" for name, text in (given.get("prompts") or {}).items()},
        default_prompt_name=given.get("default_prompt_name"),
        similarity_fn_name=given.get("similarity_fn_name") or "cosine",
        max_seq_length=longest(modules.max_length, checkpoint.tokenizer, checkpoint.config),
        truncate_dim=given.get("truncate_dim"),
    )
    encoder.width  # noqa: B018 (raises if the modules do not fit)
    return encoder


def _modules_of(checkpoint: Checkpoint) -> Modules:
    """The modules of a loaded checkpoint; a run's folder has no config.json, and its head's pooling comes first."""
    folder, heads = checkpoint.folder, complete(checkpoint.spec)["heads"]
    if (folder / "config.json").is_file():
        return read_modules(folder)
    if trained := [found for head in heads.values() if (found := pooling(head))]:
        return Modules(folder, trained[0])
    if (folder / "modules.json").is_file():  # those of the sentence encoder that the run started from
        return read_modules(folder)
    return Modules(folder, usual_pooling(checkpoint.config))


def longest(own: int | None, tokenizer: Any, config: Mapping[str, Any]) -> int | None:
    """The number of tokens to which texts are truncated: the folder's own limit, but at most one per position.

    Without a limit of its own it is the smaller one of the tokeniser's and of config.json's max_position_embeddings,
    which sentence-transformers uses even if the network has no table of positions.

    own: max_seq_length of the folder.  config: of config.json.  None if nothing limits it.
    """
    named = config.get("max_position_embeddings")
    limits = (own,) if own else (tokenizer.model_max_length, named if isinstance(named, int) and named > 0 else None)
    return min((n for n in (*limits, tokenizer.positions) if n), default=None)


def _tokens(batch_size: int) -> int:
    """The number of tokens of a batch; on a CPU at most CACHED, so that a layer's activations fit its cache."""
    return min(batch_size * ROW, CACHED) if platform() == "cpu" else batch_size * ROW


def _chunks(sentences: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists of CHUNK, or fewer if they have more than CHARACTERS characters."""
    chunk, size = [], 0
    for i, text in enumerate(sentences):
        if not isinstance(text, str):
            raise XfmError(f"sentence {i} is of type {type(text).__name__}, where a text should be")
        chunk.append(text)
        size += len(text)
        if len(chunk) == CHUNK or size > CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _flat(rows: list[list[int]], sizes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " t"]:
    return np.fromiter(chain.from_iterable(rows), np.int32, int(sizes.sum()))


def _bar(total: int, shown: bool):
    from tqdm import tqdm

    return tqdm(total=total, unit="text", disable=not shown)


def _legal(what: str, name: str, legal: Iterable[str]) -> None:
    if name not in legal:
        raise XfmError(f"{what} {name!r} does not exist{nearest(name, legal)}; there are {', '.join(legal) or 'none'}")


def _quantised(vectors: Vectors, dtype: type, lowest: int) -> Vectors:
    """Vectors in 256 levels between the smallest and the largest value that each feature has in them.

    lowest: the number of the first level.  Raises XfmError for a single vector, which has no range.
    """
    if not len(vectors):
        return vectors.astype(dtype)
    if len(vectors) < 2:
        raise XfmError(f"{np.dtype(dtype).name} needs a range, which a single vector does not have; encode several")
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
    """The Euclidean distances of each vector of `a` to each of `b`, computed by row to save memory."""
    return np.stack([np.linalg.norm(b - one, axis=-1) for one in a])


# name -> (similarities of all pairs, similarities of vectors with the same index)
SIMILARITIES = {
    "cosine": (lambda a, b: _unit(a) @ _unit(b).T, lambda a, b: (_unit(a) * _unit(b)).sum(axis=-1)),
    "dot": (lambda a, b: a @ b.T, lambda a, b: (a * b).sum(axis=-1)),
    "euclidean": (lambda a, b: -_distances(a, b), lambda a, b: -np.linalg.norm(a - b, axis=-1)),
    "manhattan": (
        lambda a, b: -np.stack([np.abs(b - one).sum(axis=-1) for one in a]),
        lambda a, b: -np.abs(a - b).sum(axis=-1),
    ),
}
