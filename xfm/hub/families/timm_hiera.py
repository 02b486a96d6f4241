"""Hiera as timm's files have it: Ryali et al. 2023.

The oracle is timm's Hiera, whose files these are. They count layers through all stages. Hidden states are in reading
order, as timm's are after it has put its units together again. config.json has no model_type; see timm_vit.py.
"""

import dataclasses
import re

import numpy as np

from xfm.configs.vision import hiera
from xfm.hub import timm
from xfm.hub.families.pvt_v2 import kernel
from xfm.hub.families.timm_convnext import label, pooled
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

SIZES = {"tiny": "T", "small": "S", "base": "B", "base_plus": "B+", "large": "L", "huge": "H"}
NAME = re.compile(rf"hiera_({'|'.join(SIZES)})_(\d+)(?:\..*)?")
FIXED = {
    "use_expand_proj": True, "init_values": None, "norm_layer": "LayerNorm", "sep_pos_embed": False,
    "abs_win_pos_embed": False,
}  # fmt: skip
UNREAD = ("global_pool", "fix_init", "weight_init", "patch_drop_rate", "head_init_scale")
EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    image: rows and columns in pixels.  layers, heads, within: of each stage, the last being whether it attends within
    units.  growth: of the width from stage to stage.  stem: size, stride and margin of the patches.  unit, pool: rows
    and columns of tokens.
    """

    image: tuple[int, int]
    layers: tuple[int, ...]
    width: int
    growth: float
    heads: tuple[int, ...]
    within: tuple[bool, ...]
    stem: dict[str, tuple[int, int]]
    unit: tuple[int, int]
    pool: tuple[int, int]
    ratio: float
    channels: int

    @property
    def widths(self) -> list[int]:
        """D of each stage."""
        return [int(self.width * self.growth**i) for i in range(len(self.layers))]


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    name = timm.known(c, NAME, ", ".join(f"hiera_{size}_PIXELS" for size in SIZES))
    layers, width, heads, _ = hiera.SIZES[SIZES[name[1]]]
    layers = tuple(timm.argument(c, "stages", layers))
    given = timm.Arguments(c, FIXED | {"q_pool": len(layers) - 1}, unread=(*UNREAD, "stages"))
    timm.refuse(min(layers[1:], default=2) < 2, c, "stages", "2 layers or more in every stage but the first")
    heads, more = given.take("num_heads", heads), given.take("head_mul", 2.0)
    found = Made(
        image=given.sides("img_size", int(name[2])),
        layers=layers,
        width=given.take("embed_dim", width),
        growth=given.take("dim_mul", 2.0),
        heads=tuple(int(heads * more**i) for i in range(len(layers))),
        within=tuple(given.take("mask_unit_attn", (True, True, False, False))),
        stem=dict(
            size=given.sides("patch_kernel", hiera.STEM["size"]),
            stride=given.sides("patch_stride", hiera.STEM["stride"]),
            margin=given.sides("patch_padding", hiera.STEM["margin"]),
        ),
        unit=given.sides("mask_unit_size", 8),
        pool=given.sides("q_stride", 2),
        ratio=given.take("mlp_ratio", 4.0),
        channels=given.take("in_chans", 3),
    )
    given.finish()
    wrong = any(n != p ** (len(layers) - 1) for n, p in zip(found.unit, found.pool, strict=True))
    timm.refuse(wrong, c, "mask_unit_size", "a unit that becomes one token in the last stage")
    timm.refuse(len(found.within) != len(layers), c, "mask_unit_attn", "a value for each stage")
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    stages = list(zip(m.layers, m.widths, m.heads, m.within, strict=True))
    grid = tuple(side // step for side, step in zip(m.image, m.stem["stride"], strict=True))
    spec = hiera.network(stages, m.stem, grid, m.unit, hidden=m.ratio, pool=m.pool, classes=0, eps=EPS)
    spec["embed"]["channels"] = m.channels
    return spec | {"heads": {}}


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, *m.image, m.channels), np.float32))


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: those of the embedding and of each stage."""
    return ("embed", *(f"stage_{i}" for i in range(len(made(c).layers))))


def names(c: Settings) -> Names:
    """The table of names, in which the layers of each stage are counted on from those of the stage before."""
    m, found = made(c), dict(NAMES)
    found["embed/position/table"] = At("pos_embed", axes=(0, 1, 2), sides=(1, -1, m.width))
    for i in range(len(m.layers)):
        begin = sum(m.layers[:i])
        found |= {f"stage_{i}/down/{path}": At(f"blocks.{begin}.{at.name}", at.part) for path, at in DOWN.items()}
        found |= {
            f"stage_{i}/{path}": At(f"blocks.{{1}}.{at.name}", at.part, first=begin + (i > 0))
            for path, at in LAYER.items()
        }
    return found


ATTENTION = {a: At("attn.qkv", part=part) for a, part in timm.QKV.items()} | {"o": At("attn.proj")}
LAYER = {
    "0/in_norm": At("norm1"),
    **{f"0/part/{below}{a}": at for below in ("", "mixer/") for a, at in ATTENTION.items()},
    "1/in_norm": At("norm2"),
    "1/part/up": At("mlp.fc1"),
    "1/part/down": At("mlp.fc2"),
}
DOWN = ATTENTION | {
    "in_norm": At("norm1"),
    "skip": At("proj"),
    "ffn_norm": At("norm2"),
    "ffn/up": At("mlp.fc1"),
    "ffn/down": At("mlp.fc2"),
}
NAMES: Names = {"embed/stem/conv/kernel": kernel("patch_embed.proj"), "embed/stem/conv": "patch_embed.proj"}
FAMILY = Family(
    model_type="timm/hiera",
    network=network,
    names=names,
    heads={
        "pooled": Head("pooled", pooled, {"pool/norm": "head.norm"}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "head.fc"}, needs=("pooled",)),
    },
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
