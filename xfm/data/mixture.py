"""A mixture of corpora, each sampled with a chosen share instead of in proportion to its size."""

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

OURS = ("tokenizer", "length", "packing")  # fields of the whole mixture, which `parts` may not set
ROUNDS = 8  # how often an epoch shows each row of the corpus that is repeated least


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A data source that mixes several corpora of text.

    parts: name -> fields of the text source, such as `path`, for each corpus.
    weights: name -> share of the training rows, relative to the sum of all. If None, a corpus has a share proportional
    to its number of rows to the `power`: 1 keeps the proportions, 0 makes all shares equal, and XLM-R has 0.3 (Conneau
    et al. 2020, section 3.1).
    tokenizer: spec of TOKENIZERS. It is trained on the corpora in the same shares, repeating the documents of small
    ones (Wada et al. 2020, ouBioBERT: simultaneous pre-training after up-sampling, with an amplified vocabulary).
    length, packing: as in the text source.  errors: for parts that do not set their own.
    The validation split holds the validation rows of all corpora, each once.
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
        """Both splits of the mixture as packed rows.

        Raises SpecError for bad fields or a corpus without rows, and XfmError for files that cannot be read.
        """
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

    def check(self) -> None:
        """Checks the parts and their weights. Raises SpecError for a mistake."""
        self._texts()

    def _texts(self) -> dict[str, Text]:
        if not self.parts:
            raise SpecError("mixture: 'parts' names no corpus; give at least one, such as {'own': {'path': FOLDER}}")
        for name, part in self.parts.items():
            for field in set(part) & set(OURS):
                raise SpecError(
                    f"mixture: part {name!r} sets {field!r}, which belongs to the whole mixture; set it there"
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
        """The share of each corpus, in [0, 1] and summing to 1.  sizes: of the corpora, in rows or characters."""
        given = self.weights
        raw = [size**self.power for size in sizes] if given is None else [given[name] for name in self.parts]
        return [weight / sum(raw) for weight in raw]

    def _amplified(self, corpora: Sequence[Documents]) -> Callable[[], Iterator[str]]:
        """The training documents of all corpora, repeated so often that the characters of each have its share."""

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
    """The number of rows of each corpus in an epoch: in proportion to `shares`, at least ROUNDS times its size."""
    total = ROUNDS * max(size / share for size, share in zip(sizes, shares, strict=True))
    return [round(share * total) for share in shares]


class Drawn:
    """A source of `counts[i]` rows of each source i, interleaved; a source with fewer rows is repeated.

    Row i is row i · stride, modulo the number n of rows, of the sources' rows one after the other. The stride is close
    to n divided by the golden ratio (a Weyl sequence), so that every stretch of rows has each source in about its share
    and no permutation has to be stored.
    """

    def __init__(self, sources: Sequence[Source], counts: Sequence[int]):
        self.sources, self.ends = sources, np.cumsum(counts)
        near = round(len(self) * (math.sqrt(5) - 1) / 2)
        self.stride = next(n for n in range(max(near, 1), 2 * len(self) + 2) if math.gcd(n, len(self)) == 1)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Row:
        which, row = self.location(index)
        return self.sources[which][row]

    def location(self, index: int) -> tuple[int, int]:
        """The number of the source that row `index` comes from, and the row's index in that source."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = index * self.stride % len(self)
        which = int(np.searchsorted(self.ends, number, side="right"))
        start = int(self.ends[which - 1]) if which else 0
        return which, (number - start) % len(self.sources[which])
