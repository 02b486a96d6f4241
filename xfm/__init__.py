"""xfm: text encoders, state-space hybrids and vision transformers in JAX and Flax.

    model = xfm.build(config.model)
    params = model.init(key, batch)["params"]
"""

from xfm.context import Context, Mask
from xfm.errors import XfmError
from xfm.structures import build

__all__ = ["Context", "Mask", "XfmError", "build"]
__version__ = "0.1.0"
