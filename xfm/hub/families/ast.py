"""AST, the audio spectrogram transformer: Gong, Chung, Glass 2021.

The oracles are transformers' ASTModel and ASTForAudioClassification, which read spectrograms of one size only; here the
positions are resized for others, as in section 2.2 of the paper.
"""

import numpy as np

from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.hub.families.vit import KEYS as VIT_KEYS
from xfm.hub.families.vit import NAMES, biases, layers_of
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.keys import at
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings


def grid(c: Settings) -> tuple[int, int]:
    """Rows and columns of the patches of a spectrogram of the length and the bands that config.json names."""
    patch, sides = c.get("patch_size", 16), (c.get("num_mel_bins", 128), c.get("max_length", 1024))
    strides = c.get("frequency_stride", 10), c.get("time_stride", 10)
    if min(sides) < patch:
        raise XfmError(f"{c.path} describes spectrograms of {sides[1]} x {sides[0]}, less than a patch of {patch}")
    return tuple((side - patch) // stride + 1 for side, stride in zip(sides, strides, strict=True))


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    bias = biases(c)
    spec = vit.network(
        **layers_of(c),
        patch=1,
        size=grid(c),
        cls=2,
        classes=0,
    )
    spec["pattern"][0]["bias"] = bias
    strides = c.get("frequency_stride", 10), c.get("time_stride", 10)
    stem = dict(kind="conv", size=c.get("patch_size", 16), stride=strides, margin=0)
    position = dict(spec["embed"]["position"], resize="bilinear", size=grid(c))
    image = dict(kind="patches", stem=stem, cls=2, channels=1, position=position)
    time, bands = c.get("max_length", 1024), c.get("num_mel_bins", 128)
    embed = dict(kind="spectrogram", width=c.get("hidden_size", 768), image=image, time=time, bands=bands)
    return spec | {"embed": embed, "heads": {}}


def pooled(c: Settings) -> dict:
    """The spec of the head that pools: the mean of both class tokens."""
    return dict(kind="vector", pool=dict(kind="leading", count=2))


def label(c: Settings) -> dict:
    """The spec of the classification head."""
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    pool = dict(kind="normed", pool=dict(kind="leading", count=2), norm=norm)
    return dict(kind="classification", classes=len(c.labels), pool=pool)


def inputs(c: Settings, frames) -> Batch:
    """The batch of these spectrograms [B time bands]."""
    return dict(frames=frames)


def example(c: Settings) -> Batch:
    """A silent spectrogram of the size that config.json names."""
    return dict(frames=np.zeros((1, c.get("max_length", 1024), c.get("num_mel_bins", 128)), np.float32))


def names(c: Settings) -> Names:
    """The table of names."""
    width, projection = c.get("hidden_size", 768), "embeddings.patch_embeddings.projection"
    tokens = {
        "embed/cls/0": "embeddings.cls_token",
        "embed/cls/1": "embeddings.distillation_token",
        "embed/position/table": "embeddings.position_embeddings",
    }
    return {
        **NAMES,
        **{key: At(name, axes=(0, 1, 2), sides=(1, -1, width)) for key, name in tokens.items()},
        "embed/stem/conv/kernel": At(f"{projection}.weight", axes=(2, 3, 1, 0)),
        "embed/stem/conv/bias": f"{projection}.bias",
    }


OF_IMAGES_ALONE = ("image_size", "patch_size", "num_channels", "encoder_stride", "pooler_output_size", "pooler_act")
KEYS = {
    **{key: path for key, path in VIT_KEYS.items() if key not in OF_IMAGES_ALONE},
    "patch_size": "embed/image/stem/size",
    "frequency_stride": lambda spec: at(spec, "embed/image/stem/stride")[0],
    "time_stride": lambda spec: at(spec, "embed/image/stem/stride")[1],
    "max_length": "embed/time",
    "num_mel_bins": "embed/bands",
}

FAMILY = Family(
    model_type="audio-spectrogram-transformer",
    prefix="audio_spectrogram_transformer.",
    network=network,
    keys=KEYS,
    classes="AST",
    names=names,
    heads={
        "pooled": Head("pooled", pooled, {}, of_encoder=True),
        "audio_classification": Head("label", label, {"pool/norm": "classifier.layernorm", "out": "classifier.dense"}),
    },
    architectures={"Model": ("pooled",), "ForAudioClassification": ("audio_classification",)},
    calling=Calling(reads="frames", inputs=inputs, example=example, last="layer"),
)
