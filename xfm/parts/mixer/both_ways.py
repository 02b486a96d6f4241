"""For mixers that cannot hide what comes later: a clear refusal instead of a silent leak."""

from typing import Any

from xfm.context import Context
from xfm.errors import XfmError
from xfm.spec import SpecError


def both_ways(kind: str, ctx: Context, state: Any) -> None:
    """SpecError where the context's mask hides anything, XfmError where a state is given."""
    if state is not None:
        raise XfmError(f"mixer {kind!r} sees whole segments and keeps no state; give it state=None")
    if not ctx.mask.shows_all:
        raise SpecError(f"mixer {kind!r} sees whole segments and cannot be causal or windowed; use it with mask='full'")
