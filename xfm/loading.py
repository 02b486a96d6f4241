"""Loads trained networks: checkpoints of the Hub, and runs of xfm."""

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
    """Loads the checkpoint in a folder, or with that name on the Hub, or of the run in a workdir.

    The arguments are those of `xfm.hub.load`. Raises XfmError if head, revision or ignore are given for a run, which is
    always loaded as it is.
    """
    if not is_run(source):
        return hub.load(source, head=head, revision=revision, ignore=ignore, dtype=dtype, place=place)
    if head is not None or revision is not None or ignore:
        raise XfmError(f"{source} is a run; head, revision and ignore can only be given for checkpoints of the Hub")
    return load_run(source, dtype, place)


def sentence_encoder(
    source: str | Path | Checkpoint, *, revision: str | None = None, dtype: str | None = None
) -> SentenceEncoder:
    """The sentence encoder in a folder, or with that name on the Hub, or of the run in a workdir.

    Arguments and errors as in `xfm.hub.sentence_encoder`.
    """
    if isinstance(source, Checkpoint) or not is_run(source):
        return hub.sentence_encoder(source, revision=revision, dtype=dtype)
    return hub.sentence_encoder(load(source, revision=revision, dtype=dtype))
