"""CLIP and SigLIP with both towers: texts and images, each with a vector, and how similar they are.

Radford et al. 2021; Zhai et al. 2023. The oracles are transformers' CLIPModel and SiglipModel. Either tower is loaded
alone from the same files by the name of its head, "text_embeds" or "image_embeds" ("pooled" of SigLIP's text tower).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.families import clip, clip_vision
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.keys import Keys
from xfm.hub.naming import At, Names, prefixed
from xfm.hub.settings import Settings
from xfm.spec import Spec

EMPTY: Keys = {}
WHICH = ("text", "vision")
IGNORED = {r"(text|vision)_model\.embeddings\.position_ids": "it only counts 0, 1, 2, …"}


def of_whole(family: Family, which: str, heads: Mapping[str, Head]) -> Family:
    """The family of a tower in files of the whole model, where its names always have the prefix.

    which: "text" or "vision".  heads: of the tower.
    """
    prefix = family.prefix

    def part(config: Mapping[str, Any]) -> dict[str, Any]:
        beside = {key: config[key] for key in ("projection_dim", "dtype", "torch_dtype") if key in config}
        return {**clip.tower(Settings(config), which).content, "model_type": family.model_type, **beside}

    named = family.names
    return dataclasses.replace(
        family,
        prefix="",
        names=(lambda c: prefixed(named(c), prefix)) if callable(named) else prefixed(named, prefix),
        heads={
            task: dataclasses.replace(head, names=prefixed(head.names, prefix)) if head.of_encoder else head
            for task, head in heads.items()
        },
        keys={},
        classes="",
        files=dataclasses.replace(family.files, part=part),
    )


def network(towers: Mapping[str, Family], vector: str, scale: float, bias: float | None):
    """From config.json to the spec of both towers.

    vector: the head of each that is compared.  scale, bias: what they are before training.
    """

    def of(c: Settings) -> dict:
        made = {
            which: one.network(c) | {"heads": {head.name: head.spec(c) for head in one.all_heads.values()}}
            for which, one in towers.items()
        }
        return dict(kind="towers", towers=made, vectors=dict.fromkeys(WHICH, vector), scale=scale, bias=bias)

    return of


def outputs(batch: Batch, out: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs by the Hub's names: vectors of length 1, their logits, and what each tower returns by itself."""
    found = {f"{name}_embeds": out[f"{which}/vector"] for which, name in zip(WHICH, ("text", "image"), strict=True)
             if f"{which}/vector" in out}  # fmt: skip
    if "vision/similarity" in out:
        found |= dict(logits_per_text=out["vision/similarity"], logits_per_image=out["vision/similarity"].T)
    for which in WHICH:
        if f"{which}/hidden" in out:
            own = dict(last_hidden_state=out[f"{which}/hidden"], pooler_output=out[f"{which}/pooled"])
            if f"{which}/hidden_states" in out:
                own["hidden_states"] = out[f"{which}/hidden_states"]
            found[f"{which}_model_output"] = own
    return found


def checked(network):
    """`network` for files whose image tower has a pool, without which images cannot be compared."""

    def of(c: Settings) -> dict:
        if not clip_vision.tower(c).get("vision_use_head", True):
            raise XfmError(
                f"{c.path} sets vision_use_head to false; without that head images have no vector to compare"
            )
        return network(c)

    return of


def described_as(alone: Mapping[str, Family]) -> Keys:
    """The rows of a whole model's config.json, with an object for each tower.  alone: the families of the towers."""

    def of(which: str, one: Family):
        def row(spec: Spec) -> dict[str, Any]:
            return {"model_type": one.model_type, **keys.described(one.keys, spec["towers"][which])}

        return row

    return {f"{which}_config": of(which, one) for which, one in alone.items()}


def family(
    model_type: str,
    towers: Mapping[str, Family],
    network,
    scalars: Names,
    label: Family,
    rows: Keys = EMPTY,
    classes: str = "",
) -> Family:
    """A family of both towers.  scalars: names of the parameters that compare them.

    label: the family of files that have the image tower with a classifier instead.
    rows: those of `described_as`, none if the family cannot be written.  classes: the prefix of the classes' names.
    """
    a_class = f"{label.classes}ForImageClassification"
    return Family(
        model_type=model_type,
        network=network,
        names=scalars,
        keys=rows,
        classes=classes,
        architectures={"Model": ()},
        files=Files(
            ignored=IGNORED,
            buffers=clip.CLIP.files.buffers | clip_vision.CLIP.files.buffers,
            kin={("architectures", (a_class,)): label},
        ),
        calling=Calling(outputs=outputs),
        towers=towers,
    )


CLIP_TOWERS = {
    "text": of_whole(clip.CLIP, "text", clip.CLIP.heads),
    "vision": of_whole(clip_vision.CLIP, "vision", clip_vision.CLIP.heads),
}
SIGLIP_TOWERS = {
    "text": of_whole(clip.SIGLIP, "text", {"text_embeds": clip.SIGLIP.heads["pooled"]}),
    "vision": of_whole(clip_vision.SIGLIP, "vision", {"image_embeds": clip_vision.SIGLIP.heads["pooled"]}),
}
CLIP = family(
    "clip",
    CLIP_TOWERS,
    network(CLIP_TOWERS, "embeds", math.exp(2.6592), None),
    {"log_scale": "logit_scale"},
    clip_vision.CLIP_LABEL,
    described_as({"text": clip.CLIP, "vision": clip_vision.CLIP})
    | {"projection_dim": "towers/text/heads/embeds/pool/width"},
    "CLIP",
)
SIGLIP = family(
    "siglip",
    SIGLIP_TOWERS,
    checked(network(SIGLIP_TOWERS, "pooled", 10.0, -10.0)),
    {"log_scale": At("logit_scale", axes=(0,), sides=(1,)), "bias": At("logit_bias", axes=(0,), sides=(1,))},
    clip_vision.SIGLIP_LABEL,
    described_as({"text": clip.SIGLIP, "vision": clip_vision.SIGLIP}),
    "Siglip",
)
