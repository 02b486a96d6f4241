"""Stems, which make the grid of tokens of an image, before class tokens and positions: `x = stem(images, ctx)`.

`stem.step()` are the rows and columns of pixels from one token to the next. Its `width`, D, is set by the embedding.
"""

from xfm.parts.stem.conv import ConvStem
from xfm.parts.stem.convs import Convs
from xfm.parts.stem.cross_scale import CrossScale
from xfm.parts.stem.hmlp import HMLP
from xfm.parts.stem.linear_convs import LinearConvs
from xfm.parts.stem.max_pooled import MaxPooled
from xfm.parts.stem.normed import NormedStem
from xfm.parts.stem.normed_patches import NormedPatches
from xfm.parts.stem.residual_convs import ResidualConvs
from xfm.parts.stem.tokens_to_token import TokensToToken

STEMS = {
    "conv": ConvStem,
    "convs": Convs,
    "cross_scale": CrossScale,
    "hmlp": HMLP,
    "residual_convs": ResidualConvs,
    "linear_convs": LinearConvs,
    "max_pooled": MaxPooled,
    "normed": NormedStem,
    "normed_patches": NormedPatches,
    "tokens_to_token": TokensToToken,
}
