"""Normalisation of the last axis, or of a whole row: `y = norm(x)`."""

from xfm.parts.norm.affine import Affine
from xfm.parts.norm.batchnorm import BatchNorm
from xfm.parts.norm.fixed_batchnorm import FixedBatchNorm
from xfm.parts.norm.groupnorm import GroupNorm
from xfm.parts.norm.layernorm import LayerNorm
from xfm.parts.norm.progressive import Progressive
from xfm.parts.norm.rmsnorm import RMSNorm
from xfm.parts.norm.timed import Timed
from xfm.parts.norm.unit import Unit

NORMS = {
    "layernorm": LayerNorm,
    "rmsnorm": RMSNorm,
    "unit": Unit,
    "affine": Affine,
    "batchnorm": BatchNorm,
    "progressive": Progressive,
    "groupnorm": GroupNorm,
    "fixed_batchnorm": FixedBatchNorm,
    "timed": Timed,
}
