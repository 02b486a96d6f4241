"""One row from one or two texts: which specials stand where, and what is cut when there is too little room."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from xfm.errors import XfmError
from xfm.truncation import kept
from xfm.vocabulary import Vocabulary

Ids = Int[np.ndarray, "n"]
Pieces = tuple[tuple[int | str, int], ...]
TEXTS = ("a", "b")


@dataclasses.dataclass(frozen=True)
class Template:
    """pieces: in order, (id of a special or "a" or "b" for a text, token type).  pad: id.

    kinds: how many token types the rows may have; types beyond are written as the last (RoBERTa has one).
    """

    pieces: Pieces
    pad: int
    kinds: int = 2

    @property
    def specials(self) -> int:
        return sum(not isinstance(what, str) for what, _ in self.pieces)

    def joined(self, texts: Sequence[Ids], length: int) -> tuple[Ids, Ids]:
        """The ids and the token types of a row, without padding; texts that do not fit lose their ends."""
        spans = kept([len(text) for text in texts], max(length - self.specials, 0))
        ids, types = [], []
        for what, kind in self.pieces:
            text = TEXTS.index(what) if isinstance(what, str) else None
            part = np.array([what]) if text is None else texts[text][slice(*spans[text])]
            ids.append(part)
            types.append(np.full(len(part), kind))
        return np.concatenate(ids).astype(np.int32), np.concatenate(types).astype(np.int32)

    def row(self, texts: Sequence[Ids], length: int) -> dict[str, np.ndarray]:
        """tokens, segments (1, and 0 for padding) and types [length]; texts that do not fit are cut."""
        return laid(*self.joined(texts, length), length, self.pad, self.kinds)

    def start(self, text: str, before: int = 0) -> int:
        """Where a text begins in its row, `before` being the tokens of the text that stands before it."""
        names = [what for what, _ in self.pieces]
        index = names.index(text)
        return index + sum(before - 1 for what in names[:index] if isinstance(what, str))


def laid(ids: Ids, types: Ids, length: int, pad: int, kinds: int) -> dict[str, np.ndarray]:
    """tokens, segments (1, and 0 for padding) and types [length]; types beyond `kinds` are written as the last."""
    out = {name: np.zeros(length, np.int32) for name in ("tokens", "segments", "types")}
    out["tokens"][:] = pad
    out["tokens"][: len(ids)] = ids
    out["segments"][: len(ids)] = 1
    out["types"][: len(ids)] = np.minimum(types, kinds - 1)
    return out


def template_of(tokenizer, texts: int, kinds: int = 2) -> Template:
    """The tokeniser's own way to join so many texts."""
    return Template(tokenizer.template(texts), tokenizer.vocabulary.pad, max(kinds, tokenizer.kinds))


def default(v: Vocabulary, texts: int) -> Pieces:
    """Devlin et al. 2019 (BERT), figure 2; a special that the vocabulary lacks is left out."""
    pieces = [(v.cls, 0)]
    for kind, text in enumerate(TEXTS[:texts]):
        pieces += [(text, kind), (v.sep, kind)]
    return tuple((what, kind) for what, kind in pieces if what is not None)


def windows(count: int, room: int, stride: int) -> Iterator[range]:
    """Ranges of at most `room` that cover `count` tokens, each beginning `stride` after the one before."""
    if not 0 < stride <= room:
        raise XfmError(f"stride={stride} leaves tokens out or stands still: windows here hold {room} tokens")
    start = 0
    while True:
        yield range(start, min(start + room, count))
        if start + room >= count:
            return
        start += stride
