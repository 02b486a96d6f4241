"""Between the stages of a pyramid: `x, ctx = down(x, ctx)`, a coarser grid with a width of its own."""

from xfm.parts.down.patch_merging import PatchMerging
from xfm.parts.down.pool import Pool
from xfm.parts.down.strided_conv import StridedConv

DOWNS = {
    "patch_merging": PatchMerging,
    "strided_conv": StridedConv,
    "pool": Pool,
}
