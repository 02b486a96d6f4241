"""The interface of all tokenisers, and the special tokens that xfm's own tokenisers begin with."""

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

from xfm.tokenizers.template import Pieces, Template, default
from xfm.vocabulary import Vocabulary

Ids = Int[np.ndarray, "n"]
Offsets = Int[np.ndarray, "n 2"]  # of each token its characters [start, stop) of the text
Texts = Callable[[], Iterator[str]]  # may be called repeatedly

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
IDS = dict(pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


class Joined(NamedTuple):
    """One or two texts as a row, before padding.

    ids: the tokens, with the special tokens around the texts.  types: the token type of each.
    cut: whether tokens were truncated.
    """

    ids: Ids
    types: Ids
    cut: bool


class Tokenizer(Protocol):
    """From text to ids and back, in the same way in training and at inference.

    A special or added token that a text spells out, such as `[MASK]`, becomes its id. Tokenisers whose special tokens
    have no names (bytes) read it as ordinary text.

    kinds: the number of token types that its rows need, if the tokeniser fixes it (families without a table of types);
    otherwise 1.
    """

    vocabulary: Vocabulary
    kinds: int

    def encode(self, text: str) -> Ids:
        """The ids of a text, without special tokens around it."""

    def encode_batch(self, texts: Iterable[str]) -> list[Ids]:
        """The ids of each text, as `encode` returns them."""

    def joined(self, texts: Sequence[Sequence[str]], length: int) -> list[Joined]:
        """Rows of at most `length` ids: row i holds texts[0][i] and, for pairs, texts[1][i]."""

    def template(self, texts: int) -> Pieces:
        """The special tokens and types with which one or two texts are joined (see `xfm.tokenizers.template`)."""

    def aligned(self, text: str) -> tuple[Ids, Offsets]:
        """The ids of a text, and the characters [start, stop) that each token stands for."""

    def decode(self, ids: Ids) -> str:
        """The text of ids, without special tokens."""

    def fingerprint(self) -> str:
        """A string that differs if the ids of a text may differ."""


class TokenizerSpec(Protocol):
    """The interface of the classes of TOKENIZERS."""

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Tokenizer:
        """The tokeniser, trained on `texts` if its kind is trained, or read from `workdir` if it was before.

        corpus: a fingerprint of the texts; a `tokenizer.json` in `workdir` is only valid for the same one.
        """


class Untrained(abc.ABC):
    """The methods that tokenisers without training and without files share; they join texts as BERT does."""

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
