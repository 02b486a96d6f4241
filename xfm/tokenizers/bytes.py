"""A tokeniser of bytes: ids are the 256 byte values of UTF-8, after five special tokens. It is not trained, and
decoding restores the text.

Xue et al., "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models" (2022), with this library's
special tokens.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfm.tokenizers.base import IDS, Ids, Offsets, Texts, Untrained
from xfm.vocabulary import Vocabulary

FIRST = len(IDS["special"])


@dataclasses.dataclass(frozen=True)
class Bytes(Untrained):
    """The tokeniser with id = byte + 5.

    An id alone does not show whether a word starts there, so `vocabulary.starts_word` is None. Special tokens have no
    names: `[MASK]` in a text is six bytes.
    """

    vocabulary: ClassVar[Vocabulary] = Vocabulary(size=FIRST + 256, **IDS)

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> "Bytes":
        """The tokeniser itself, since it is not trained."""
        return self

    def encode(self, text: str) -> Ids:
        raw = text.encode("utf-8", "surrogatepass")
        return np.frombuffer(raw, np.uint8).astype(np.int32) + FIRST

    def aligned(self, text: str) -> tuple[Ids, Offsets]:
        """The ids of a text, and the character [start, stop) that each byte belongs to."""
        sizes = [len(character.encode("utf-8", "surrogatepass")) for character in text]
        starts = np.repeat(np.arange(len(text), dtype=np.int32), sizes)
        return self.encode(text), np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: Ids) -> str:
        ids = np.asarray(ids)
        raw = (ids[ids >= FIRST] - FIRST).astype(np.uint8).tobytes()
        return raw.decode("utf-8", "replace")

    def fingerprint(self) -> str:
        return "bytes"
