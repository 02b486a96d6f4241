"""Pools, which make one vector per row of its tokens: `[B D] = pool(x, ctx)`."""

from xfm.parts.pool.activated import Activated
from xfm.parts.pool.at_token import AtToken
from xfm.parts.pool.attention import AttentionPool
from xfm.parts.pool.class_attention import ClassAttention
from xfm.parts.pool.cls import Cls
from xfm.parts.pool.dense import DensePool
from xfm.parts.pool.first import First
from xfm.parts.pool.joined import Joined
from xfm.parts.pool.last import Last
from xfm.parts.pool.leading import Leading
from xfm.parts.pool.mean import Mean
from xfm.parts.pool.normed import Normed
from xfm.parts.pool.of_head import OfHead
from xfm.parts.pool.patch_mean import PatchMean
from xfm.parts.pool.projected import Projected

POOLS = {
    "cls": Cls,
    "mean": Mean,
    "last": Last,
    "first": First,
    "leading": Leading,
    "at_token": AtToken,
    "attention": AttentionPool,
    "class_attention": ClassAttention,
    "dense": DensePool,
    "activated": Activated,
    "normed": Normed,
    "projected": Projected,
    "joined": Joined,
    "patch_mean": PatchMean,
    "of_head": OfHead,
}
