"""One row from one or two texts: which specials stand where, and what is cut when there is too little room."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from xfm.data.source import Row
from xfm.errors import XfmError
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

    def cut(self, sizes: Sequence[int], length: int) -> list[int]:
        """How much of each text a row of `length` holds: the longest loses first, from its end."""
        sizes, over = list(sizes), sum(sizes) + self.specials - length
        if over > 0 and len(sizes) == 2:
            lead = min(over, abs(sizes[0] - sizes[1]))
            sizes[sizes[0] < sizes[1]] -= lead
            over -= lead
            sizes[0], sizes[1] = sizes[0] - over // 2, sizes[1] - (over - over // 2)
            over = 0
        return [max(size - max(over, 0), 0) for size in sizes]

    def row(self, texts: Sequence[Ids], length: int) -> Row:
        """tokens, segments (1, and 0 for padding) and types [length]; texts that do not fit are cut."""
        kept = self.cut([len(text) for text in texts], length)
        out = {name: np.zeros(length, np.int32) for name in ("tokens", "segments", "types")}
        out["tokens"][:] = self.pad
        place = 0
        for what, kind in self.pieces:
            ids = [what] if not isinstance(what, str) else texts[TEXTS.index(what)][: kept[TEXTS.index(what)]]
            stop = place + len(ids)
            out["tokens"][place:stop] = ids
            out["segments"][place:stop] = 1
            out["types"][place:stop] = min(kind, self.kinds - 1)
            place = stop
        return out

    def start(self, text: str, before: int = 0) -> int:
        """Where a text begins in its row, `before` being the tokens of the text that stands before it."""
        names = [what for what, _ in self.pieces]
        index = names.index(text)
        return index + sum(before - 1 for what in names[:index] if isinstance(what, str))


def template_of(tokenizer, texts: int, kinds: int = 2) -> Template:
    """The tokeniser's own way to join so many texts, or [CLS] a [SEP] b [SEP] where it says nothing."""
    v = tokenizer.vocabulary
    own = getattr(tokenizer, "template", lambda texts: None)(texts)
    return Template(own or default(v, texts), v.pad, kinds)


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
