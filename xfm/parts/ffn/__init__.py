"""Feed-forward parts, one token at a time: `y, state = ffn(x, ctx, state)`."""

from xfm.parts.ffn.glu import GLU
from xfm.parts.ffn.grouped_mlp import GroupedMLP
from xfm.parts.ffn.identity import Identity
from xfm.parts.ffn.ista import Ista
from xfm.parts.ffn.linear_map import LinearMap
from xfm.parts.ffn.mlp import MLP
from xfm.parts.ffn.normed_glu import NormedGLU
from xfm.parts.ffn.normed_mlp import NormedMLP
from xfm.parts.ffn.token_boosting import TokenBoosting

FFNS = {
    "mlp": MLP,
    "glu": GLU,
    "normed_glu": NormedGLU,
    "ista": Ista,
    "linear_map": LinearMap,
    "grouped_mlp": GroupedMLP,
    "normed_mlp": NormedMLP,
    "token_boosting": TokenBoosting,
    "identity": Identity,
}
