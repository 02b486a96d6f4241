"""VideoMAE: Tong et al. 2022. The encoder with a head for classification, and pre-training with its decoder.

The oracles are transformers' VideoMAEModel, VideoMAEForVideoClassification and VideoMAEForPreTraining. Positions are
fixed sines, which are in no file, so that a network does not say for which size of videos it was made: these files are
read and saved, and a network of xfm's own is not written as one.
"""

import dataclasses

import numpy as np

from xfm.errors import XfmError
from xfm.fields import Count, fits
from xfm.hub.families import vivit
from xfm.hub.families.vit import NAMES
from xfm.hub.family import Batch, Calling, Family, Files
from xfm.hub.inputs import marks
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

DECODER = {"decoder_hidden_size": 384, "decoder_num_hidden_layers": 4, "decoder_num_attention_heads": 6,
           "decoder_intermediate_size": 1536}  # fmt: skip
EPS = 1e-5  # of the decoder's last norm, whatever config.json says of the others


def autoencoder(c: Settings) -> dict:
    """The spec of the encoder with its decoder. Raises XfmError for patches that are not square."""
    spec, size = vivit.VIDEOMAE.network(c), {}
    for key, default in DECODER.items():
        size[key] = c.get(key, default)
        if not fits(size[key], Count):
            raise XfmError(f"{c.path} sets {key} to {size[key]!r}; it must be a whole number of at least 1")
    tubelet, channels = spec["embed"]["tubelet"], spec["embed"]["channels"]
    if tubelet[1] != tubelet[2]:
        raise XfmError(f"{c.path} sets patch_size to {tubelet[1:]}; VideoMAE is pre-trained with square patches")
    mixer, mlp = spec["pattern"]
    decoder = dict(
        embed=dict(kind="latents", patch=tubelet, width=size["decoder_hidden_size"], position=vivit.SINES, bias=False),
        pattern=[
            dict(mixer, heads=size["decoder_num_attention_heads"]),
            dict(mlp, hidden=size["decoder_intermediate_size"]),
        ],
        repeats=size["decoder_num_hidden_layers"],
        norms=spec["norms"],
        norm=dict(kind="layernorm", eps=EPS),
        heads=dict(patches=dict(kind="values", width=int(np.prod(tubelet)) * channels)),
    )
    return {**spec, "kind": "autoencoder", "decoder": decoder}


def shown(c: Settings, video, bool_masked_pos=None) -> Batch:
    """The batch of these videos [B time height width C], of which the encoder reads the visible tubelets alone.

    bool_masked_pos: [B tubelets], 1 where a tubelet is hidden, equally often in each row.
    """
    batch = vivit.of_one_size(c, video)
    if bool_masked_pos is None:
        return batch
    hidden = marks("bool_masked_pos", np.asarray(bool_masked_pos), len(video))
    grid = zip(video.shape[1:4], vivit.tubelet_of_videomae(c), strict=True)
    count, wanted = hidden.sum(1), int(np.prod([side // one for side, one in grid]))
    if hidden.shape[1] != wanted or len(set(count)) != 1 or not 0 < count[0] < wanted:
        raise XfmError(
            f"bool_masked_pos is {hidden.shape} and hides {sorted(set(count.tolist()))} of the tubelets of a video; "
            f"it must hide equally many of the {wanted} tubelets of each, some and not all"
        )
    order = np.argsort(hidden, axis=1, kind="stable").astype(np.int32)
    return batch | dict(visible=order[:, : wanted - count[0]], predicted=order[:, wanted - count[0] :])


def visible_alone(c: Settings, video, bool_masked_pos=None) -> Batch:
    """The batch of an encoder without a decoder; arguments as in `shown`."""
    return {name: array for name, array in shown(c, video, bool_masked_pos).items() if name != "predicted"}


def outputs(batch: Batch, out: dict) -> dict:
    """With the logits [B K numbers] of the hidden tubelets, in their order."""
    if "patches" not in out:
        return out
    return out | dict(logits=out["patches"][:, batch["visible"].shape[1] :])


def names(c: Settings) -> Names:
    """The table of names of encoder and decoder."""
    encoder, width = vivit.VIDEOMAE.names(c), c.get("decoder_hidden_size", DECODER["decoder_hidden_size"])

    def within(row: str | At) -> str | At:
        return f"videomae.{row}" if isinstance(row, str) else dataclasses.replace(row, name=f"videomae.{row.name}")

    layers = {row: name for row, name in {**NAMES, **vivit.BIASES}.items() if row.startswith("layer/")}
    decoder = {
        f"decoder/{row.removeprefix('layer/')}": name.replace("encoder.layer.", "decoder.decoder_layers.")
        for row, name in layers.items()
    }
    return {row: within(name) for row, name in encoder.items()} | decoder | {
        "decoder/embed/in": "encoder_to_decoder",
        "decoder/embed/mask": At("mask_token", axes=(0, 1, 2), sides=(1, 1, width)),
        "decoder/norm": "decoder.norm",
        "decoder/head_patches/out": "decoder.head",
    }  # fmt: skip


PRETRAINING = Family(
    model_type="videomae",
    network=autoencoder,
    classes="VideoMAE",
    names=names,
    architectures={"ForPreTraining": ()},
    calling=Calling(
        reads="video",
        inputs=shown,
        example=vivit.example(16),
        more=("bool_masked_pos",),
        outputs=outputs,
        beside=("logits",),
        last="layer",
    ),
)
FAMILY = dataclasses.replace(
    vivit.VIDEOMAE,
    files=Files(kin={("architectures", ("VideoMAEForPreTraining",)): PRETRAINING}),
    calling=dataclasses.replace(vivit.VIDEOMAE.calling, inputs=visible_alone, more=("bool_masked_pos",)),
)
