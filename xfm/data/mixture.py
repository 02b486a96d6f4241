"""Several corpora as one, each drawn at a share that is chosen and not at that of its size."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.data.corpus import Documents, check_length, check_packing, row, token_rows
from xfm.data.source import Data, Row, Source
from xfm.data.text import Text, default_tokenizer
from xfm.errors import nearest
from xfm.fields import NotNegative, RowLength
from xfm.files import fingerprint
from xfm.spec import SpecError, build
from xfm.tokenizers import TOKENIZERS

OURS = ("tokenizer", "length", "packing")  # what the corpora have in common, and so not in `parts`
ROUNDS = 8  # how often an epoch sees the corpus that it sees least; rows of the others differ by one time at most


@dataclasses.dataclass(frozen=True)
class Mixture:
    """parts: name -> fields of the text source, such as `path`, for each corpus.

    weights: name -> its share of the training rows, to any sum; if None, its size to the `power`: 1 leaves the corpora
    as they are, 0 makes them equal, 0.3 is XLM-R's (Conneau et al. 2020, section 3.1).
    tokenizer: spec of TOKENIZERS. It learns from the corpora in the same shares, documents of a small one repeated
    (Wada et al. 2020, ouBioBERT: simultaneous pre-training after up-sampling, with an amplified vocabulary).
    length, packing: as of text.  errors: of the parts that do not set their own.
    Validation rows are those of all corpora, each once.
    """

    parts: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, NotNegative] | None = None
    power: NotNegative = 1.0
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 128
    packing: Literal["stream", "documents"] = "stream"
    errors: Literal["strict", "replace"] = "strict"

    PATHS: ClassVar = {"parts": locations.each(locations.fields(Text.PATHS)), "tokenizer": locations.spec(TOKENIZERS)}

    def open(self, workdir: Path) -> Data:
        check_length(self.length)
        check_packing(self.packing)
        texts = self._texts()
        corpora = {name: text.documents() for name, text in texts.items()}
        mark = fingerprint([(name, mark) for name, (_, mark) in corpora.items()], self.weights, self.power)
        documents = [documents for documents, _ in corpora.values()]
        fitted = build(TOKENIZERS, self.tokenizer).fit(self._amplified(documents), mark, workdir)
        found = [
            token_rows(
                *corpora[name], workdir, fitted, length=self.length, packing=self.packing, origin=text.origin
            )
            for name, text in texts.items()
        ]  # fmt: skip
        train, valid = [one.train for one in found], [one.valid for one in found]
        sizes = [len(source) for source in train]
        mixed, held = Drawn(train, drawn(sizes, self._shares(sizes))), Drawn(valid, [len(source) for source in valid])
        facts = {f"{name}_{key}": n for name, one in zip(texts, found, strict=True) for key, n in one.facts.items()}
        facts |= {"train_rows": sum(sizes), "valid_rows": len(held)}
        mark = fingerprint(mark, [one.fingerprint for one in found])
        return Data(mixed, held, fitted, fitted.vocabulary, mark, facts=facts)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return row(self.length, self.packing)

    def _texts(self) -> dict[str, Text]:
        if not self.parts:
            raise SpecError("mixture: 'parts' names no corpus; give at least one, such as {'own': {'path': FOLDER}}")
        for name, part in self.parts.items():
            for field in set(part) & set(OURS):
                raise SpecError(
                    f"mixture: {field!r} is of the whole mixture and not of its part {name!r}; set it there"
                )
        for name in self.weights or ():
            if name not in self.parts:
                legal = ", ".join(self.parts)
                raise SpecError(f"mixture: weights has {name!r}{nearest(name, self.parts)}; the parts are {legal}")
        for name in self.parts if self.weights is not None else ():
            weight = self.weights.get(name)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise SpecError(f"mixture: the weight of part {name!r} is {weight!r}; give a number above 0")
        return {
            name: build({"text": Text}, {"kind": "text", "errors": self.errors, **part})
            for name, part in self.parts.items()
        }

    def _shares(self, sizes: Sequence[int]) -> list[float]:
        """The share of each corpus, of sum 1."""
        given = self.weights
        raw = [size**self.power for size in sizes] if given is None else [given[name] for name in self.parts]
        return [weight / sum(raw) for weight in raw]

    def _amplified(self, corpora: Sequence[Documents]) -> Callable[[], Iterator[str]]:
        """Training documents of all, those of each corpus as often as brings its characters to its share."""

        @functools.cache
        def times():
            sizes = [max(sum(map(len, documents("train"))), 1) for documents in corpora]
            needed = [share / size for share, size in zip(self._shares(sizes), sizes, strict=True)]
            return [round(need / min(needed)) for need in needed]

        def texts():
            for documents, count in zip(corpora, times(), strict=True):
                for _ in range(count):
                    yield from documents("train")

        return texts


def drawn(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """How many rows of each corpus an epoch has: in proportion to `shares`, each corpus ROUNDS times or more."""
    total = ROUNDS * max(size / share for size, share in zip(sizes, shares, strict=True))
    return [round(share * total) for share in shares]


class Drawn:
    """`counts` rows of each source, a source that has fewer being begun again, in an order in which they alternate.

    Row i is number i · stride of all, modulo their number; the stride is the golden section of it, so that every
    stretch of rows has each source in about its share (Weyl's sequence), and needs no memory.
    """

    def __init__(self, sources: Sequence[Source], counts: Sequence[int]):
        self.sources, self.ends = sources, np.cumsum(counts)
        near = round(len(self) * (math.sqrt(5) - 1) / 2)
        self.stride = next(n for n in range(max(near, 1), 2 * len(self) + 2) if math.gcd(n, len(self)) == 1)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Row:
        which, row = self.place(index)
        return self.sources[which][row]

    def place(self, index: int) -> tuple[int, int]:
        """The number of the source that a row is of, and the row's number there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = index * self.stride % len(self)
        which = int(np.searchsorted(self.ends, place, side="right"))
        start = int(self.ends[which - 1]) if which else 0
        return which, (place - start) % len(self.sources[which])
