"""Data: from files to rows of fixed shape, and from rows to batches on the device.

`open_data(config.data, workdir)` gives the sources, `Batches` addresses their rows by (step, row),
`prefetch` makes the batches ready in a thread.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm import locations
from xfm.data.batches import Batches
from xfm.data.images import Images
from xfm.data.labelled import Labelled
from xfm.data.mixture import Mixture
from xfm.data.pairs import Pairs
from xfm.data.pixels import AUGMENTS
from xfm.data.prefetch import prefetch
from xfm.data.source import Data, Source
from xfm.data.spans import Spans
from xfm.data.tagged import Tagged
from xfm.data.text import Text
from xfm.data.tfds import Tfds
from xfm.spec import build
from xfm.tokenizers import TOKENIZERS

__all__ = ["SOURCES", "Batches", "Data", "Source", "check_data", "located", "open_data", "prefetch"]


def open_data(spec: Mapping[str, Any], workdir: str | Path) -> Data:
    """The data that `spec` describes: a `kind` of SOURCES and its fields.

    What takes time (a trained tokeniser, encoded text) is kept in `workdir` and found there again.
    Raises XfmError, one sentence, for a spec or for files that cannot be used.
    """
    return build(SOURCES, spec).open(locations.expanded(workdir))


def located(spec: Mapping[str, Any], base: str | Path) -> dict[str, Any]:
    """The same spec with its paths absolute, those that are relative being relative to the folder `base`.

    Which fields are paths is what the classes of SOURCES and TOKENIZERS say in `PATHS`.
    """
    return locations.spec(SOURCES)(spec.to_dict() if hasattr(spec, "to_dict") else spec, Path(base))


def check_data(spec: Mapping[str, Any]) -> None:
    """Raises XfmError for what is wrong in a data spec, and in the specs within it, as far as no file tells."""
    source = build(SOURCES, spec)
    if hasattr(source, "tokenizer"):
        build(TOKENIZERS, source.tokenizer)
    for augment in getattr(source, "augment", ()):
        build(AUGMENTS, augment)


SOURCES = {
    "text": Text,
    "mixture": Mixture,
    "images": Images,
    "tfds": Tfds,
    "labelled": Labelled,
    "tagged": Tagged,
    "spans": Spans,
    "pairs": Pairs,
}
