"""Templates: how one or two texts are joined to a row with special tokens, and truncated if the row is too short."""

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
    """How one or two texts are joined to a row.

    pieces: (id of a special token, or "a" or "b" for a text; its token type), in order.  pad: the id of padding.
    kinds: the number of token types; larger types are replaced by the last one (RoBERTa has only one).
    """

    pieces: Pieces
    pad: int
    kinds: int = 2

    @property
    def specials(self) -> int:
        """The number of special tokens."""
        return sum(not isinstance(what, str) for what, _ in self.pieces)

    def joined(self, texts: Sequence[Ids], length: int) -> tuple[Ids, Ids]:
        """The ids and the token types of a row of at most `length`, without padding; long texts are truncated."""
        spans = kept([len(text) for text in texts], max(length - self.specials, 0))
        ids, types = [], []
        for what, kind in self.pieces:
            text = TEXTS.index(what) if isinstance(what, str) else None
            part = np.array([what]) if text is None else texts[text][slice(*spans[text])]
            ids.append(part)
            types.append(np.full(len(part), kind))
        return np.concatenate(ids).astype(np.int32), np.concatenate(types).astype(np.int32)

    def row(self, texts: Sequence[Ids], length: int) -> dict[str, np.ndarray]:
        """`tokens`, `segments` (1, and 0 for padding) and `types` [length]; texts that do not fit are truncated."""
        return laid(*self.joined(texts, length), length, self.pad, self.kinds)

    def start(self, text: str, before: int = 0) -> int:
        """The position in the row of the first token of a text, "a" or "b".

        before: the number of tokens of text "a", needed if `text` is "b".
        """
        names = [what for what, _ in self.pieces]
        index = names.index(text)
        return index + sum(before - 1 for what in names[:index] if isinstance(what, str))


def laid(ids: Ids, types: Ids, length: int, pad: int, kinds: int) -> dict[str, np.ndarray]:
    """`tokens`, `segments` (1, and 0 for padding) and `types` [length] of ids without padding.

    pad: the id of padding.  kinds: the number of token types; larger types are replaced by the last one.
    """
    out = {name: np.zeros(length, np.int32) for name in ("tokens", "segments", "types")}
    out["tokens"][:] = pad
    out["tokens"][: len(ids)] = ids
    out["segments"][: len(ids)] = 1
    out["types"][: len(ids)] = np.minimum(types, kinds - 1)
    return out


def template_of(tokenizer, texts: int, kinds: int = 2) -> Template:
    """The template with which a tokeniser joins one or two texts.

    kinds: the model's number of token types; a tokeniser may fix a larger one.
    """
    return Template(tokenizer.template(texts), tokenizer.vocabulary.pad, max(kinds, tokenizer.kinds))


def default(v: Vocabulary, texts: int) -> Pieces:
    """BERT's template for one or two texts: [CLS] a [SEP] b [SEP] (Devlin et al. 2019, figure 2).

    Special tokens that the vocabulary `v` does not have are left out.
    """
    pieces = [(v.cls, 0)]
    for kind, text in enumerate(TEXTS[:texts]):
        pieces += [(text, kind), (v.sep, kind)]
    return tuple((what, kind) for what, kind in pieces if what is not None)


def windows(count: int, room: int, stride: int) -> Iterator[range]:
    """Ranges of at most `room` tokens that together cover `count` tokens, each starting `stride` after the previous.

    Raises XfmError if `stride` is not from 1 to `room`.
    """
    if not 0 < stride <= room:
        raise XfmError(f"stride={stride} does not fit windows of {room} tokens; give a number from 1 to {room}")
    start = 0
    while True:
        yield range(start, min(start + room, count))
        if start + room >= count:
            return
        start += stride
