"""The parts of a network: one folder per slot, one file per part, and for each slot a table of its kinds in `SLOTS`."""

from xfm.parts.down import DOWNS
from xfm.parts.embed import EMBEDS
from xfm.parts.ffn import FFNS
from xfm.parts.head import HEADS
from xfm.parts.mixer import MIXERS
from xfm.parts.norm import NORMS
from xfm.parts.pool import POOLS
from xfm.parts.position import POSITIONS
from xfm.parts.residual import RESIDUALS
from xfm.parts.sight import SIGHTS
from xfm.parts.stem import STEMS

SLOTS = {
    "embed": EMBEDS,
    "stem": STEMS,
    "position": POSITIONS,
    "sight": SIGHTS,
    "mixer": MIXERS,
    "ffn": FFNS,
    "norm": NORMS,
    "residual": RESIDUALS,
    "down": DOWNS,
    "pool": POOLS,
    "head": HEADS,
}
