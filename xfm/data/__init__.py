"""Data: from files to rows of fixed shape, and from rows to batches on the device.

`open_data(config.data, workdir)` returns the sources, `Batches` addresses their rows by (step, row), and `prefetch`
prepares the batches in a background thread.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm import locations
from xfm.data.batches import Batches
from xfm.data.captions import Captions
from xfm.data.checks import check_source
from xfm.data.clips import Clips
from xfm.data.heat import Heat
from xfm.data.images import Images
from xfm.data.labelled import Labelled
from xfm.data.masks import Masks
from xfm.data.mixture import Mixture
from xfm.data.numbered import Numbered
from xfm.data.objects import Objects
from xfm.data.pairs import Pairs
from xfm.data.prefetch import prefetch
from xfm.data.source import Data, Source, validated
from xfm.data.spans import Spans
from xfm.data.tagged import Tagged
from xfm.data.taught import Taught
from xfm.data.text import Text
from xfm.data.tfds import Tfds
from xfm.spec import build

__all__ = ["SOURCES", "Batches", "Data", "Source", "check_data", "located", "open_data", "prefetch", "validated"]


def open_data(spec: Mapping[str, Any], workdir: str | Path) -> Data:
    """The training and validation data that `spec` describes: a `kind` of SOURCES with its fields.

    workdir: where results that take time to compute (a trained tokeniser, encoded text) are stored and reused.
    Raises XfmError, with one sentence, if the spec or the files cannot be used.
    """
    return build(SOURCES, spec).open(locations.expanded(workdir))


def located(spec: Mapping[str, Any], base: str | Path) -> dict[str, Any]:
    """A copy of a data spec in which all paths are absolute; relative paths are resolved against the folder `base`.

    The classes of SOURCES and TOKENIZERS declare in `PATHS` which of their fields are paths.
    """
    return locations.spec(SOURCES)(spec.to_dict() if hasattr(spec, "to_dict") else spec, Path(base))


def check_data(spec: Mapping[str, Any]) -> None:
    """Checks a data spec and the specs nested in it without reading any file. Raises XfmError for a mistake.

    Nested specs are those in the fields `tokenizer` and `augment`; a source with others has a method `check`.
    """
    check_source(build(SOURCES, spec))


SOURCES = {
    "text": Text,
    "mixture": Mixture,
    "images": Images,
    "masks": Masks,
    "objects": Objects,
    "taught": Taught,
    "numbered": Numbered,
    "clips": Clips,
    "heat": Heat,
    "captions": Captions,
    "tfds": Tfds,
    "labelled": Labelled,
    "tagged": Tagged,
    "spans": Spans,
    "pairs": Pairs,
}
