"""Normalisation of the last axis: `y = norm(x)`."""

from xfm.parts.norm.fixed_batchnorm import FixedBatchNorm
from xfm.parts.norm.layernorm import LayerNorm
from xfm.parts.norm.rmsnorm import RMSNorm

NORMS = {
    "layernorm": LayerNorm,
    "rmsnorm": RMSNorm,
    "fixed_batchnorm": FixedBatchNorm,
}
