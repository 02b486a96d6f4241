"""No position: order comes from the mixer alone (causal state-space models), or has no effect."""

from xfm.parts.position.base import Position


class NoPosition(Position):
    """Adds nothing, rotates nothing and gives no bias."""
