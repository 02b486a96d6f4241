"""Checks of a data source's spec that read no file."""

from typing import Any

from xfm.data.pixels import AUGMENTS
from xfm.spec import build
from xfm.tokenizers import TOKENIZERS


def check_source(source: Any) -> None:
    """Checks the specs nested in a source, those of its fields `tokenizer` and `augment`, and calls its own `check`.

    Raises SpecError for a mistake.
    """
    if hasattr(source, "tokenizer"):
        build(TOKENIZERS, source.tokenizer)
    for augment in getattr(source, "augment", ()):
        build(AUGMENTS, augment)
    if hasattr(source, "check"):
        source.check()
