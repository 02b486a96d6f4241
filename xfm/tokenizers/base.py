"""What every tokeniser offers, and the specials that xfm's own tokenisers begin with."""

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

from xfm.tokenizers.template import Pieces, Template, default
from xfm.vocabulary import Vocabulary

Ids = Int[np.ndarray, "n"]
Places = Int[np.ndarray, "n 2"]
Texts = Callable[[], Iterator[str]]  # may be called more than once

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
IDS = dict(pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


class Joined(NamedTuple):
    """One or two texts as a row without its padding.

    ids: with the specials around the texts.  types: the token type of each id.  cut: whether the texts lost tokens.
    """

    ids: Ids
    types: Ids
    cut: bool


class Tokenizer(Protocol):
    """Text to ids and back, in training as at inference: a special or added token that a text spells out, such as
    `[MASK]`, is read as its id. Tokenisers without names for their specials (bytes) read all text as text.

    kinds: how many token types its rows always need, 1 unless the network has no table of types.
    """

    vocabulary: Vocabulary
    kinds: int

    def encode(self, text: str) -> Ids: ...

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]: ...

    def joined(self, texts: Sequence[Sequence[str]], length: int) -> list[Joined]:
        """For each index, the texts[0][index] and, of pairs, texts[1][index] as a row of at most `length` ids."""

    def template(self, texts: int) -> Pieces:
        """How one or two texts are joined (see `xfm.tokenizers.template`)."""

    def aligned(self, text: str) -> tuple[Ids, Places]: ...

    def decode(self, ids: Ids) -> str: ...

    def fingerprint(self) -> str: ...


class TokenizerSpec(Protocol):
    """A class of TOKENIZERS. `fit` learns from texts, or finds in `workdir` what an earlier call
    learnt from `corpus`.

    corpus: a fingerprint of the texts; the file `tokenizer.json` in `workdir` stays bound to it.
    """

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Tokenizer: ...


class Untrained(abc.ABC):
    """What tokenisers that learn nothing and have no file share: rows are joined as BERT joins them."""

    vocabulary: Vocabulary
    kinds = 1

    @abc.abstractmethod
    def encode(self, text: str) -> Ids: ...

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]:
        return [self.encode(text) for text in texts]

    def template(self, texts: int) -> Pieces:
        return default(self.vocabulary, texts)

    def joined(self, texts: Sequence[Sequence[str]], length: int) -> list[Joined]:
        template = Template(self.template(len(texts)), self.vocabulary.pad)
        found = []
        for row in zip(*texts, strict=True):
            ids = self.encode_batch(row)
            whole = sum(map(len, ids)) + template.specials
            found.append(Joined(*template.joined(ids, length), whole > length))
        return found
