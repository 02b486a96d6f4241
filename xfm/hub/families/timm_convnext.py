"""ConvNeXt and ConvNeXt V2 as timm's files have them: Liu et al. 2022; Woo et al. 2023.

The oracle is timm's ConvNeXt, whose files these are. The smaller networks have linear maps as convolutions of single
positions in the files. config.json has no model_type: the name under "architecture" says what the network is, and
"model_args" what differs from it.
"""

import re

from xfm.configs.vision import convnext
from xfm.hub import timm
from xfm.hub.families.convnext import RESPONSE
from xfm.hub.families.pvt_v2 import kernel, pointwise
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.naming import Names
from xfm.hub.settings import Settings

# layers and widths of the stages; of timm's own small networks, with the second version's where they are the same
SECOND = {"atto": "v2_atto", "femto": "v2_femto", "pico": "v2_pico", "nano": "v2_nano"}
SIZES = {
    **{name: convnext.SIZES[size][:2] for name, size in SECOND.items()},
    **{name: convnext.SIZES[name[0].upper()][:2] for name in ("tiny", "small", "base", "large")},
    "xlarge": convnext.SIZES["XL"][:2],
    "huge": convnext.SIZES["v2_H"][:2],
}
NAME = re.compile(rf"convnext(v2)?_({'|'.join(SIZES)})(?:\..*)?")
FORMS = f"convnext_SIZE and convnextv2_SIZE of the sizes {', '.join(SIZES)}"
FIXED = {
    "output_stride": 32, "kernel_sizes": 7, "stem_type": "patch", "head_norm_first": False, "head_hidden_size": None,
    "conv_bias": True, "act_layer": "gelu", "norm_layer": None, "norm_eps": None,
}  # fmt: skip
SIDE = 64  # pixels of the example; the network has no size of its own
EPS = 1e-6


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    name = timm.known(c, NAME, FORMS)
    second, (layers, widths) = name[1] is not None, SIZES[name[2]]
    given = timm.Arguments(
        c, FIXED | {"use_grn": second}, unread=("global_pool", "head_init_scale", "conv_mlp", "patch_size")
    )
    scale = given.take("ls_init_value", None if second else 1e-6)
    layers, widths, channels = given.take("depths", layers), given.take("dims", widths), given.take("in_chans", 3)
    given.finish()
    patch = timm.argument(c, "patch_size", 4)
    timm.refuse(patch == 2, c, "patch_size", "patches of 4 pixels, or any but 2, with which timm has other strides")
    spec = convnext.network(
        layers, widths, patch, scale=scale, response=RESPONSE if second else None, classes=0, eps=EPS
    )
    spec["embed"]["channels"] = channels
    return spec | {"heads": {}}


def pooled(c: Settings) -> dict:
    """The spec of the head that norms the mean over all positions."""
    norm = dict(kind="layernorm", eps=EPS)
    return dict(kind="vector", pool=dict(kind="normed", pool=dict(kind="mean"), norm=norm))


def label(c: Settings) -> dict:
    """The spec of the classification head, which reads the pooler's vector."""
    return dict(kind="classification", classes=timm.classes(c), pool=dict(kind="of_head", head="pooled"))


def example(c: Settings) -> Batch:
    """A black image."""
    return timm.black(c, SIDE, SIDE)


def names(c: Settings) -> Names:
    """The table of names; a linear map is a convolution in the files of the networks that timm made smaller."""
    small = timm.argument(c, "conv_mlp", timm.known(c, NAME, FORMS)[2] in SECOND)
    maps = {f"stage/0/part/{ours}/kernel": pointwise(f"{LAYER}mlp.{name}") for ours, name in MAPS.items()}
    return NAMES | (maps if small else {})


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states, which are the stages'."""
    return tuple(f"stage_{i}" for i in range(4))


STAGE = "stages.{}."
LAYER = f"{STAGE}blocks.{{}}."
MAPS = {"up": "fc1", "down": "fc2"}
NAMES: Names = {
    "embed/stem/conv/kernel": kernel("stem.0"),
    "embed/stem/conv": "stem.0",
    "embed/stem/norm": "stem.1",
    "stage/down/in_norm": f"{STAGE}downsample.0",
    "stage/down/conv/kernel": kernel(f"{STAGE}downsample.1"),
    "stage/down/conv": f"{STAGE}downsample.1",
    "stage/0/part/conv/kernel": kernel(f"{LAYER}conv_dw", depthwise=7),
    "stage/0/part/conv": f"{LAYER}conv_dw",
    "stage/0/part/norm": f"{LAYER}norm",
    **{f"stage/0/part/{ours}": f"{LAYER}mlp.{name}" for ours, name in MAPS.items()},
    "stage/0/skip/scale": f"{LAYER}gamma",
    "stage/0/part/response_norm/gain": f"{LAYER}mlp.grn.weight",  # of V2
    "stage/0/part/response_norm/bias": f"{LAYER}mlp.grn.bias",
}
FAMILY = Family(
    model_type="timm/convnext",
    network=network,
    names=names,
    sublayers=1,
    heads={
        "pooled": Head("pooled", pooled, {"pool/norm": "head.norm"}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "head.fc"}, needs=("pooled",)),
    },
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
