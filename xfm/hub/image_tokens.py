"""The weights of DALL-E's encoder of visual tokens, from FLAVA's checkpoint or with the names of the authors' program.

`facebook/flava-image-codebook` and the authors' encoder.pkl have the same weights. Both are written as pickles, which
are not opened; save their tensors as model.safetensors.
"""

import re

import numpy as np

from xfm.errors import XfmError
from xfm.folders import folder_of
from xfm.hub.files import Tensors, tensors_of

RENAMES = (
    (r"^(image_codebook\.)?blocks\.", ""),
    (r"\.(group|res_path|path)(?=\.)", ""),
    (r"\.id_path(?=\.)", ".identity"),
    (r"^output\.conv(?=\.)", "output"),
    (r"\.w$", ".weight"),
    (r"\.b$", ".bias"),
)
LEAVES = {"weight": "kernel", "bias": "bias"}


def weights(source: str, revision: str | None = None) -> dict[str, np.ndarray]:
    """Path of a parameter, as `xfm.objectives.image_tokens` has it, such as "group_1/block_1/conv_1/kernel" -> weights.

    source: a folder, or a name on the Hub.  Tensors of other networks in the file (those of FLAVA) are left out.
    Raises XfmError for a file without the encoder.
    """
    with tensors_of(folder_of(source, revision)) as tensors:
        whole = any(name.startswith("image_codebook.") for name in tensors)
        names = [name for name in tensors if name.startswith("image_codebook." if whole else "blocks.")]
        if not names:
            raise XfmError(
                f"{source} has no tensor blocks.…, so that it is no encoder of visual tokens; give one such as "
                "facebook/flava-image-codebook"
            )
        return {path_of(name): of(tensors, name) for name in names}


def path_of(name: str) -> str:
    """The path of the parameter that a tensor holds."""
    for pattern, new in RENAMES:
        name = re.sub(pattern, new, name)
    module, _, leaf = name.rpartition(".")
    return f"{module.replace('.', '/')}/{LEAVES.get(leaf, leaf)}"


def of(tensors: Tensors, name: str) -> np.ndarray:
    """A tensor in float32, kernels as (rows, columns, channels in, channels out)."""
    tensors.check(name)
    found = np.concatenate([np.array(block, np.float32) for _, block in tensors.blocks(name)])
    return found.transpose(2, 3, 1, 0) if found.ndim == 4 else found
