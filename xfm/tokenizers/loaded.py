"""Tokenisers read from files, for training: the object that inference uses, behind the interface of training."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xfm import locations
from xfm.errors import XfmError
from xfm.fields import Name
from xfm.files import fingerprint, optional
from xfm.tokenizers import characters
from xfm.tokenizers.base import Ids, Joined, Offsets, Texts
from xfm.tokenizers.template import Pieces
from xfm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from xfm.tokenizers.checkpoint.tokenizer import Tokenizer

ROLES = {"pad": "pad", "unknown": "unk", "cls": "cls", "sep": "sep", "mask": "mask"}  # xfm's name -> the Hub's name
CHUNK = 4096  # texts that are tokenised at once
READING = 2  # version of how texts are read; increasing it invalidates ids stored by earlier versions


@dataclasses.dataclass(frozen=True)
class File:
    """The spec of a tokeniser in a `tokenizer.json` at `path`, such as one from a checkpoint. It is not trained.

    Padding and truncation stored in the file are switched off, except for the side of truncation. If the file does not
    say how texts are joined, they are joined as BERT's are if its vocabulary has such tokens, else without special
    tokens.
    """

    path: Name

    PATHS: ClassVar = {"path": locations.path}

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> "Loaded":
        """The tokeniser in the file; `texts` are not used."""
        return Loaded.read(self.path)


class Loaded:
    """A checkpoint's tokeniser behind the interface of training (see `xfm.tokenizers.base.Tokenizer`).

    kinds: the number of token types of its rows, if it does not depend on the network; else 1.
    """

    def __init__(self, tokenizer: "Tokenizer", path: str | Path, kinds: int = 1):
        self._tokenizer, self.kinds = tokenizer, kinds
        self.vocabulary = _vocabulary(tokenizer, path)
        self._fingerprint = fingerprint(READING, tokenizer.description(), kinds)

    @classmethod
    def read(cls, path: str | Path) -> "Loaded":
        """The tokeniser in the file `path`. Raises XfmError, naming it, if it does not exist or is not a tokeniser."""
        path = locations.expanded(path)
        optional("tokenizers", "text")
        if not path.is_file():
            raise XfmError(f"{path} does not exist; give the path of a tokenizer.json")
        from xfm.tokenizers.checkpoint.tokenizer import read_file

        return cls(read_file(path), path)

    def encode(self, text: str) -> Ids:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]:
        return [np.array(one.ids, np.int32) for one in self._tokenizer.bare(list(texts))]

    def joined(self, texts: Sequence[Sequence[str]], length: int) -> list[Joined]:
        """Rows of at most `length` ids, equal to those of inference, since the same method makes both."""
        found = []
        for start in range(0, len(texts[0]), CHUNK):
            some = [list(one[start : start + CHUNK]) for one in texts]
            read = self._tokenizer.encodings(*some, max_length=length)
            found += [Joined(_array(one.ids), _array(one.type_ids), bool(one.overflowing)) for one in read]
        return found

    def aligned(self, text: str) -> tuple[Ids, Offsets]:
        """The ids of a text, and the characters [start, stop) that each token stands for."""
        (one,) = self._tokenizer.bare([text])
        return _array(one.ids), np.array(one.offsets, np.int32).reshape(-1, 2)

    def template(self, texts: int) -> Pieces:
        """The special tokens and types with which one or two texts are joined (see `xfm.tokenizers.template`).

        They are read off the encoding of a short text. Raises XfmError if no text has tokens.
        """
        for text in itertools.chain("a", _some_tokens(self._tokenizer.backend)):
            if self._tokenizer.bare([text])[0].ids:
                break
        else:
            raise XfmError(f"the tokeniser in {self._tokenizer.folder} gives no token for any text; use another one")
        joined = self._tokenizer.backend.encode(*[text] * texts)
        rows = zip(joined.ids, joined.sequence_ids, joined.type_ids, strict=True)
        pieces = [(i if of is None else "ab"[of], kind) for i, of, kind in rows]
        return tuple(p for i, p in enumerate(pieces) if not (i and isinstance(p[0], str) and p == pieces[i - 1]))

    def decode(self, ids: Ids) -> str:
        special = self.vocabulary.special
        return self._tokenizer.decode([i for i in np.asarray(ids).tolist() if i not in special])

    def fingerprint(self) -> str:
        return self._fingerprint


def _array(ids: Sequence[int]) -> Ids:
    return np.array(ids, np.int32)


def _some_tokens(backend: Any) -> Iterator[str]:
    yield from sorted(backend.get_vocab(with_added_tokens=False))[:64]


def _vocabulary(tokenizer: "Tokenizer", path: str | Path) -> Vocabulary:
    """The vocabulary of a tokeniser; roles that it does not declare are found by the usual names of such tokens."""
    backend = tokenizer.backend
    from xfm.tokenizers.checkpoint.characters import CodePoints
    from xfm.tokenizers.checkpoint.files import USUAL, usual_tokens

    if isinstance(backend, CodePoints):
        return characters.vocabulary(len(tokenizer))
    ids = backend.get_vocab(with_added_tokens=True)
    names = usual_tokens(backend) | tokenizer.special
    found = {role: ids.get(names.get(theirs)) for role, theirs in ROLES.items()}
    if found["pad"] is None:
        raise XfmError(f"{path} has no padding token; it needs one of {', '.join(USUAL['pad'])}")
    added = backend.get_added_tokens_decoder()
    special = {i for i, token in added.items() if token.special}
    special |= {i for i in found.values() if i is not None}
    size = len(tokenizer)
    starts = _starts_word(json.loads(backend.to_str()), ids, size, special)
    return Vocabulary(size=size, special=tuple(sorted(special)), starts_word=starts, **found)


def _starts_word(content: dict, ids: dict[str, int], size: int, special: set[int]):
    """Whether each id starts a word, bool [size]; None if the tokens do not show it.

    A token starts a word if it has no continuation prefix (WordPiece), or if it begins with a white-space character
    (byte-level BPE) or with the mark for one (Metaspace).
    """
    model = content["model"]
    parts = json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    if model["type"] == "WordPiece":
        prefix = model["continuing_subword_prefix"]
        starts = {i for token, i in ids.items() if not token.startswith(prefix)}
    elif '"ByteLevel"' in parts:
        starts = {i for token, i in ids.items() if token[:1] in "ĠĊĉč"}
    elif '"Metaspace"' in parts:
        starts = {i for token, i in ids.items() if token[:1] == "▁"}
    else:
        return None
    out = np.zeros(size, bool)
    out[sorted(starts | special)] = True
    return out
