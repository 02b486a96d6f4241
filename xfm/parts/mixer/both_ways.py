"""The check of mixers that cannot mask tokens: an error instead of a leak that nobody notices."""

from typing import Any

from xfm.context import Context
from xfm.errors import XfmError
from xfm.spec import SpecError


def both_ways(kind: str, ctx: Context, state: Any) -> None:
    """Raises SpecError where the context's mask hides any token, and XfmError where a state is given."""
    if state is not None:
        raise XfmError(f"mixer {kind!r} reads whole segments and keeps no state; give it state=None")
    if not ctx.mask.shows_all:
        raise SpecError(
            f"mixer {kind!r} reads whole segments and cannot be causal or windowed; use it with mask='full'"
        )
