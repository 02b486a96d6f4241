"""A tokeniser of characters: ids are the code points of Unicode. It is not trained.

Clark et al. 2021 (CANINE), section 3.1.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from xfm.errors import XfmError
from xfm.fields import Count
from xfm.tokenizers.base import Ids, Offsets, Texts, Untrained
from xfm.vocabulary import Vocabulary

LAST_BLANK = 0x3000  # the ideographic space; no code point above it is white space
UNKNOWN = 0xFFFD  # Unicode's replacement character
IDS = dict(pad=0, unknown=UNKNOWN, cls=0xE000, sep=0xE001, mask=0xE003, special=(0, *range(0xE000, 0xE005), UNKNOWN))


def vocabulary(size: int) -> Vocabulary:
    """The vocabulary of the first `size` code points; every white-space character starts a word."""
    blank = np.zeros(size, bool)
    blank[[i for i in range(min(size, LAST_BLANK + 1)) if chr(i).isspace()]] = True
    return Vocabulary(size=size, starts_word=blank, **IDS)


@dataclasses.dataclass(frozen=True)
class Characters(Untrained):
    """The tokeniser with id = code point.

    limit: V, the number of ids, which is also the number of code points that can be predicted. Code points from `limit`
    on are read as U+FFFD. 65,536 ids cover all living scripts, but no emoji.

    The code point of a special token in a text is that special token. For masking, a word is a white-space character
    and the characters up to the next one.
    """

    limit: Count = 0x10000

    def __post_init__(self):
        if not UNKNOWN < self.limit <= 0x110000:
            raise XfmError(f"tokeniser 'characters' needs a limit from {UNKNOWN + 1} to {0x110000}, not {self.limit}")

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of `limit` code points."""
        return vocabulary(self.limit)

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> "Characters":
        """The tokeniser itself, since it is not trained."""
        return self

    def encode(self, text: str) -> Ids:
        ids = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return np.where(ids >= self.limit, UNKNOWN, ids).astype(np.int32)

    def aligned(self, text: str) -> tuple[Ids, Offsets]:
        """The ids of a text, and the character [start, stop) of each."""
        starts = np.arange(len(text), dtype=np.int32)
        return self.encode(text), np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: Ids) -> str:
        """The characters of ids, without special tokens other than U+FFFD."""
        ids = np.asarray(ids)
        return "".join(map(chr, ids[~np.isin(ids, IDS["special"][:-1])].tolist()))

    def fingerprint(self) -> str:
        return f"characters below {self.limit}"
