"""The text towers of CLIP and SigLIP, from files of the tower alone or of the whole model.

Radford et al. 2021; Zhai et al. 2023. The oracles are transformers' CLIPTextModel, CLIPTextModelWithProjection and
SiglipTextModel.
"""

import dataclasses

import numpy as np

from xfm.configs.text import clip_text
from xfm.errors import XfmError
from xfm.hub import buffers, keys
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys in a whole model's config.json of the other tower, and of how the two are compared.
ASIDE = (
    "text_config", "text_config_dict", "vision_config", "vision_config_dict", "logit_scale_init_value",
    "initializer_factor", "projection_dim",
)  # fmt: skip
OLD_END = 2  # eos_token_id in old files, where it is wrong; the end token then is the one with the highest id


def tower(c: Settings, which: str = "text") -> Settings:
    """The settings of the text tower: those under a key in a whole model's config.json, else `c` itself.

    which: "text", or "vision" for the settings of the image tower.
    """
    if c.get(f"{which}_config_dict") is not None:  # in files of 2022, where it replaces text_config
        return c.inside(f"{which}_config_dict")
    return c.inside(f"{which}_config") if c.get(f"{which}_config") is not None else c


def network(c: Settings, kind: str, width: int, hidden: int, heads: int, length: int, vocab: int, **defaults) -> dict:
    """The spec of the network that config.json describes, without heads.

    kind: "clip" or "siglip".  The other arguments are the defaults of keys that config.json does not have.
    """
    t = tower(c)
    if t is not c:
        for key in ASIDE:
            c.get(key)
    for key in ("projection_dim", "projection_size"):
        t.get(key)
    spec = clip_text.network(
        layers=t.get("num_hidden_layers", 12),
        width=t.get("hidden_size", width),
        heads=t.get("num_attention_heads", heads),
        hidden=t.get("intermediate_size", hidden),
        vocab=t.get("vocab_size", vocab),
        length=t.get("max_position_embeddings", length),
        kind=kind,
        activation=t.choose("hidden_act", ACTIVATIONS, defaults["activation"]),
        eps=t.get("layer_norm_eps", defaults["eps"]),
    )
    t.finish()
    return spec | {"heads": {}}


def clip(c: Settings) -> dict:
    """The spec of CLIP's text tower, without heads."""
    return network(c, "clip", 512, 2048, 8, 77, 49408, activation="quick_gelu", eps=1e-5)


def siglip(c: Settings) -> dict:
    """The spec of SigLIP's text tower, without heads."""
    return network(c, "siglip", 768, 3072, 12, 64, 32000, activation="gelu_pytorch_tanh", eps=1e-6)


def at_end(c: Settings) -> dict:
    """The spec of the head that pools at the end token."""
    end = tower(c).get("eos_token_id", 49407)
    return dict(kind="vector", pool=dict(kind="at_token", token=None if end == OLD_END else end))


def projection(c: Settings) -> dict:
    """The spec of the head that projects to the common width, which config.json has outside the tower's settings."""
    pool = dict(kind="of_head", head="pooled")
    width = c.get("projection_dim", 512)
    return dict(kind="vector", pool=dict(kind="dense", pool=pool, width=width, activation="identity", bias=False))


def at_last(c: Settings) -> dict:
    """The spec of the head that pools at the last position and projects to the common width."""
    t = tower(c)
    width = t.get("projection_size") or t.get("hidden_size", 768)
    return dict(kind="vector", pool=dict(kind="dense", pool=dict(kind="last"), width=width, activation="identity"))


def whole_rows(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a tower that pools the last position of a row, even if it is padding.

    The authors use no mask. With attention_mask, padding attends to the text, but the text does not attend to padding.
    Raises XfmError for a row without tokens.
    """
    batch = counted(c, input_ids, None, token_type_ids, position_ids)
    if attention_mask is None:
        return batch
    heard = np.asarray(attention_mask) > 0
    if not heard.any(axis=1).all():
        raise XfmError(f"attention_mask hides all tokens of row {int(np.argmin(heard.any(axis=1)))}; SigLIP needs one")
    return batch | {"heard": heard.astype(np.int32)}


KEYS = {
    "vocab_size": "embed/vocab",
    "hidden_size": "embed/width",
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "intermediate_size": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "attention_dropout": "pattern/0/drop",
    "max_position_embeddings": "embed/position/length",
    "layer_norm_eps": "norm/eps",
}
CLIP_KEYS = KEYS | {
    "projection_dim": "heads/embeds/pool/width",
    "eos_token_id": lambda spec: keys.at(spec, "heads/pooled/pool/token") or OLD_END,
}
LAYER = "encoder.layers.{}."
NAMES = {
    "embed/word": "embeddings.token_embedding",
    "embed/position": "embeddings.position_embedding",
    "layer/0/in_norm": f"{LAYER}layer_norm1",
    "layer/0/part/q": f"{LAYER}self_attn.q_proj",
    "layer/0/part/k": f"{LAYER}self_attn.k_proj",
    "layer/0/part/v": f"{LAYER}self_attn.v_proj",
    "layer/0/part/o": f"{LAYER}self_attn.out_proj",
    "layer/1/in_norm": f"{LAYER}layer_norm2",
    "layer/1/part/up": f"{LAYER}mlp.fc1",
    "layer/1/part/down": f"{LAYER}mlp.fc2",
    "norm": "final_layer_norm",
}
IGNORED = {
    r"(text_model\.)?embeddings\.position_ids": "it only counts 0, 1, 2, …",
    r"vision_model\..*|visual_projection\.weight": "it belongs to the image tower",
    r"logit_scale|logit_bias": "it is only used to compare texts with images",
}

CLIP = Family(
    model_type="clip_text_model",
    prefix="text_model.",
    network=clip,
    keys=CLIP_KEYS,
    classes="CLIP",
    names=NAMES,
    heads={
        "pooled": Head("pooled", at_end, {}, of_encoder=True),
        "text_embeds": Head("embeds", projection, {"pool/dense": "text_projection"}, ("pooled",)),
    },
    architectures={"TextModel": ("pooled",), "TextModelWithProjection": ("text_embeds",), "Model": ("text_embeds",)},
    files=Files(
        wholes=("Model",), ignored=IGNORED, buffers={r"(text_model\.)?embeddings\.position_ids": buffers.COUNTED}
    ),
    calling=Calling(last="layer"),
)
SIGLIP = dataclasses.replace(
    CLIP,
    model_type="siglip_text_model",
    network=siglip,
    keys=KEYS | {"projection_size": "heads/pooled/pool/width"},
    classes="Siglip",
    heads={"pooled": Head("pooled", at_last, {"pool/dense": "head"}, of_encoder=True)},
    architectures={"TextModel": ("pooled",), "Model": ("pooled",)},
    calling=dataclasses.replace(CLIP.calling, inputs=whole_rows),
)
