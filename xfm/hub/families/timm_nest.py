"""NesT as timm's files have it: Zhang et al. 2022.

The oracle is timm's Nest, whose files these are. Its jx networks, which have the authors' weights, put the edge of the
tiles where the authors' program does. Positions are in the order of the blocks there, and the channels of an
attention's heads are interleaved before they are joined. Images of another size are cut into more or fewer blocks of
the same side, where a Nest that is made for that size has as many blocks of another side. config.json has no
model_type; see timm_vit.py.
"""

import dataclasses
import re

from xfm.configs.vision import nest
from xfm.hub import timm
from xfm.hub.families.pvt_v2 import kernel
from xfm.hub.families.timm_swin import label
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

SIZES = {"tiny": "T", "small": "S", "base": "B"}
NAME = re.compile(rf"nest_({'|'.join(SIZES)})(_jx)?(?:\..*)?")
FIXED = {"qkv_bias": True, "norm_layer": None, "act_layer": None, "mlp_ratio": 4.0, "global_pool": "avg"}
EDGES = {"": "both", "same": "end"}


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    image, patch: a side in pixels.  layers, widths, heads: of each level.  edge: of the tiles of block aggregation.
    """

    image: int
    patch: int
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]
    channels: int
    edge: str

    @property
    def block(self) -> int:
        """The side of a block in patches."""
        return self.image // self.patch // 2 ** (len(self.layers) - 1)


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    c.only("global_pool", "avg")
    name = timm.known(c, NAME, ", ".join(f"nest_{size} and nest_{size}_jx" for size in SIZES))
    layers, widths, heads, _ = nest.SIZES[SIZES[name[1]]]
    layers = tuple(timm.argument(c, "depths", layers))
    given = timm.Arguments(c, FIXED | {"num_levels": len(layers)}, unread=("depths", "weight_init"))
    image, pad = given.sides("img_size", 224), given.take("pad_type", "same" if name[2] else "")
    timm.refuse(image[0] != image[1], c, "img_size", "square images")
    timm.refuse(pad not in EDGES, c, "pad_type", "'' or 'same'")
    found = Made(
        image=image[0],
        patch=given.take("patch_size", 4),
        layers=layers,
        widths=tuple(given.take("embed_dims", widths)),
        heads=tuple(given.take("num_heads", heads)),
        channels=given.take("in_chans", 3),
        edge=EDGES[pad],
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    spec = nest.network(m.layers, m.widths, m.heads, m.patch, m.image // m.patch, classes=0, edge=m.edge)
    spec["embed"]["channels"] = m.channels
    return spec | {"heads": {}}


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return timm.black(c, m.image, m.image)


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states, which are the levels'."""
    return tuple(f"stage_{i}" for i in range(len(made(c).layers)))


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the patches' kernel and of the positions of each level."""
    m = made(c)
    kernel = At("patch_embed.proj.weight", axes=(2, 3, 1, 0), sides=(m.patch, m.patch, m.channels, m.widths[0]))
    places = {
        f"{'embed' if i == 0 else f'stage_{i}/down'}/position/table": positions(i, 2 ** (len(m.layers) - 1 - i), m)
        for i in range(len(m.layers))
    }
    maps = {f"stage_{i}/0/part/mixer/o/kernel": joined(m.heads[i], m.widths[i]) for i in range(len(m.layers))}
    return NAMES | places | maps | {"embed/patch/kernel": kernel}


def positions(level: int, side: int, m: Made) -> At:
    """The row of a level's positions, which are apart for each block in the file.  side: of the grid of blocks."""
    block, width = m.block, m.widths[level]
    return At(
        f"levels.{level}.pos_embed",
        axes=(0, 2, 1, 3, 4),
        sides=(side, block, side, block, width),
        folded=(1, side**2, block**2, width),
    )


def joined(heads: int, width: int) -> At:
    """The row of the map that joins heads, whose inputs are numbered there by channel first and then by head."""
    sides = (heads, width // heads, width)
    return At(f"{LAYER}attn.proj.weight", axes=(2, 1, 0), sides=sides, folded=(width, width))


LEVEL = "levels.{}."
LAYER = f"{LEVEL}transformer_encoder.{{}}."
NAMES: Names = {
    "embed/patch/bias": "patch_embed.proj.bias",
    "stage/down/conv/kernel": kernel(f"{LEVEL}pool.conv"),
    "stage/down/conv": f"{LEVEL}pool.conv",
    "stage/down/norm": f"{LEVEL}pool.norm",
    "stage/0/in_norm": f"{LAYER}norm1",
    **{f"stage/0/part/mixer/{a}": At(f"{LAYER}attn.qkv", part=part) for a, part in timm.QKV.items()},
    "stage/0/part/mixer/o": f"{LAYER}attn.proj",
    "stage/1/in_norm": f"{LAYER}norm2",
    "stage/1/part/up": f"{LAYER}mlp.fc1",
    "stage/1/part/down": f"{LAYER}mlp.fc2",
    "norm": "norm",
}
FAMILY = Family(
    model_type="timm/nest",
    network=network,
    names=names,
    heads={"image_classification": Head("label", label, {"out": "head"})},
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
