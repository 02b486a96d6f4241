"""Hiera: Ryali et al. 2023.

The oracles are transformers' HieraModel, HieraForImageClassification and HieraForPreTraining, whose files these are.
transformers keeps tokens in an order in which units are apart, and returns hidden states in that order; here they are
in reading order, as in its `reshaped_hidden_states`. Where units are hidden, the visible ones are one below the other.
transformers' pre-training always hides units at random; here `noise` alone does so, and without it the encoder reads
the whole image.
"""

import dataclasses
import math

import numpy as np

from xfm.configs.vision import hiera
from xfm.errors import XfmError
from xfm.fields import Count, Positive, fits, shown
from xfm.hub import keys
from xfm.hub.families import backbones
from xfm.hub.families.convnext import label, pooled
from xfm.hub.families.pvt_v2 import kernel
from xfm.hub.families.swin import per_stage
from xfm.hub.families.vit import inputs, sides
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

EPS = 1e-6


def pair(c: Settings, key: str, default: tuple[int, int]) -> tuple[int, int]:
    """The value of a key that lists rows and columns."""
    value = sides(c, key, default)
    if not isinstance(c.get(key, default), list | tuple):
        raise XfmError(f"{c.path} sets {key} to {shown(c.get(key))}; it must list rows and columns")
    return value


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    if backbones.is_backbone(c):
        raise XfmError(
            f"{c.path} is of HieraBackbone, in which transformers 5 does not reorder tokens as in HieraModel, so that "
            "it computes another network; xfm reads HieraModel, whose maps are feature_maps of m(images=…)"
        )
    layers, heads = per_stage(c, "depths", (2, 3, 16, 3)), per_stage(c, "num_heads", (1, 2, 4, 8))
    within = list(c.get("masked_unit_attention", (True, True, False, False)))
    stages = len(layers)
    if len(heads) != stages or len(within) != stages:
        raise XfmError(
            f"{c.path} has depths for {stages} stages, num_heads for {len(heads)} and masked_unit_attention for "
            f"{len(within)}; give one each"
        )
    if min(layers[1:], default=2) < 2:
        raise XfmError(f"{c.path} sets depths to {layers}; xfm has 2 layers or more in every stage but the first")
    c.only("num_query_pool", stages - 1)
    for key in ("drop_path_rate", "layer_norm_init", "decoder_hidden_size", "decoder_depth", "decoder_num_heads",
                "normalize_pixel_loss", "mask_ratio", *backbones.KEYS):  # fmt: skip
        c.get(key)  # of training, of the pre-training head, or of how outputs are chosen
    growth, hidden = c.get("embed_dim_multiplier", 2.0), c.get("mlp_ratio", 4.0)
    if not fits(growth, Positive) or growth <= 1 or not fits(hidden, Positive):
        raise XfmError(f"{c.path} has embed_dim_multiplier {growth!r} and mlp_ratio {hidden!r}; 2.0 and 4.0 are usual")
    widths = [int(c.get("embed_dim", 96) * growth**i) for i in range(stages)]
    c.only("hidden_size", widths[-1])
    image, stride = pair(c, "image_size", (224, 224)), pair(c, "patch_stride", (4, 4))
    stem = dict(size=pair(c, "patch_size", (7, 7)), stride=stride, margin=pair(c, "patch_padding", (3, 3)))
    grid = tuple(side // step for side, step in zip(image, stride, strict=True))
    pool, unit = pair(c, "query_stride", (2, 2)), pair(c, "masked_unit_size", (8, 8))
    if any(n != p ** (stages - 1) for n, p in zip(unit, pool, strict=True)):
        raise XfmError(
            f"{c.path} sets masked_unit_size to {unit} and query_stride to {pool}; a unit has to become one token in "
            f"the last of its {stages} stages"
        )
    spec = hiera.network(
        list(zip(layers, widths, heads, within, strict=True)),
        stem,
        grid,
        unit,
        hidden=hidden,
        pool=pool,
        classes=0,
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        eps=c.get("layer_norm_eps", EPS),
    )
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec | {"heads": {}}


DECODER = ("decoder_hidden_size", "decoder_depth", "decoder_num_heads")  # for which transformers has no default


def autoencoder(c: Settings) -> dict:
    """The spec of the pyramid with the decoder of pre-training. Raises XfmError for sizes that are no counts."""
    spec, size = network(c), {key: c.get(key) for key in DECODER}
    for key in DECODER:
        if not fits(size[key], Count):
            raise XfmError(f"{c.path} sets {key} to {size[key]!r}; it must be a whole number of at least 1")
    tokens, width, norm = unit_of(c), size["decoder_hidden_size"], spec["norms"]["in"]
    spec["embed"]["unit"] = tokens
    patch = tuple(n * p for n, p in zip(tokens, spec["embed"]["stem"]["stride"], strict=True))
    rows, columns = patch
    if rows != columns:
        raise XfmError(f"{c.path} has units of {rows} x {columns} pixels; Hiera is pre-trained with square ones")
    grid = tuple(n // p for n, p in zip(spec["embed"]["position"]["size"], tokens, strict=True))
    decoder = dict(
        embed=dict(kind="latents", patch=patch, width=width, position=dict(kind="learned_grid", size=grid, first=0)),
        pattern=[
            dict(kind="attention", heads=size["decoder_num_heads"]),
            dict(spec["stages"][0]["pattern"][1], hidden=int(width * c.get("mlp_ratio", 4.0))),
        ],
        repeats=size["decoder_depth"],
        norms=spec["norms"],
        norm=norm,
        heads=dict(patches=dict(kind="values", width=math.prod(patch) * spec["embed"]["channels"])),
    )
    return {**spec, "kind": "pyramid_autoencoder", "latents": dict(kind="fused", norm=norm), "decoder": decoder}


def unit_of(c: Settings) -> tuple[int, int]:
    """Rows and columns of the patches of a unit."""
    return pair(c, "masked_unit_size", (8, 8))


def visible(c: Settings, images, noise=None) -> Batch:
    """The batch of these images [B height width C].

    noise: [B units]; the units of its least numbers are visible, and the others are predicted.
    """
    if noise is None:
        return dict(images=images)
    side = (n * p for n, p in zip(unit_of(c), pair(c, "patch_stride", (4, 4)), strict=True))
    units = math.prod(n // p for n, p in zip(images.shape[1:3], side, strict=True))
    noise, shape = np.asarray(noise), (len(images), units)
    if noise.shape != shape or noise.dtype.kind not in "iuf":
        raise XfmError(f"noise has the shape {noise.shape} and is {noise.dtype}; it must be {shape}, of numbers")
    count = int(units * (1 - c.get("mask_ratio", 0.6)))
    if not 0 < count < units:
        raise XfmError(f"{c.path} sets mask_ratio so that {count} of {units} units are visible; it must hide some")
    order = np.argsort(noise, axis=1, kind="stable").astype(np.int32)
    return dict(images=images, visible=np.sort(order[:, :count], 1), predicted=np.sort(order[:, count:], 1))


def outputs(batch: Batch, out: dict) -> dict:
    """With the logits [B units pixels] in row-major order, and the Hub's mask, true where a unit is visible."""
    if "patches" not in out:
        return out
    back = np.argsort(np.concatenate([batch["visible"], batch["predicted"]], axis=1), axis=1)
    logits = out["patches"][np.arange(len(back))[:, None], back]
    return out | dict(logits=logits, bool_masked_pos=back < batch["visible"].shape[1])


def pretraining_names(c: Settings) -> Names:
    """The table of names of pyramid and decoder."""
    width, within = c["decoder_hidden_size"], {}
    for row, name in NAMES.items():
        at = At(name) if isinstance(name, str) else name
        within[row] = dataclasses.replace(at, name=f"hiera.{at.name}")
    decoder = {
        f"decoder/{row}": dataclasses.replace(at, name=at.name.replace("encoder.stages.{}.", "decoder.decoder_block."))
        for row, name in layers("{}", "").items()
        for at in [At(name) if isinstance(name, str) else name]
    }
    fused = "multiscale_fusion.multi_scale_fusion_heads"
    levels = range(len(per_stage(c, "depths", (2, 3, 16, 3))) - 1)
    return within | decoder | {
        **{f"head_latents/level_{i}/kernel": kernel(f"{fused}.{i}") for i in levels},
        **{f"head_latents/level_{i}": f"{fused}.{i}" for i in levels},
        "head_latents/norm": "encoder_norm",
        "decoder/embed/in": "decoder.decoder_embeddings",
        "decoder/embed/mask": At("decoder.mask_token", axes=(0, 1, 2), sides=(1, 1, width)),
        "decoder/embed/position/table": At("decoder.decoder_position_embeddings", axes=(1, 2, 0)),
        "decoder/norm": "decoder.decoder_norm",
        "decoder/head_patches/out": "decoder.decoder_pred",
    }  # fmt: skip


def normed(head):
    """From config.json to the spec of a head whose norm has the family's epsilon where the file has none."""

    def of(c: Settings) -> dict:
        spec = head(c)
        spec["pool"]["norm"]["eps"] = c.get("layer_norm_eps", EPS)
        return spec

    return of


def example(c: Settings) -> Batch:
    """A black image of the size that config.json names."""
    return dict(images=np.zeros((1, *pair(c, "image_size", (224, 224)), c.get("num_channels", 3)), np.float32))


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: those of the embedding and of each stage."""
    return ("embed", *(f"stage_{i}" for i in range(len(per_stage(c, "depths", (2, 3, 16, 3))))))


def layers(number: str, below: str) -> dict:
    """The rows of the layers of a stage.  number: of a layer in the file.  below: what a windowed mixer adds."""
    layer = f"encoder.stages.{{}}.layers.{number}."
    return {
        "0/in_norm": f"{layer}layernorm_before",
        **{f"0/part/{below}{name}": At(f"{layer}attn.qkv", part=(i, 3)) for i, name in enumerate("qkv")},
        f"0/part/{below}o": f"{layer}attn.proj",
        "1/in_norm": f"{layer}layernorm_after",
        "1/part/up": f"{layer}mlp.fc1",
        "1/part/down": f"{layer}mlp.fc2",
    }


FIRST = "encoder.stages.{}.layers.0."
NAMES = {
    "embed/stem/conv/kernel": kernel("embeddings.patch_embeddings.projection"),
    "embed/stem/conv": "embeddings.patch_embeddings.projection",
    "embed/position/table": At("embeddings.position_embeddings", axes=(1, 2, 0)),
    **{f"stage_0/{key}": row for below in ("", "mixer/") for key, row in layers("{}", below).items()},
    **{f"stage/{key}": row for below in ("", "mixer/") for key, row in layers("{next}", below).items()},
    "stage/down/in_norm": f"{FIRST}layernorm_before",
    "stage/down/skip": f"{FIRST}proj",
    **{f"stage/down/{name}": At(f"{FIRST}attn.qkv", part=(i, 3)) for i, name in enumerate("qkv")},
    "stage/down/o": f"{FIRST}attn.proj",
    "stage/down/ffn_norm": f"{FIRST}layernorm_after",
    "stage/down/ffn/up": f"{FIRST}mlp.fc1",
    "stage/down/ffn/down": f"{FIRST}mlp.fc2",
}


def of_spec(path: str, *more: str):
    """A row for a value that lists rows and columns; the product of those at several paths."""

    def row(spec) -> list[int]:
        found = [keys.at(spec, one) for one in (path, *more)]
        found = [(one, one) if isinstance(one, int) else tuple(one) for one in found]
        return [int(np.prod(side)) for side in zip(*found, strict=True)]

    return row


def unit(spec) -> list[int]:
    """Rows and columns of a unit, which becomes one token in the last stage."""
    return [side ** (len(spec["stages"]) - 1) for side in of_spec("stages/1/down/size")(spec)]


def widths(spec) -> list[int]:
    """The width of each stage."""
    return [spec["embed"]["width"], *(stage["down"]["width"] for stage in spec["stages"][1:])]


KEYS = {
    "embed_dim": "embed/width",
    "image_size": of_spec("embed/position/size", "embed/stem/stride"),
    "patch_size": of_spec("embed/stem/size"),
    "patch_stride": of_spec("embed/stem/stride"),
    "patch_padding": of_spec("embed/stem/margin"),
    "mlp_ratio": lambda spec: keys.at(spec, "stages/0/pattern/1/hidden") / spec["embed"]["width"],
    "depths": lambda spec: [stage["repeats"] + (i > 0) for i, stage in enumerate(spec["stages"])],
    "num_heads": lambda spec: [
        mixer.get("mixer", mixer)["heads"] for mixer in (stage["pattern"][0] for stage in spec["stages"])
    ],
    "embed_dim_multiplier": lambda spec: widths(spec)[1] / widths(spec)[0],
    "num_query_pool": lambda spec: len(spec["stages"]) - 1,
    "query_stride": of_spec("stages/1/down/size"),
    "masked_unit_size": unit,
    "masked_unit_attention": lambda spec: [stage["pattern"][0]["kind"] == "windowed" for stage in spec["stages"]],
    "num_channels": "embed/channels",
    "hidden_act": "stages/0/pattern/1/activation",
    "layer_norm_eps": "norms/in/eps",
}
PRETRAINING = Family(
    model_type="hiera",
    network=autoencoder,
    keys={
        **KEYS,
        "decoder_hidden_size": "decoder/embed/width",
        "decoder_depth": "decoder/repeats",
        "decoder_num_heads": "decoder/pattern/0/heads",
    },
    classes="Hiera",
    names=pretraining_names,
    architectures={"ForPreTraining": ()},
    calling=Calling(
        reads="images",
        inputs=visible,
        example=example,
        more=("noise",),
        outputs=outputs,
        beside=("logits", "bool_masked_pos"),
        streams=streams,
    ),
)
FAMILY = Family(
    model_type="hiera",
    prefix="hiera.",
    network=network,
    keys=KEYS,
    classes="Hiera",
    names=NAMES,
    heads={
        "pooled": Head("pooled", normed(pooled), {"pool/norm": "pooler.layernorm"}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "classifier"}, needs=("pooled",)),
    },
    architectures={"Model": ("pooled",), "ForImageClassification": ("image_classification",)},
    files=Files(kin={("architectures", ("HieraForPreTraining",)): PRETRAINING}),
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
