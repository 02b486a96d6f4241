"""Characters: ids are the code points of Unicode; nothing is learnt. Clark et al. 2021 (CANINE), section 3.1."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from xfm.errors import XfmError
from xfm.fields import Count
from xfm.tokenizers.base import Ids, Places, Texts, Untrained
from xfm.vocabulary import Vocabulary

LAST_BLANK = 0x3000  # the ideographic one; no code point above is white space
UNKNOWN = 0xFFFD  # Unicode's own character for what cannot be shown
IDS = dict(pad=0, unknown=UNKNOWN, cls=0xE000, sep=0xE001, mask=0xE003, special=(0, *range(0xE000, 0xE005), UNKNOWN))


def vocabulary(size: int) -> Vocabulary:
    """Of the first so many code points; a word begins with a white space."""
    blank = np.zeros(size, bool)
    blank[[i for i in range(min(size, LAST_BLANK + 1)) if chr(i).isspace()]] = True
    return Vocabulary(size=size, starts_word=blank, **IDS)


@dataclasses.dataclass(frozen=True)
class Characters(Untrained):
    """Id = code point, that of a special one in a text too; one from `limit` on is read as U+FFFD.

    limit: V, so many code points can be predicted. 65,536 are those of all living scripts, without emoji. A word, as
    masking sees it, is a white space and what follows up to the next.
    """

    limit: Count = 0x10000

    def __post_init__(self):
        if not UNKNOWN < self.limit <= 0x110000:
            raise XfmError(f"tokeniser 'characters' has a limit from {UNKNOWN + 1} to {0x110000}, not {self.limit}")

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary(self.limit)

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> "Characters":
        return self

    def encode(self, text: str) -> Ids:
        ids = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return np.where(ids >= self.limit, UNKNOWN, ids).astype(np.int32)

    def aligned(self, text: str) -> tuple[Ids, Places]:
        """The ids, and for each its character [start, stop) of the text."""
        starts = np.arange(len(text), dtype=np.int32)
        return self.encode(text), np.stack([starts, starts + 1], axis=1)

    def decode(self, ids: Ids) -> str:
        """The characters; of the special ones U+FFFD alone."""
        ids = np.asarray(ids)
        return "".join(map(chr, ids[~np.isin(ids, IDS["special"][:-1])].tolist()))

    def fingerprint(self) -> str:
        return f"characters below {self.limit}"
