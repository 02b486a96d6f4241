"""CANINE's tokeniser, whose ids are code points, so that it needs no vocabulary file (Clark et al. 2021, section 3.1).

`CodePoints` has the methods of the library's `tokenizers.Tokenizer` that `xfm.tokenizers.checkpoint.tokenizer` calls.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from xfm.truncation import kept

UNICODE = 0x110000  # number of code points
CLS, SEP, MASK = 0xE000, 0xE001, 0xE003  # in the private use area, which no text should use
NAMES = {0: "[PAD]", CLS: "[CLS]", SEP: "[SEP]", 0xE002: "[BOS]", MASK: "[MASK]", 0xE004: "[RESERVED]"}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What `tokenizers.Encoding` holds, for the fields in use.

    ids: the tokens.  type_ids: the token type of each.  offsets: its characters [start, stop), (0, 0) for a special
    token.  sequence_ids: the number of its text, None for a special token.
    overflowing: the characters that were truncated, for each text that lost some.
    """

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    sequence_ids: list[int | None]
    overflowing: tuple[str, ...] = ()


class CodePoints:
    """A tokeniser whose rows are [CLS] a [SEP], or [CLS] a [SEP] b [SEP]; a long pair is truncated at its longer text.

    Token types are 1 from b on, as in transformers 4 and other tokenisers; transformers 5 has 0 throughout.
    """

    def __init__(self):
        self.normalizer: Any = None
        self._limit: tuple[int, str] | None = None

    def no_padding(self) -> None:
        """Does nothing, since this class never pads."""

    def no_truncation(self) -> None:
        """Switches truncation off."""
        self._limit = None

    def enable_truncation(self, limit: int, direction: str = "right") -> None:
        """From now on truncates rows to `limit` tokens at the end `direction`, "right" or "left"."""
        self._limit = limit, direction

    def num_special_tokens_to_add(self, pair: bool) -> int:
        """The number of special tokens in a row of one text or of a pair."""
        return 3 if pair else 2

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        """The id of every code point."""
        return {chr(i): i for i in range(UNICODE)}

    def token_to_id(self, token: str) -> int | None:
        """The id of a character, or of a name such as "[CLS]"; None for other strings."""
        named = {name: i for i, name in NAMES.items()}
        return ord(token) if len(token) == 1 else named.get(token)

    def id_to_token(self, number: int) -> str | None:
        """The name of a special token or the character with this id; None if there is none."""
        return NAMES.get(number) or (chr(number) if 0 <= number < UNICODE else None)

    def encode(self, text: str, pair: str | None = None, add_special_tokens: bool = True) -> Encoding:
        """The encoding of a text or a pair, truncated if truncation is on."""
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
        """The encoding of each text."""
        return [self.encode(text, add_special_tokens=add_special_tokens) for text in texts]

    def encode_batch_fast(self, texts: Sequence[str | tuple[str, str]]) -> list[Encoding]:
        """The encoding of each text or pair."""
        return [self.encode(text) if isinstance(text, str) else self.encode(*text) for text in texts]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids; special tokens are skipped or become their names, and ids that are no code point vanish."""
        shown = (self.id_to_token(i) or "" for i in ids if not (skip_special_tokens and i in NAMES))
        return "".join(shown)
