"""Bytes: the 256 values of UTF-8 after the five specials; nothing is learnt and nothing is lost.

Xue et al., "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models" (2022), with
this library's specials.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfm.tokenizers.base import IDS, Ids, Places, Texts, Untrained
from xfm.vocabulary import Vocabulary

FIRST = len(IDS["special"])


@dataclasses.dataclass(frozen=True)
class Bytes(Untrained):
    """Id = byte + 5. Where a word starts cannot be known from an id alone, so `starts_word` is
    None. Specials have no names, so `[MASK]` in a text is six bytes.
    """

    vocabulary: ClassVar[Vocabulary] = Vocabulary(size=FIRST + 256, **IDS)

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> "Bytes":
        return self

    def encode(self, text: str) -> Ids:
        raw = text.encode("utf-8", "surrogatepass")
        return np.frombuffer(raw, np.uint8).astype(np.int32) + FIRST

    def aligned(self, text: str) -> tuple[Ids, Places]:
        """The ids, and for each the character [start, stop) of the text that its byte is of."""
        sizes = [len(character.encode("utf-8", "surrogatepass")) for character in text]
        starts = np.repeat(np.arange(len(text), dtype=np.int32), sizes)
        return self.encode(text), np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: Ids) -> str:
        ids = np.asarray(ids)
        raw = (ids[ids >= FIRST] - FIRST).astype(np.uint8).tobytes()
        return raw.decode("utf-8", "replace")

    def fingerprint(self) -> str:
        return "bytes"
