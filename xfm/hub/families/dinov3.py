"""DINOv3's vision transformers: Siméoni et al. 2025. The oracles are transformers' DINOv3ViTModel
and DINOv3ViTBackbone."""

import numpy as np

from xfm.configs.vision import dinov3
from xfm.errors import XfmError
from xfm.fields import CountOrZero, fits, shown
from xfm.hub import keys
from xfm.hub.families import backbones, dinov2, vit
from xfm.hub.family import Calling, Family, Files
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

# Fields of backbones, of training, or of a size of images on which the network does not depend.
APART = (
    *(*backbones.KEYS, *backbones.OF_STACKS, "drop_path_rate"),
    *("return_class_token", "image_size", "pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"),
)
BIASES = {"q": "query_bias", "k": "key_bias", "v": "value_bias", "o": "proj_bias"}
REGISTERS = r"embeddings\.register_tokens"
LAYER = "layer.{}."
NAMES = {
    "embed/patch/bias": "embeddings.patch_embeddings.bias",
    "layer/0/in_norm": f"{LAYER}norm1",
    **{f"layer/0/part/{one}": f"{LAYER}attention.{one}_proj" for one in BIASES},
    "layer/0/skip/scale": f"{LAYER}layer_scale1.lambda1",
    "layer/1/in_norm": f"{LAYER}norm2",
    **{f"layer/1/part/{one}": f"{LAYER}mlp.{one}_proj" for one in ("gate", "up", "down")},
    "layer/1/skip/scale": f"{LAYER}layer_scale2.lambda1",
    "norm": "norm",
}


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes. Raises XfmError for a number of registers below 0."""
    for key in APART:
        c.get(key)
    patch, registers = vit.sides(c, "patch_size", 16), c.get("num_register_tokens", 0)
    if not fits(registers, CountOrZero):
        raise XfmError(f"{c.path} sets num_register_tokens to {shown(registers)}; it must be a number of 0 or more")
    gated = c.choose("use_gated_mlp", {True: True, False: False}, False)
    spec = dinov3.network(
        c.get("num_hidden_layers", 12),
        c.get("hidden_size", 384),
        c.get("num_attention_heads", 6),
        patch[0] if patch[0] == patch[1] else patch,
        classes=0,
        hidden=c.get("intermediate_size", 1536),
        gated=gated,
        bias=tuple(one for one, key in BIASES.items() if c.choose(key, {True: True, False: False}, one != "k")),
        theta=c.get("rope_theta", 100.0),
        registers=registers,
        eps=c.get("layer_norm_eps", 1e-5),
    )
    spec["embed"] |= dict(channels=c.get("num_channels", 3), mask="token" if c.get("use_mask_token", True) else None)
    spec["pattern"][1] |= dict(
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        bias=c.choose("mlp_bias", {True: True, False: False}, True),
    )
    spec["residual"]["gate"] = c.get("layerscale_value", 1.0)
    return spec | {"heads": {}} | backbones.tapped(c, spec["repeats"])


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the patches' kernel and the learned tokens."""
    width = c.get("hidden_size", 384)
    patch = (*vit.sides(c, "patch_size", 16), c.get("num_channels", 3), width)
    tokens = {"embed/cls": "cls_token", "embed/registers": "register_tokens", "embed/mask": "mask_token"}
    return (
        NAMES
        | {key: At(f"embeddings.{name}", axes=(0, 1, 2), sides=(1, -1, width)) for key, name in tokens.items()}
        | {"embed/patch/kernel": At("embeddings.patch_embeddings.weight", axes=(2, 3, 1, 0), sides=patch)}
    )


def biased(name: str):
    """A row for the bias of one of attention's projections."""

    def of(spec) -> bool:
        bias = keys.at(spec, "pattern/0/bias")
        return bias if isinstance(bias, bool) else name in bias

    return of


def constants(c: Settings) -> dict[str, np.ndarray]:
    """The tensors that transformers expects where the network has no registers, and where it has no mask token."""
    lacks = {"register_tokens": not c.get("num_register_tokens", 0), "mask_token": not c.get("use_mask_token", True)}
    empty, zeros = (np.zeros((1, count, c.get("hidden_size", 384)), np.float32) for count in (0, 1))
    arrays = dict(register_tokens=empty, mask_token=zeros)
    return {f"embeddings.{name}": arrays[name] for name, lacking in lacks.items() if lacking}


KEYS = {
    "hidden_size": "embed/width",
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "intermediate_size": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "use_gated_mlp": dinov2.gated,
    "mlp_bias": "pattern/1/bias",
    **{key: biased(one) for one, key in BIASES.items()},
    "rope_theta": "pattern/0/position/theta",
    "num_register_tokens": "embed/registers",
    "layerscale_value": "residual/gate",
    "layer_norm_eps": "norm/eps",
    "patch_size": "embed/patch",
    "num_channels": "embed/channels",
    "use_mask_token": vit.masked,
}
FAMILY = Family(
    model_type="dinov3_vit",
    network=network,
    keys=KEYS | backbones.class_of_stack("DINOv3ViTBackbone"),
    classes="DINOv3ViT",
    names=names,
    heads={"pooled": dinov2.POOLED},
    architectures={"Model": ("pooled",), "Backbone": ()},
    files=Files(
        ignored=vit.MASK_TOKEN | {REGISTERS: "config.json has no registers, and the tensor is empty"},
        buffers={REGISTERS: lambda c, spec, array: array.size == 0},
        constants=constants,
    ),
    calling=Calling(reads="images", inputs=vit.inputs, example=vit.example, more=("bool_masked_pos",), last="layer"),
)
