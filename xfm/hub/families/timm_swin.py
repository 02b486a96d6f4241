"""Swin and Swin Transformer V2 as timm's files have them: Liu et al. 2021, 2022.

The oracles are timm's SwinTransformer and SwinTransformerV2, whose files these are. config.json has no model_type: the
name under "architecture" says what the network is, and "model_args" what differs from it. The windows are those that
fit into images of the size that the name has; other images are cut into the same windows. Unlike transformers, timm
shifts the grid before it puts zeros at its edges, so the two disagree where windows do not fill it.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from xfm.configs.vision import swin, swinv2
from xfm.hub import buffers, timm
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(r"swin(v2)?_(tiny|small|base|large)(?:_patch4)?_window(?:(\d+)to)?(\d+)_(?:\d+to)?(\d+)(?:\..*)?")
FIXED = {"embed_layer": None, "norm_layer": None, "head_dim": None, "always_partition": False, "mlp_ratio": 4.0}


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    image: rows and columns in pixels.  patch: its side.  layers, heads: of each stage.  window: rows and columns, where
    the grid is large enough.  before: for each stage the side of the windows that the bias was trained for, 0 for its
    own.
    """

    image: tuple[int, int]
    patch: int
    width: int
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    window: tuple[int, int]
    before: tuple[int, ...]
    channels: int
    bias: bool


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    name = timm.known(c, NAME, "those of the forms swin_… and swinv2_…")
    given = timm.Arguments(c, FIXED, unread=("global_pool", "weight_init"))
    layers, width, heads, _ = swin.SIZES[name[2][0].upper()]
    first = (int(name[3]),) * (len(layers) - 1) + (int(name[3]) // 2,) if name[3] else (0,) * len(layers)
    found = Made(
        image=given.sides("img_size", int(name[5])),
        patch=given.take("patch_size", 4),
        width=given.take("embed_dim", width),
        layers=tuple(given.take("depths", layers)),
        heads=tuple(given.take("num_heads", heads)),
        window=given.sides("window_size", int(name[4])),
        before=tuple(given.take("pretrained_window_sizes", first)),
        channels=given.take("in_chans", 3),
        bias=given.take("qkv_bias", True),
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m, second = made(c), str(c["architecture"]).startswith("swinv2")
    how = dict(patch=m.patch, window=max(m.window), classes=0)
    if second:
        bias = ("q", "v", "o") if m.bias else ("o",)
        spec = swinv2.network(
            m.layers, m.width, m.heads, grid=m.image[0] // m.patch, bias=bias, pretrained=m.before, **how
        )
    else:
        spec = swin.network(m.layers, m.width, m.heads, bias=True if m.bias else ("o",), **how)
    spec["embed"] = dict(spec["embed"], channels=m.channels)
    spec["embed"]["stem"] = dict(spec["embed"]["stem"], uneven="refused")
    grid = tuple(side // m.patch for side in m.image)
    for stage in spec["stages"]:
        size = tuple(min(sides) for sides in zip(grid, m.window, strict=True))
        half = tuple(0 if side <= own else own // 2 for side, own in zip(grid, m.window, strict=True))
        windowed = [part for part in stage["pattern"] if part["kind"] == "windowed"]
        for i, part in enumerate(windowed):
            part.update(window=size, shift=half if i % 2 else (0, 0), padding="after_shift", fit="never")
            if not second:
                part["mixer"] = dict(part["mixer"], position=dict(kind="relative_grid", size=size))
        grid = tuple(-(-side // 2) for side in grid)
    return spec | {"heads": {}}


def mask(c: Settings, spec: Mapping, array: np.ndarray) -> bool:
    """A check for the scores that are added in the shifted windows of one of the stages [windows T T].

    They are -100 for two tokens that are no neighbours before the shift, and 0 for the others.
    """
    m, found = made(c), []
    for i, stage in enumerate(spec["stages"]):
        for part in (part for part in stage["pattern"] if part["kind"] == "windowed" and any(part["shift"])):
            grid = (-(-(side // m.patch) // 2**i) for side in m.image)
            rows, columns = (regions(*one) for one in zip(grid, part["window"], part["shift"], strict=True))
            region = rows[:, None, :, None] * 3 + columns[None, :, None, :]
            region = region.reshape(-1, rows.shape[1] * columns.shape[1])
            found.append(np.where(region[:, :, None] == region[:, None, :], 0.0, -100.0))
    return any(buffers.same(array, one) for one in found)


def regions(side: int, window: int, shift: int) -> np.ndarray:
    """Along one axis of a shifted grid, the number of the region of each token of each window [windows window].

    The last window has what was before the first one, and the end of what is after it.
    """
    at = np.arange(-(-side // window) * window).reshape(-1, window)
    return (at >= at.size - window).astype(int) + (at >= at.size - shift) if shift else np.zeros_like(at)


def label(c: Settings) -> dict:
    """The spec of the classification head."""
    return dict(kind="classification", classes=timm.classes(c), pool=dict(kind="mean"))


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, *m.image, m.channels), np.float32))


def names(c: Settings) -> Names:
    """The table of names of the files that config.json describes."""
    m = made(c)
    kernel = At("patch_embed.proj.weight", axes=(2, 3, 1, 0), sides=(m.patch, m.patch, m.channels, m.width))
    second = str(c["architecture"]).startswith("swinv2")
    return NAMES | (OF_V2 if second else OF_V1) | {"embed/stem/patch/kernel": kernel}


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: the patches, and each stage, which begins with its merging as in xfm."""
    return ("embed", *(f"stage_{i}" for i in range(len(made(c).layers))))


LAYER = "layers.{}.blocks.{}."
NAMES: Mapping[str, str | At] = {
    "embed/stem/patch/bias": "patch_embed.proj.bias",
    "embed/stem/out_norm": "patch_embed.norm",
    "stage/down/out": "layers.{}.downsample.reduction",
    "stage/0/part/mixer/o": f"{LAYER}attn.proj",
    "stage/1/part/up": f"{LAYER}mlp.fc1",
    "stage/1/part/down": f"{LAYER}mlp.fc2",
    "norm": "norm",
    **{f"stage/0/part/mixer/{a}/kernel": At(f"{LAYER}attn.qkv.weight", part=part) for a, part in timm.QKV.items()},
}
OF_V1 = {
    "stage/down/norm": "layers.{}.downsample.norm",
    "stage/0/in_norm": f"{LAYER}norm1",
    "stage/1/in_norm": f"{LAYER}norm2",
    "stage/0/part/mixer/position/table": At(f"{LAYER}attn.relative_position_bias_table", axes=(0, 1), merged=2),
    **{f"stage/0/part/mixer/{a}/bias": At(f"{LAYER}attn.qkv.bias", part=part) for a, part in timm.QKV.items()},
}
OF_V2 = {
    "stage/down/out_norm": "layers.{}.downsample.norm",
    "stage/0/residual_norm": f"{LAYER}norm1",
    "stage/1/residual_norm": f"{LAYER}norm2",
    "stage/0/part/mixer/logit_scale": At(f"{LAYER}attn.logit_scale", axes=(0, 1, 2), sides=(-1, 1, 1)),
    "stage/0/part/mixer/position/up": f"{LAYER}attn.cpb_mlp.0",
    "stage/0/part/mixer/position/down": f"{LAYER}attn.cpb_mlp.2",
    "stage/0/part/mixer/q/bias": f"{LAYER}attn.q_bias",
    "stage/0/part/mixer/v/bias": f"{LAYER}attn.v_bias",
}
BUFFERS = {
    r".*\.relative_position_index": buffers.windows,
    r".*\.relative_coords_table": buffers.coordinates,
    r".*\.attn_mask": mask,
    r".*\.k_bias": buffers.zero,
}
FAMILY = Family(
    model_type="timm/swin",
    network=network,
    names=names,
    heads={"image_classification": Head("label", label, {"out": "head.fc"})},
    files=Files(
        ignored=dict.fromkeys(BUFFERS, "xfm computes the offsets and the masks, and keys have no bias there"),
        buffers=BUFFERS,
    ),
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
