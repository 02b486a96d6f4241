"""From documents to rows of tokens: train the tokeniser, encode the documents, store the ids in the run's folder, and
pack them into rows.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xfm.data.packing import PACKINGS, padding_share
from xfm.data.source import Arrays, Data
from xfm.errors import nearest
from xfm.files import fingerprint, replacing
from xfm.spec import SpecError, build
from xfm.tokenizers import TOKENIZERS, Tokenizer

Documents = Callable[[str], Iterator[str]]  # split, "train" or "valid" -> its documents; may be called repeatedly


def token_data(
    documents: Documents,
    corpus: str,
    workdir: Path,
    *,
    tokenizer: Mapping[str, Any],
    length: int,
    packing: str,
    origin: str,
) -> Data:
    """Both splits of a corpus as packed rows, after training the tokeniser on the training split.

    corpus: fingerprint of the documents and of how they are split.  tokenizer: spec of TOKENIZERS.
    length: tokens of a row.  packing: a name of PACKINGS.  origin: the name of the corpus in error messages.
    The ids are stored in `workdir`, so that a resumed run does not read the documents again.
    """
    check_length(length)
    check_packing(packing)
    fitted = build(TOKENIZERS, tokenizer).fit(lambda: documents("train"), corpus, workdir)
    return token_rows(documents, corpus, workdir, fitted, length=length, packing=packing, origin=origin)


def token_rows(
    documents: Documents, corpus: str, workdir: Path, fitted: Tokenizer, *, length: int, packing: str, origin: str
) -> Data:
    """Both splits of a corpus as packed rows, with the tokeniser `fitted`; other arguments as in `token_data`.

    Raises SpecError if a split does not fill a single row.
    """
    mark = fingerprint(corpus, fitted.fingerprint())
    rows, facts = {}, {}
    for split in ("train", "valid"):
        tokens, lengths = _encoded(lambda s=split: documents(s), fitted, workdir, f"{split}-{mark}")
        v = fitted.vocabulary
        packed = PACKINGS[packing](tokens, lengths, length, cls=v.cls, sep=v.sep, pad=v.pad)
        rows[split] = Arrays(packed)
        if not len(rows[split]):
            raise SpecError(
                f"the {split} split of {origin} does not fill a single row of {length} tokens: it has {len(tokens)} "
                f"tokens in {len(lengths)} documents; change the share 'validation', give more documents, or lower "
                "'length'"
            )
        facts[f"{split}_documents"], facts[f"{split}_tokens"] = len(lengths), len(tokens)
        facts[f"{split}_rows"], facts[f"{split}_padding"] = len(rows[split]), padding_share(packed)
    mark = fingerprint(mark, length, packing)
    return Data(rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, facts=facts)


def row(length: int, packing: str) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of each array of a packed row."""
    check_length(length)
    check_packing(packing)
    names = ("tokens", "segments", "positions") if packing == "documents" else ("tokens",)
    return dict.fromkeys(names, ((length,), np.int32))


def check_length(length: int) -> None:
    """Checks the length of a row in tokens. Raises SpecError if it is not an int of at least 4."""
    if not isinstance(length, int) or length < 4:
        raise SpecError(f"length={length!r} is not a valid length of a row in tokens; give a whole number from 4 up")


def check_packing(packing: str) -> None:
    """Checks the name of a packing. Raises SpecError if PACKINGS does not have it."""
    if packing not in PACKINGS:
        legal = ", ".join(PACKINGS)
        raise SpecError(f"packing has no kind {packing!r}{nearest(packing, PACKINGS)}; it has {legal}")


def _encoded(texts: Callable[[], Iterator[str]], tokenizer: Tokenizer, workdir: Path, name: str):
    """The ids of all documents in one flat array, and the number of each; read from `workdir` if they are there."""
    paths = [Path(workdir) / f"{part}-{name}.npy" for part in ("tokens", "lengths")]
    try:
        tokens, lengths = (np.load(path, mmap_mode="r") for path in paths)
        flat = tokens.ndim == lengths.ndim == 1 and tokens.dtype == np.int32 and lengths.dtype == np.int64
        if flat and (lengths > 0).all() and lengths.sum() == len(tokens):
            return tokens, lengths
    except Exception:  # The files are absent, truncated or damaged (NumPy raises any type then): encode again.
        pass
    ids, documents = [], texts()
    while some := list(itertools.islice(documents, 256)):
        ids += [one for one in tokenizer.encode_batch(some) if len(one)]
    tokens = np.concatenate(ids) if ids else np.zeros(0, np.int32)
    lengths = np.array([len(one) for one in ids], np.int64)
    for path, array in zip(paths, (tokens, lengths), strict=True):
        with replacing(path) as draft, open(draft, "wb") as file:
            np.save(file, array)
    return tokens, lengths
