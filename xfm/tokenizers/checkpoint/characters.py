"""Code points as ids, as CANINE reads text (Clark et al. 2021, section 3.1): no vocabulary, and so no file of one.

It has those methods of a Tokenizer of the library `tokenizers` that `xfm.tokenizers.checkpoint.tokenizer` calls.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from xfm.truncation import kept

UNICODE = 0x110000  # code points
CLS, SEP, MASK = 0xE000, 0xE001, 0xE003  # from the private area, which no text should use
NAMES = {0: "[PAD]", CLS: "[CLS]", SEP: "[SEP]", 0xE002: "[BOS]", MASK: "[MASK]", 0xE004: "[RESERVED]"}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """ids, the type of each, its [first, end) in the text, (0, 0) for what is added, and which text it is of, or None.

    overflowing: the characters of each text that were cut off, where there are some.
    """

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    sequence_ids: list[int | None]
    overflowing: tuple[str, ...] = ()


class Characters:
    """[CLS] a [SEP], or [CLS] a [SEP] b [SEP]; a pair is cut at its longer text.

    From b on the type is 1, as in transformers 4 and for all such pairs; transformers 5 gives 0 throughout.
    """

    def __init__(self):
        self.normalizer: Any = None
        self._limit: tuple[int, str] | None = None

    def no_padding(self) -> None:
        """Padding is the caller's."""

    def no_truncation(self) -> None:
        self._limit = None

    def enable_truncation(self, limit: int, direction: str = "right") -> None:
        self._limit = limit, direction

    def num_special_tokens_to_add(self, pair: bool) -> int:
        return 3 if pair else 2

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        return {chr(i): i for i in range(UNICODE)}

    def token_to_id(self, token: str) -> int | None:
        """Of a character, or of a name such as "[CLS]"."""
        named = {name: i for i, name in NAMES.items()}
        return ord(token) if len(token) == 1 else named.get(token)

    def id_to_token(self, number: int) -> str | None:
        return NAMES.get(number) or (chr(number) if 0 <= number < UNICODE else None)

    def encode(self, text: str, pair: str | None = None, add_special_tokens: bool = True) -> Encoding:
        texts = [text if self.normalizer is None else self.normalizer.normalize_str(text)]
        if pair is not None:
            texts.append(pair if self.normalizer is None else self.normalizer.normalize_str(pair))
        spans = [(0, len(one)) for one in texts]
        if self._limit is not None:
            added = self.num_special_tokens_to_add(pair is not None) if add_special_tokens else 0
            spans = kept([len(one) for one in texts], self._limit[0] - added, self._limit[1])
        found = [(CLS, 0, (0, 0), None)] if add_special_tokens else []
        for type_id, (one, (first, end)) in enumerate(zip(texts, spans, strict=True)):
            found += [(ord(one[i]), type_id, (i, i + 1), type_id) for i in range(first, end)]
            found += [(SEP, type_id, (0, 0), None)] if add_special_tokens else []
        lost = tuple(one[:first] + one[end:] for one, (first, end) in zip(texts, spans, strict=True))
        columns = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [], [])
        return Encoding(*columns, tuple(filter(None, lost)))

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[Encoding]:
        return [self.encode(text, add_special_tokens=add_special_tokens) for text in texts]

    def encode_batch_fast(self, texts: Sequence[str | tuple[str, str]]) -> list[Encoding]:
        return [self.encode(text) if isinstance(text, str) else self.encode(*text) for text in texts]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The names of special ids if they are not skipped; nothing for what is no code point."""
        shown = (self.id_to_token(i) or "" for i in ids if not (skip_special_tokens and i in NAMES))
        return "".join(shown)
