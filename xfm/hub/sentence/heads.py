"""Which heads of a network of xfm's the Hub has: those of its family, and those that sentence-transformers can pool."""

from collections.abc import Mapping
from typing import Any

from xfm.hub.keys import complete
from xfm.hub.matching import Match
from xfm.hub.sentence.modules import Pooling

POOLS = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}  # xfm's -> sentence-transformers'


def pooling(head: Mapping[str, Any]) -> Pooling | None:
    """sentence-transformers' pooling for a complete head that only pools; None for any other."""
    only = head["kind"] == "vector" and head["pool"]["kind"] in POOLS
    return Pooling((POOLS[head["pool"]["kind"]],)) if only else None


def unwritten(m: Match, spec: Mapping[str, Any]) -> list[str]:
    """The heads of a network that neither its family nor sentence-transformers has a place for."""
    heads = complete(spec)["heads"]
    return [name for name in m.left if pooling(heads[name]) is None]
