"""Opening what was trained: a checkpoint of the Hub, or the run in a workdir."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xfm import hub
from xfm.convert.opened import load_run
from xfm.errors import XfmError
from xfm.folders import is_run
from xfm.hub import Checkpoint, SentenceEncoder


def load(
    source: str | Path,
    *,
    head: str | None = None,
    revision: str | None = None,
    ignore: tuple[str, ...] = (),
    dtype: str | None = None,
    place: Callable[[str, np.ndarray], Any] | None = None,
) -> Checkpoint:
    """The checkpoint in a folder, or of that name on the Hub, or the run in a workdir, as a network of xfm's.

    The arguments are those of `xfm.hub.load`. A run is opened as it is, so head, revision and ignore are for the Hub's
    checkpoints only, and an XfmError for a run.
    """
    if not is_run(source):
        return hub.load(source, head=head, revision=revision, ignore=ignore, dtype=dtype, place=place)
    if head is not None or revision is not None or ignore:
        raise XfmError(f"{source} is a run and is opened as it is; head, revision and ignore are for the Hub's")
    return load_run(source, dtype, place)


def sentence_encoder(
    source: str | Path | Checkpoint, *, revision: str | None = None, dtype: str | None = None
) -> SentenceEncoder:
    """As `xfm.hub.sentence_encoder`, of a run in a workdir too."""
    if isinstance(source, Checkpoint) or not is_run(source):
        return hub.sentence_encoder(source, revision=revision, dtype=dtype)
    return hub.sentence_encoder(load(source, revision=revision, dtype=dtype))
