"""ViT-MAE: He et al. 2022. The encoder alone, and the encoder with the decoder of pre-training.

The oracles are transformers' ViTMAEModel and ViTMAEForPreTraining. Files of pre-training have three spellings, which
are all read: the Hub's, which is written; that of transformers 5, with `decoder_encoder.layer`; and the names that its
modules have in memory. transformers' model always hides patches at random. Here patches are hidden by `noise` alone:
without it the encoder reads the whole image. Both tables of positions are in the files, though nobody trains them.
"""

import dataclasses

import numpy as np

from xfm.errors import XfmError
from xfm.fields import Count, fits
from xfm.hub.families import vit
from xfm.hub.family import Batch, Calling, Family, Files
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings
from xfm.objectives.masks import budget

DECODER = {"decoder_hidden_size": 512, "decoder_num_hidden_layers": 8, "decoder_num_attention_heads": 16,
           "decoder_intermediate_size": 2048}  # fmt: skip


def network(c: Settings) -> dict:
    """The spec of the encoder. Raises XfmError for images or patches that are not square."""
    for key in (*DECODER, "mask_ratio", "norm_pix_loss"):  # of pre-training
        c.get(key)
    for key in ("image_size", "patch_size"):
        rows, columns = vit.sides(c, key, dict(image_size=224, patch_size=16)[key])
        if rows != columns:
            raise XfmError(f"{c.path} sets {key} to {[rows, columns]}; a vit_mae has square images and patches")
    spec = vit.network(c)
    spec["embed"]["position"]["start"] = "sines"
    return spec


def autoencoder(c: Settings) -> dict:
    """The spec of the encoder with its decoder."""
    spec, size = network(c), {}
    for key, default in DECODER.items():
        size[key] = c.get(key, default)
        if not fits(size[key], Count):
            raise XfmError(f"{c.path} sets {key} to {size[key]!r}; it must be a whole number of at least 1")
    patch, channels = spec["embed"]["patch"], spec["embed"]["channels"]
    mixer, mlp = spec["pattern"]
    decoder = dict(
        embed=dict(
            kind="latents", patch=patch, width=size["decoder_hidden_size"], position=dict(spec["embed"]["position"])
        ),
        pattern=[
            dict(mixer, heads=size["decoder_num_attention_heads"]),
            dict(mlp, hidden=size["decoder_intermediate_size"]),
        ],
        repeats=size["decoder_num_hidden_layers"],
        norms=spec["norms"],
        norm=spec["norm"],
        heads=dict(patches=dict(kind="values", width=patch * patch * channels)),
    )
    return {**spec, "kind": "autoencoder", "decoder": decoder}


def inputs(c: Settings, images, noise=None) -> Batch:
    """The batch of these images [B height width C].

    noise: [B patches]; the patches of its least numbers are visible, in their order, and the others are predicted.
    """
    if noise is None:
        return dict(images=images)
    p = vit.sides(c, "patch_size", 16)
    shape = len(images), (images.shape[1] // p[0]) * (images.shape[2] // p[1])
    noise = np.asarray(noise)
    if noise.shape != shape or noise.dtype.kind not in "iuf":
        raise XfmError(f"noise has the shape {noise.shape} and is {noise.dtype}; it must be {shape}, of numbers")
    order = np.argsort(noise, axis=1, kind="stable").astype(np.int32)
    hidden = budget(c.get("mask_ratio", 0.75), shape[1])
    return dict(images=images, visible=order[:, :-hidden], predicted=order[:, -hidden:])


def outputs(batch: Batch, out: dict) -> dict:
    """With the logits [B patches pixels] in row-major order, and the Hub's mask, 1 where a patch is hidden."""
    if "patches" not in out:
        return out
    order = np.concatenate([batch["visible"], batch["predicted"]], axis=1)
    back = np.argsort(order, axis=1)
    rows = np.arange(len(order))[:, None]
    mask = (back >= batch["visible"].shape[1]).astype(np.int32)
    return out | dict(logits=out["patches"][rows, back], mask=mask, ids_restore=back)


def names(c: Settings) -> Names:
    """The table of names of encoder and decoder."""
    encoder, width = vit.FAMILY.names(c), c.get("decoder_hidden_size", 512)

    def within(row: str | At) -> str | At:
        return f"vit.{row}" if isinstance(row, str) else dataclasses.replace(row, name=f"vit.{row.name}")

    decoder = {
        f"decoder/{row.removeprefix('layer/')}": name.replace("encoder.layer.", "decoder.decoder_layers.")
        for row, name in vit.NAMES.items()
        if row.startswith("layer/")
    }
    return {row: within(name) for row, name in encoder.items()} | decoder | {
        "decoder/embed/in": "decoder.decoder_embed",
        "decoder/embed/mask": At("decoder.mask_token", axes=(0, 1, 2), sides=(1, 1, width)),
        "decoder/embed/position/table": At("decoder.decoder_pos_embed", axes=(0, 1, 2), sides=(1, -1, width)),
        "decoder/norm": "decoder.decoder_norm",
        "decoder/head_patches/out": "decoder.decoder_pred",
    }  # fmt: skip


RENAMES = (
    (r"^(vit\.|)layers\.", r"\1encoder.layer."),
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
KEYS = {key: path for key, path in vit.KEYS.items() if not key.startswith(("pooler", "encoder_stride"))}
PRETRAINING = Family(
    model_type="vit_mae",
    network=autoencoder,
    keys={
        **KEYS,
        "num_hidden_layers": "repeats",
        "decoder_hidden_size": "decoder/embed/width",
        "decoder_num_hidden_layers": "decoder/repeats",
        "decoder_num_attention_heads": "decoder/pattern/0/heads",
        "decoder_intermediate_size": "decoder/pattern/1/hidden",
    },
    classes="ViTMAE",
    names=names,
    architectures={"ForPreTraining": ()},
    files=Files(renames=RENAMES),
    calling=Calling(
        reads="images",
        inputs=inputs,
        example=vit.example,
        more=("noise",),
        outputs=outputs,
        beside=("logits", "mask", "ids_restore"),
        last="layer",
    ),
)
FAMILY = Family(
    model_type="vit_mae",
    prefix="vit.",
    network=network,
    keys=KEYS,
    classes="ViTMAE",
    names=vit.FAMILY.names,
    architectures={"Model": ()},
    files=Files(renames=RENAMES, kin={("architectures", ("ViTMAEForPreTraining",)): PRETRAINING}),
    calling=Calling(reads="images", inputs=inputs, example=vit.example, more=("noise",), last="layer"),
)
