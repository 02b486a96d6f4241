"""The tokeniser of a checkpoint: from texts to the arrays that its network reads.

The library `tokenizers` reads the files and splits the texts; this module adds the calling convention, the limits and
the errors. Padding and truncation stored in a tokenizer.json are switched off, since the caller chooses both.
"""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from xfm.errors import XfmError
from xfm.files import first_line
from xfm.tokenizers.checkpoint.characters import UNICODE, CodePoints
from xfm.tokenizers.checkpoint.classes import kind_of
from xfm.tokenizers.checkpoint.files import FILES, backend_of, read_settings, special_tokens, usual_tokens, whole_file
from xfm.truncation import kept

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
CHARACTERS = 300_000  # the most characters of a text that are tokenised, unless max_length is very large
SLACK = 1024  # tokens that end so many characters before the end of an excerpt equal those of the whole text
IDS = 10_000_000  # the largest vocabulary that is read; none known has a tenth of it
ENDLESS = 10**9  # from here on a number in the files means "no limit"
# Families with token types, for which config.json may not give their number.
TYPES = {"bert": 2, "albert": 2, "electra": 2, "convbert": 2, "rembert": 2, "roformer": 2, "big_bird": 2, "xlnet": 3,
         "funnel": 3, "fnet": 4, "canine": 16, "nomic_bert": 2}  # fmt: skip
COMPARED = ("xlnet", "funnel")  # families without a table of types, which only compare them

Ids = list[int]


