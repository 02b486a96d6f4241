"""SigLIP 2 with images of any shape (NaFlex): the image tower, the text tower, and both together.

Tschannen et al. 2025. The oracles are transformers' Siglip2VisionModel, Siglip2TextModel, Siglip2Model and
Siglip2ForImageClassification. Images are given as patches, `pixel_values` [B patches P·P·C], with `spatial_shapes`
[B 2], the rows and columns of patches, and `pixel_attention_mask` [B patches], which is 0 at padding. Padding attends
to nothing here, and has zeros where the reference has numbers that nobody reads.
"""

import dataclasses
import math

import jax
import numpy as np

from xfm.errors import XfmError
from xfm.fields import Count, fits
from xfm.hub.families import clip, clip_vision, clip_whole
from xfm.hub.family import Batch, Calling, Family
from xfm.hub.keys import at
from xfm.hub.naming import Names
from xfm.hub.settings import Settings


def side(c: Settings) -> int:
    """The side of the grid for which positions are learned. Raises XfmError unless their number is a square."""
    count = clip_vision.tower(c).get("num_patches", 256)
    if not fits(count, Count) or math.isqrt(count) ** 2 != count:
        raise XfmError(f"{c.path} sets num_patches to {count!r}; it must be a square number")
    return math.isqrt(count)


def network(c: Settings) -> dict:
    """The spec of the image tower that config.json describes, without heads."""
    t, size = clip_vision.tower(c), side(c)
    patch = t.get("patch_size", 16)
    if not fits(patch, Count):
        raise XfmError(f"{t.path} sets patch_size to {patch!r}; it must be the side of a patch in pixels")
    square = {"image_size": size * patch, "num_patches": None}  # as if all images were of the learned grid
    of = {**t.content, **square}
    spec = clip_vision.network(Settings(of, t.path, t.ignore), 0, "gelu_pytorch_tanh", 1e-6)
    for key in (*t.content, *(clip.ASIDE if t is not c else ())):
        c.get(key)
    width, channels = t.get("hidden_size", 768), t.get("num_channels", 3)
    return spec | {"embed": dict(kind="naflex", width=width, patch=patch, size=size, channels=channels)}


def inputs(c: Settings, patches, pixel_attention_mask=None, spatial_shapes=None) -> Batch:
    """The batch of these patches. Raises XfmError without spatial_shapes, or for ones that do not fit."""
    B, T = patches.shape[:2]
    if spatial_shapes is None:
        raise XfmError("siglip2 needs spatial_shapes [batch, 2], the rows and columns of each image's patches")
    sides = spatial_shapes if isinstance(spatial_shapes, jax.core.Tracer) else np.asarray(spatial_shapes)
    if sides.shape != (B, 2) or sides.dtype.kind not in "iu":
        raise XfmError(f"spatial_shapes are {sides.dtype} {sides.shape}; they must be whole numbers {(B, 2)}")
    count = sides[:, 0] * sides[:, 1]
    if not isinstance(sides, jax.core.Tracer) and ((sides < 1).any() or (count > T).any()):
        raise XfmError(f"spatial_shapes must be 1 or more, with at most {T} patches, as many as pixel_values have")
    real = np.arange(T)[None] < count[:, None] if pixel_attention_mask is None else pixel_attention_mask
    if real.shape != (B, T):
        raise XfmError(f"pixel_attention_mask has the shape {real.shape}; it must be {(B, T)}")
    return dict(patches=patches, sides=sides.astype(np.int32), segments=(real > 0).astype(np.int32))


def example(c: Settings) -> Batch:
    """A black image of one patch."""
    t = clip_vision.tower(c)
    numbers = t.get("patch_size", 16) ** 2 * t.get("num_channels", 3)
    return inputs(c, np.zeros((1, 1, numbers), np.float32), None, np.ones((1, 2), np.int32))


NAMES: Names = {
    **clip_vision.LAYERS,
    "embed/patch": "embeddings.patch_embedding",
    "embed/table": "embeddings.position_embedding.weight",
    "norm": "post_layernorm",
}
KEYS = {
    **{key: path for key, path in clip_vision.SIGLIP.keys.items() if key != "image_size"},
    "num_patches": lambda spec: at(spec, "embed/size") ** 2,
}
VISION = dataclasses.replace(
    clip_vision.SIGLIP,
    model_type="siglip2_vision_model",
    network=network,
    keys=KEYS,
    classes="Siglip2",
    names=NAMES,
    calling=Calling(
        reads="patches", inputs=inputs, example=example, more=("pixel_attention_mask", "spatial_shapes"), last="layer"
    ),
)
TEXT = dataclasses.replace(clip.SIGLIP, model_type="siglip2_text_model", classes="Siglip2")
TOWERS = {
    "text": clip_whole.of_whole(TEXT, "text", {"text_embeds": TEXT.heads["pooled"]}),
    "vision": clip_whole.of_whole(VISION, "vision", {"image_embeds": VISION.heads["pooled"]}),
}
WHOLE: Family = clip_whole.family(
    "siglip2",
    TOWERS,
    clip_whole.checked(clip_whole.network(TOWERS, "pooled", 10.0, -10.0)),
    clip_whole.SIGLIP.names,
    clip_vision.labelled(VISION, "siglip2"),
)
