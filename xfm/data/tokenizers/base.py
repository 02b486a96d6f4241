"""What every tokeniser offers, and the specials that xfm's own tokenisers begin with."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int

from xfm.vocabulary import Vocabulary

Ids = Int[np.ndarray, "n"]
Places = Int[np.ndarray, "n 2"]
Texts = Callable[[], Iterator[str]]  # may be called more than once

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
IDS = dict(pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


class Tokenizer(Protocol):
    """Text to ids and back. Ids of specials never come from text: `[MASK]` in a document is read as
    its characters.
    """

    vocabulary: Vocabulary

    def encode(self, text: str) -> Ids: ...

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]: ...

    def aligned(self, text: str) -> tuple[Ids, Places]: ...

    def decode(self, ids: Ids) -> str: ...

    def fingerprint(self) -> str: ...


class TokenizerSpec(Protocol):
    """A class of TOKENIZERS. `fit` learns from texts, or finds in `workdir` what an earlier call
    learnt from `corpus`.

    corpus: a fingerprint of the texts; the file `tokenizer.json` in `workdir` stays bound to it.
    """

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Tokenizer: ...
