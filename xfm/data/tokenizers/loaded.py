"""Tokenisers kept in a `tokenizer.json` (the library `tokenizers`), with the meaning of their ids
found by name.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xfm.data import paths
from xfm.data.files import fingerprint, optional
from xfm.data.tokenizers.base import Ids, Places, Texts
from xfm.errors import XfmError
from xfm.vocabulary import Vocabulary

NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>", "</s>", "[SEP]"),
    "unknown": ("[UNK]", "<unk>", "<|unk|>"),
    "cls": ("[CLS]", "<cls>", "<s>", "<bos>", "<|startoftext|>"),
    "sep": ("[SEP]", "<sep>", "</s>", "<eos>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}


@dataclasses.dataclass(frozen=True)
class File:
    """The tokeniser of a `tokenizer.json` at `path`, such as one that came with a checkpoint;
    nothing is learnt.

    Padding and truncation stored in the file are switched off: rows are made by packing.
    """

    path: str

    PATHS: ClassVar = {"path": paths.path}

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> "Loaded":
        return Loaded.read(self.path)


class Loaded:
    """A tokeniser of the library `tokenizers` behind the interface of this one."""

    def __init__(self, tokenizer: Any, path: str | Path):
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # a special written in a text is text
        self._tokenizer = tokenizer
        self.vocabulary = _vocabulary(tokenizer, path)
        self._fingerprint = fingerprint(tokenizer.to_str())

    @classmethod
    def read(cls, path: str | Path) -> "Loaded":
        """Raises XfmError, naming the file, if there is none or it is not a tokeniser."""
        path = Path(path).expanduser()
        tokenizers = optional("tokenizers", "text")
        if not path.is_file():
            raise XfmError(f"{path} does not exist; give the path of a tokenizer.json")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), path)
        except XfmError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise XfmError(f"{path} is not a tokenizer.json of the library tokenizers: {error}") from error

    def encode(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]:
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in encoded]

    def aligned(self, text: str) -> tuple[Ids, Places]:
        """The ids, and for each the characters [start, stop) of the text that it stands for."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return np.array(encoded.ids, np.int32), np.array(encoded.offsets, np.int32).reshape(-1, 2)

    def template(self, texts: int) -> tuple[tuple[int | str, int], ...] | None:
        """How the file joins one or two texts (see `xfm.data.template`); None where it does not say."""
        if self._tokenizer.post_processor is None:
            return None
        joined = self._tokenizer.encode(*["a"] * texts)
        rows = zip(joined.ids, joined.sequence_ids, joined.type_ids, strict=True)
        pieces = [(i if of is None else "ab"[of], kind) for i, of, kind in rows]
        return tuple(p for i, p in enumerate(pieces) if not (i and isinstance(p[0], str) and p == pieces[i - 1]))

    def decode(self, ids: Ids) -> str:
        special = self.vocabulary.special
        return self._tokenizer.decode([i for i in np.asarray(ids).tolist() if i not in special])

    def fingerprint(self) -> str:
        return self._fingerprint


def _vocabulary(tokenizer: Any, path: str | Path) -> Vocabulary:
    ids = tokenizer.get_vocab(with_added_tokens=True)
    found = {role: next((ids[name] for name in names if name in ids), None) for role, names in NAMES.items()}
    if found["pad"] is None:
        raise XfmError(f"{path} has no token for padding; one of {', '.join(NAMES['pad'])} is needed")
    added = tokenizer.get_added_tokens_decoder()
    special = {i for i, token in added.items() if token.special}
    special |= {i for i in found.values() if i is not None}
    size = max(ids.values()) + 1
    starts = _starts_word(json.loads(tokenizer.to_str()), ids, size, special)
    return Vocabulary(size=size, special=tuple(sorted(special)), starts_word=starts, **found)


def _starts_word(content: dict, ids: dict[str, int], size: int, special: set[int]):
    """bool[size], or None where the tokens do not show where words begin.

    WordPiece: no continuing prefix. Byte-level BPE: a mark of white space first. Metaspace: its
    mark first.
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
