"""Parts that move information between tokens: `y, state = mixer(x, ctx, state)`."""

from xfm.parts.mixer.attention import Attention
from xfm.parts.mixer.bidirectional import Bidirectional
from xfm.parts.mixer.mamba2 import Mamba2

MIXERS = {
    "attention": Attention,
    "mamba2": Mamba2,
    "bidirectional": Bidirectional,
}
