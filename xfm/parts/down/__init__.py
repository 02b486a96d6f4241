"""Parts between the stages of a pyramid, which make the grid coarser and may change D: `x, ctx = down(x, ctx)`."""

from xfm.parts.down.activated import Activated
from xfm.parts.down.block_aggregation import BlockAggregation
from xfm.parts.down.bottleneck import Bottleneck
from xfm.parts.down.cross_scale import CrossScale
from xfm.parts.down.frames import Frames
from xfm.parts.down.mbconv import MBConvDown
from xfm.parts.down.patch_merging import PatchMerging
from xfm.parts.down.pool import Pool
from xfm.parts.down.pool_to import PoolTo
from xfm.parts.down.pooled_queries import PooledQueries
from xfm.parts.down.positioned import Positioned
from xfm.parts.down.residual_reduction import ResidualReduction
from xfm.parts.down.restored import Restored
from xfm.parts.down.sampled import Sampled
from xfm.parts.down.strided_conv import StridedConv
from xfm.parts.down.subsampled_attention import SubsampledAttention

DOWNS = {
    "block_aggregation": BlockAggregation,
    "patch_merging": PatchMerging,
    "strided_conv": StridedConv,
    "mbconv": MBConvDown,
    "residual_reduction": ResidualReduction,
    "cross_scale": CrossScale,
    "pool": Pool,
    "pool_to": PoolTo,
    "pooled_queries": PooledQueries,
    "frames": Frames,
    "subsampled_attention": SubsampledAttention,
    "bottleneck": Bottleneck,
    "positioned": Positioned,
    "activated": Activated,
    "sampled": Sampled,
    "restored": Restored,
}
