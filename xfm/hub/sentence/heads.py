"""Which heads of a network can be saved: those of its family, and those that are a pooling of sentence-transformers."""

from collections.abc import Mapping
from typing import Any

from xfm.hub.keys import complete
from xfm.hub.matching import Match
from xfm.hub.sentence.modules import Pooling

POOLS = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}  # xfm's name -> sentence-transformers' name


def pooling(head: Mapping[str, Any]) -> Pooling | None:
    """The pooling of sentence-transformers that equals a head, from its complete spec; None if there is none."""
    only = head["kind"] == "vector" and head["pool"]["kind"] in POOLS
    return Pooling((POOLS[head["pool"]["kind"]],)) if only else None


def unwritten(m: Match, spec: Mapping[str, Any]) -> list[str]:
    """The names of the heads that neither the matching family nor sentence-transformers can express."""
    heads = complete(spec).get("heads", {})  # those of towers are the towers' own
    return [name for name in m.left if pooling(heads[name]) is None]