class Tokenizer:
    """A tokeniser: `tokenizer(texts)` returns arrays of ids, and `tokenizer.decode(ids)` returns text.

    backend: the `tokenizers.Tokenizer`, for offsets and words.  folder: where its files are.
    special: role ("pad", "cls", "mask", …) -> token; the ids are `pad_token_id`, `cls_token_id` and so on, or None.
    model_max_length: the largest number of tokens of a row, special ones included; None for no limit.
    positions: the number of rows of the network's table of positions; None if it has no table.
    types: the number of the network's token types; if it is more than one the arrays include `token_type_ids`.
    side: where padding goes, "right" or "left".  cut: the end at which long texts are truncated, "right" or "left".
    pad_type: the token type of padding.
    odd: which text of a truncated pair keeps one more token (see `xfm.tokenizers.checkpoint.classes.Kind`).
    """

    pad_token_id: int | None
    unk_token_id: int | None
    cls_token_id: int | None
    sep_token_id: int | None
    mask_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | None

    def __init__(
        self,
        backend: Any,
        folder: Path,
        special: Mapping[str, str],
        *,
        model_max_length: int | None = None,
        positions: int | None = None,
        types: int = 0,
        side: str = "right",
        cut: str = "right",
        pad_type: int = 0,
        odd: str = "longer",
    ):
        self.backend, self.folder, self.special = backend, Path(folder), dict(special)
        self.model_max_length, self.positions, self.types = model_max_length, positions, types
        self.side, self.cut, self._pad_type, self._odd = side, cut, pad_type, odd
        self._one_at_a_time = threading.Lock()  # truncation is a state of the backend, which threads share
        backend.no_padding()
        backend.no_truncation()
        for role in ROLES:
            token = self.special.get(role)
            setattr(self, f"{role}_token_id", None if token is None else backend.token_to_id(token))

    def __len__(self) -> int:
        """One more than the largest id."""
        if isinstance(self.backend, CodePoints):
            return UNICODE
        return max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        max_length: int | None = None,
        *,
        pad_to: int | None = None,
    ) -> dict[str, Int[np.ndarray, "B T"]]:
        """`input_ids`, `attention_mask` (0 at padding) and, if the network has token types, `token_type_ids`; int32.

        texts: one text or several.  pairs: a second text for each.
        max_length: the number of tokens to which rows are truncated; `model_max_length` if None.
        pad_to: T, the length to which rows are padded; the longest row's if None.
        Raises XfmError as `read` does, and if a row is longer than `pad_to`.
        """
        ids, types = self.read(texts, pairs, max_length)
        longest = max(map(len, ids), default=0)
        length = longest if pad_to is None else pad_to
        if longest > length:
            raise XfmError(f"pad_to={length} is too short for {longest} tokens; raise it, or set max_length as well")
        arrays = dict(input_ids=self.padded(ids, length, self.pad_token_id or 0))
        arrays["attention_mask"] = self.padded([[1] * len(one) for one in ids], length, 0)
        if self.types > 1:
            arrays["token_type_ids"] = self.padded(types, length, self._pad_type)
        return arrays

    def padded(self, rows: Sequence[Ids], length: int, fill: int) -> Int[np.ndarray, "B T"]:
        """Rows of different lengths as one array, filled up to `length` with `fill` on the tokeniser's padding side."""
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        position = np.arange(length)[None]
        real = position < sizes[:, None] if self.side == "right" else position >= length - sizes[:, None]
        array = np.full((len(rows), length), fill, np.int32)
        array[real] = np.fromiter((i for row in rows for i in row), np.int32, int(sizes.sum()))
        return array

    def read(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None, max_length: int | None = None
    ) -> tuple[list[Ids], list[Ids]]:
        """The ids and the token types of each row, with special tokens, truncated to `max_length` and not padded.

        Of a long text only as many characters are tokenised as `max_length` tokens need: at most 300,000, or 32 per
        token if that is more. Raises XfmError for values that are not text, for a text longer than 300,000 characters
        if nothing limits its tokens, and if a regular expression of the tokeniser's files fails.
        """
        found = self.encodings(texts, pairs, max_length)
        return [one.ids for one in found], [one.type_ids for one in found]

    def encodings(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None, max_length: int | None = None
    ) -> list[Any]:
        """The library's encodings of the rows that `read` returns: `ids`, `type_ids`, `overflowing` if truncated."""
        texts, pairs = _list(texts, "texts"), None if pairs is None else _list(pairs, "pairs")
        if pairs is not None and len(pairs) != len(texts):
            raise XfmError(f"{len(texts)} texts do not fit {len(pairs)} pairs; give one second text for each text")
        limit = self._limit(max_length, pairs is not None)
        with self._one_at_a_time, self._speaking():
            texts = [self._needed(text, limit) for text in texts]
            if pairs is not None:
                pairs = [self._needed(text, limit) for text in pairs]
                if self._odd == "first" and limit is not None:
                    return [self._pair(*both, limit) for both in zip(texts, pairs, strict=True)]
            if limit is None:
                self.backend.no_truncation()
            else:
                self.backend.enable_truncation(limit, direction=self.cut)
            return self.backend.encode_batch_fast(texts if pairs is None else list(zip(texts, pairs, strict=True)))

    def bare(self, texts: str | Sequence[str]) -> list[Any]:
        """The library's encodings of whole texts, without special tokens around them: `ids` and `offsets`."""
        texts = _list(texts, "texts")
        with self._one_at_a_time, self._speaking():
            self.backend.no_truncation()
            return self.backend.encode_batch(texts, add_special_tokens=False)

    def _pair(self, a: str, b: str, limit: int) -> Any:
        """The encoding of a pair; if both texts are truncated to an odd number of tokens, the first keeps one more."""
        self.backend.no_truncation()
        both = self.backend.encode_batch([a, b], add_special_tokens=False)
        room = limit - self.backend.num_special_tokens_to_add(True)
        for one, (first, end) in zip(both, kept([len(one) for one in both], room), strict=True):
            one.truncate(end - first, 0, self.cut)
        return self.backend.post_process(*both)

    def decode(self, ids: Any, *, skip_special_tokens: bool = True) -> str | list[str]:
        """The text of ids [T], or the texts of ids [B T]."""
        ids = np.asarray(ids)
        if ids.ndim > 1:
            return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in ids]
        with self._speaking():
            return self.backend.decode(ids.astype(int).tolist(), skip_special_tokens=skip_special_tokens)

    def tokens(self, ids: Any) -> list[str | None]:
        """The vocabulary's entry for each id; None for ids that it does not have."""
        return [self.backend.id_to_token(int(i)) for i in np.asarray(ids).ravel()]

    def description(self) -> str:
        """Everything that the ids of a text depend on, as JSON."""
        with self._one_at_a_time:
            self.backend.no_truncation()
            stored = "characters" if isinstance(self.backend, CodePoints) else self.backend.to_str()
            split = getattr(self.backend, "encode_special_tokens", False)
        return json.dumps([stored, split, self.cut, self._odd, self.special])

    def save(self, folder: str | Path) -> None:
        """Copies the files that this tokeniser was read from into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            source = self.folder / name
            if source.is_file() and source.resolve() != (folder / name).resolve():
                shutil.copyfile(source, folder / name)

    def lowercase(self) -> None:
        """From now on converts all texts to lower case, as the settings of some sentence encoders require."""
        from tokenizers import normalizers

        own = self.backend.normalizer
        self.backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own is not None else [])])

    def _limit(self, max_length: int | None, paired: bool) -> int | None:
        limit = self.model_max_length if max_length is None else max_length
        least = self.backend.num_special_tokens_to_add(paired)
        if limit is not None and limit <= least:
            raise XfmError(f"max_length={limit} leaves no room for text beside {least} special tokens; raise it")
        return limit

    def _needed(self, text: str, limit: int | None) -> str:
        """An excerpt of a text whose first `limit` tokens (the last, if texts are truncated on the left) equal those of
        the whole; most texts are returned whole.
        """
        if limit is None:
            if len(text) > CHARACTERS:
                raise XfmError(
                    f"a text has {len(text)} characters, and nothing limits the number of its tokens; give max_length"
                )
            return text
        size, most = 16 * limit + SLACK, max(CHARACTERS, 32 * limit)
        if self.cut == "left":
            return text[-most:]
        while size < len(text):
            size = min(size, most)
            self.backend.no_truncation()
            offsets = self.backend.encode(text[:size], add_special_tokens=False).offsets
            if size == most or sum(last <= size - SLACK for _, last in offsets) >= limit:
                return text[:size]
            size *= 4
        return text

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        with speaking(f"the tokeniser in {self.folder} fails on a text"):
            yield


@contextlib.contextmanager
def speaking(what: str) -> Iterator[None]:
    """Turns anything that the library raises into an XfmError that begins with `what`.

    A panic of its Rust code (such as one from a regular expression that needs too much time) is a BaseException, but
    not an Exception.
    """
    try:
        yield
    except (XfmError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        raise XfmError(f"{what}: {first_line(error)}") from error


def _list(texts: str | Sequence[str], name: str) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise XfmError(f"{name}[{i}] is of type {type(text).__name__}, where a text should be")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text[:CHARACTERS]):
            raise XfmError(f"{name}[{i}] has half of a surrogate pair, which is not a character; decode it as UTF-16")
    return texts


def read_tokenizer(folder: str | Path, config: Mapping[str, Any] | None = None) -> Tokenizer:
    """The tokeniser whose files are in `folder`.

    config: the content of the checkpoint's config.json.

    It is read from tokenizer.json if there is one, else from vocab.txt (WordPiece), vocab.json with merges.txt
    (byte-level BPE) or a SentencePiece model, depending on its class (see `classes.py`); the settings are those in
    tokenizer_config.json, special_tokens_map.json and added_tokens.json. No code of a checkpoint is executed.

    Raises XfmError if a file is damaged or missing or exceeds a limit (see `bounds.py`), if xfm does not have the
    class, and if the embedding of `config` is too small for the tokeniser's ids.
    """
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        raise XfmError("reading a tokeniser needs: pip install 'xfm[text]'") from None
    folder, config = Path(folder), config or {}
    settings = read_settings(folder)
    kind = kind_of(folder, settings, config)
    with speaking(f"the tokeniser's files in {folder} are damaged"):
        backend = backend_of(folder, settings, kind, config)
        stored = getattr(backend, "truncation", None) or {}, getattr(backend, "padding", None) or {}
        stored_type = stored[1].get("pad_type_id", kind.pad_type)
        said, positions = _said(settings), positions_of(config)
        tokenizer = Tokenizer(
            backend,
            folder,
            special_tokens(backend, settings, kind),
            model_max_length=min((n for n in (said, positions) if n), default=None),
            positions=positions,
            types=_whole("type_vocab_size", config.get("type_vocab_size")) or TYPES.get(config.get("model_type"), 0),
            side=_side("padding_side", settings, stored[1].get("direction"), kind.side),
            cut=_side("truncation_side", settings, stored[0].get("direction"), "right"),
            pad_type=_whole("pad_token_type_id", settings.get("pad_token_type_id", stored_type)),
            odd=kind.odd,
        )
    _check_ids(tokenizer)
    _check_size(tokenizer, config)
    return tokenizer


def read_file(path: Path) -> Tokenizer:
    """The tokeniser in a tokenizer.json that is read without other files.

    Special tokens are found by their usual names. Raises XfmError, naming the file, if it does not hold a tokeniser.
    """
    with speaking(f"{path} is not a tokenizer.json of the library tokenizers"):
        backend = whole_file(path)
        cut = (backend.truncation or {}).get("direction", "right")
    tokenizer = Tokenizer(backend, path.parent, usual_tokens(backend), types=2, cut=cut)
    _check_ids(tokenizer)
    return tokenizer


def _side(name: str, settings: Mapping[str, Any], stored: str | None, usual: str) -> str:
    side = settings.get(name, stored or usual)
    if side not in ("right", "left"):
        raise XfmError(f"{name} in tokenizer_config.json is {side!r}; it must be 'right' or 'left'")
    return side


def _said(settings: Mapping[str, Any]) -> int | None:
    """The limit of tokens in the tokeniser's settings; None if there is none, or a number that means none."""
    said = settings.get("model_max_length")
    if said is None or (isinstance(said, int | float) and said >= ENDLESS):
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not said >= 1:
        raise XfmError(f"model_max_length in tokenizer_config.json is {said!r}; it must be a whole number from 1 up")
    return int(said)


