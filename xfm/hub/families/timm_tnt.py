"""TNT as timm's files have it: Han et al. 2021.

The oracle is timm's TNT, whose files these are; its legacy variant, which norms words before they are joined, is
another network. config.json has no model_type; see timm_vit.py.
"""

import dataclasses
import re

import numpy as np

from xfm.configs.vision import tnt
from xfm.hub import timm
from xfm.hub.families import vit
from xfm.hub.families.timm_vit import label
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(r"tnt_(s|b)_patch(\d+)_(\d+)(?:\..*)?")
FIXED = {"qkv_bias": False, "legacy": False, "mlp_ratio": 4.0, "global_pool": "token"}
TILE = (7, 3)  # the side and the margin of the tiles of a patch, each of which is one word


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    grid: rows and columns of patches.  patch: its side in pixels.  stride: of the words within it.  width, heads: of
    the layers over patches.  inner, inner_heads: of those over words.
    """

    grid: tuple[int, int]
    patch: int
    stride: int
    layers: int
    width: int
    heads: int
    inner: int
    inner_heads: int
    channels: int

    @property
    def words(self) -> int:
        """The number of words along one side of a patch."""
        return -(-self.patch // self.stride)


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    c.only("global_pool", "token")
    name = timm.known(c, NAME, "tnt_s_patchP_PIXELS and tnt_b_patchP_PIXELS")
    layers, width, heads, inner, inner_heads = tnt.SIZES[name[1].upper()]
    given = timm.Arguments(c, FIXED, unread=("pos_drop_rate",))
    image, patch = given.sides("img_size", int(name[3])), given.sides("patch_size", int(name[2]))
    timm.refuse(patch[0] != patch[1], c, "patch_size", "square patches")
    found = Made(
        grid=tuple(side // patch[0] for side in image),
        patch=patch[0],
        stride=given.take("first_stride", 4),
        layers=given.take("depth", layers),
        width=given.take("embed_dim", width),
        heads=given.take("num_heads_outer", heads),
        inner=given.take("inner_dim", inner),
        inner_heads=given.take("num_heads_inner", inner_heads),
        channels=given.take("in_chans", 3),
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m, (side, margin) = made(c), TILE
    tile, grid = (side, m.stride, margin), m.grid[0] if m.grid[0] == m.grid[1] else m.grid
    spec = tnt.network(m.layers, m.width, m.heads, m.inner, m.inner_heads, m.patch, tile, grid, classes=0)
    spec["embed"]["channels"] = m.channels
    spec["position"]["resize"] = "bicubic_antialiased"
    return spec | {"heads": {}}


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, m.grid[0] * m.patch, m.grid[1] * m.patch, m.channels), np.float32))


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the words' kernel and of what is learned for each position."""
    m = made(c)
    return NAMES | {
        "embed/word/kernel": At("pixel_embed.proj.weight", axes=(2, 3, 1, 0), sides=(7, 7, m.channels, m.inner)),
        "embed/position/table": At("pixel_pos", axes=(2, 3, 1, 0), sides=(m.words, m.words, m.inner, 1)),
        "position/table": At("patch_pos", axes=(0, 1, 2), sides=(1, -1, m.width)),
        "cls": At("cls_token", axes=(0, 1, 2)),
    }


def inside(at: int, end: str, mlp: str) -> Names:
    """The rows of an attention and an MLP of a layer.  at: number of the attention.  end, mlp: of their names."""
    return {
        f"layer/{at}/in_norm": f"{LAYER}norm{end}",
        f"layer/{at}/part/q": At(f"{LAYER}attn{end}.qk", part=(0, 2)),
        f"layer/{at}/part/k": At(f"{LAYER}attn{end}.qk", part=(1, 2)),
        f"layer/{at}/part/v": f"{LAYER}attn{end}.v",
        f"layer/{at}/part/o": f"{LAYER}attn{end}.proj",
        f"layer/{at + 1}/in_norm": f"{LAYER}norm_{mlp}",
        f"layer/{at + 1}/part/up": f"{LAYER}{mlp}.fc1",
        f"layer/{at + 1}/part/down": f"{LAYER}{mlp}.fc2",
    }


LAYER = "blocks.{}."
JOIN = {"in_norm": "norm1_proj", "out": "proj", "out_norm": "norm2_proj"}
NAMES: Names = {
    "embed/word/bias": "pixel_embed.proj.bias",
    **{f"join/{ours}": name for ours, name in JOIN.items()},
    **inside(0, "_in", "mlp_in"),
    **{f"each/layers/join/{ours}": f"{LAYER}{name}" for ours, name in JOIN.items()},
    **inside(2, "_out", "mlp"),
    "norm": "norm",
}
FAMILY = Family(
    model_type="timm/tnt",
    network=network,
    names=names,
    sublayers=4,
    heads={"image_classification": Head("label", label(0), {"out": "head"})},
    calling=Calling(reads="images", inputs=vit.inputs, example=example, streams=("layers/outer/mlp_1",)),
)
