"""No position: order is left to the mixer (causal state-space models) or to nobody."""

from xfm.parts.position.base import Position


class NoPosition(Position):
    """All three doors stay shut."""
