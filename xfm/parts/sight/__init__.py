"""Which keys an attention attends to by a pattern of blocks or of tokens: `y = sight(projections, attend, ctx)`."""

from xfm.parts.sight.block_local import BlockLocal
from xfm.parts.sight.block_sparse import BlockSparse
from xfm.parts.sight.global_window import GlobalWindow

SIGHTS = {
    "block_local": BlockLocal,
    "block_sparse": BlockSparse,
    "global_window": GlobalWindow,
}