def _whole(name: str, value: Any) -> int:
    """A number in the files, checked to be a whole number below ENDLESS; 0 for None."""
    if value is not None and (not isinstance(value, int) or not 0 <= value < ENDLESS):
        raise XfmError(f"{name} in the checkpoint's files is {value!r}; it must be a whole number from 0 up")
    return value or 0


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The number of positions in the network's table; None for relative, rotary and ALiBi positions."""
    rows = config.get("max_position_embeddings", config.get("n_positions"))
    free = config.get("model_type") in TABLELESS or "relative_attention_num_buckets" in config
    free = free or config.get("position_embedding_type") in ("alibi", "rotary", "rope")
    free = free or config.get("position_biased_input") is False
    if free or rows in (None, -1):
        return None
    if config.get("model_type") in OFFSET:
        rows -= (config.get("pad_token_id") or 0) + 1
    return int(rows) if 0 < rows < ENDLESS else None


# Families without a table of positions.
TABLELESS = ("modernbert", "modernbert-decoder", "eurobert", "nomic_bert", "roformer", "t5", "mt5", "umt5", "xlnet",
             "funnel")  # fmt: skip
# Families that count positions from the one after the padding token's id.
OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text", "roberta-prelayernorm",
          "xlm-roberta-xl", "xmod", "ibert", "luke", "esm")  # fmt: skip


def _check_ids(tokenizer: Tokenizer) -> None:
    """Checks a tokeniser's ids. Raises XfmError if there are too many, or if rows have special ids beyond them."""
    size = len(tokenizer)
    if size > IDS:
        raise XfmError(f"the tokeniser in {tokenizer.folder} has ids up to {size - 1}; it may have at most {IDS} ids")
    with speaking(f"the tokeniser in {tokenizer.folder} fails on an empty text"):
        tokenizer.backend.no_truncation()
        around = max([*tokenizer.backend.encode("").ids, *tokenizer.backend.encode("", "").ids], default=-1)
    if around >= size:
        raise XfmError(f"the tokeniser in {tokenizer.folder} puts id {around} around a text, but has only {size} ids")


def _check_size(tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    """Raises XfmError if the embedding that `config` describes has fewer rows than the tokeniser has ids."""
    rows = config.get("vocab_size")
    if not isinstance(rows, int) or len(tokenizer) <= rows:
        return
    last = len(tokenizer) - 1
    raise XfmError(
        f"the tokeniser in {tokenizer.folder} gives {tokenizer.tokens([last])[0]!r} the id {last}, but the embedding "
        f"has {rows} rows (vocab_size in config.json); they do not belong together"
    )
