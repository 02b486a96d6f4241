"""Models of timm with random weights that the Hub's loader is compared with, and how their goldens are made.

    python -m tests.hub.timm_cases [part of a name ...]

in an environment with torch and timm writes `tests/goldens/timm/<name>.npz`, as tests/hub/make.py does for others.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parents[1] / "goldens" / "timm"

TINY = dict(embed_dim=20, depth=2, num_heads=5, mlp_ratio=2.0)
# Image, then (name of the class, "architecture" of config.json, its model_args): grids of 5 x 7 and 3 x 4 under windows
# of 3 x 3, shifted in the first; of 6 x 9 and 3 x 5 under 4 x 4 and 3 x 4, shifted along the columns in the second.
SMALL = dict(patch_size=3, in_chans=1, embed_dim=6, depths=[2, 2], num_heads=[1, 2])
PVT = dict(in_chans=1, depths=[2, 1], embed_dims=[6, 10], num_heads=[1, 2], mlp_ratios=[2, 1])
CASES = {
    "swin": (
        (15, 21),
        "SwinTransformer",
        "swin_tiny_patch4_window7_224",
        dict(SMALL, img_size=[15, 21], window_size=3, num_classes=4),
    ),
    "swin_clamped": (
        (18, 27),
        "SwinTransformer",
        "swin_base_patch4_window12_384",
        dict(SMALL, img_size=[18, 27], window_size=4, num_classes=3, qkv_bias=False),
    ),
    "swinv2": (
        (15, 21),
        "SwinTransformerV2",
        "swinv2_base_window12to16_192to256",
        dict(SMALL, img_size=[15, 21], window_size=4, num_classes=3, pretrained_window_sizes=[3, 2]),
    ),
    "pvt_v2": ((36, 28), "PyramidVisionTransformerV2", "pvt_v2_b1", dict(PVT, sr_ratios=[2, 1], num_classes=4)),
    "pvt_v2_linear": ((36, 28), "PyramidVisionTransformerV2", "pvt_v2_b2_li", dict(PVT, linear=True, num_classes=3)),
    "tiny_vit": (
        (44, 28),
        "TinyVit",
        "tiny_vit_5m_224.dist_in22k_ft_in1k",
        dict(
            in_chans=1,
            embed_dims=[4, 6, 8],
            depths=[2, 1, 2],
            num_heads=[1, 2, 2],
            window_sizes=[9, 3, 3],
            num_classes=4,
            mlp_ratio=1.5,
        ),
    ),
    "vit": (
        (15, 25),
        "VisionTransformer",
        "vit_tiny_patch16_224.augreg_in21k",
        dict(TINY, img_size=[15, 25], patch_size=5, in_chans=1, num_classes=3, qkv_bias=False),
    ),
    "vit_larger": (
        (12, 20),
        "VisionTransformer",
        "vit_small_patch14_dinov2.lvd142m",
        dict(TINY, img_size=12, patch_size=4, in_chans=3, num_classes=2, init_values=1e-5, dynamic_img_size=True),
    ),
    "deit_distilled": (
        (12, 12),
        "VisionTransformerDistilled",
        "deit_tiny_distilled_patch16_224",
        dict(TINY, img_size=12, patch_size=4, in_chans=3, num_classes=3),
    ),
    "eva02": (
        (15, 25),
        "Eva",
        "eva02_tiny_patch14_224.mim_in22k",
        dict(
            TINY,
            img_size=[15, 25],
            patch_size=5,
            in_chans=1,
            num_classes=3,
            ref_feat_shape=[4, 3],
            swiglu_mlp=True,
            use_rot_pos_emb=True,
        ),
    ),
    "deit3": (
        (12, 20),
        "VisionTransformer",
        "deit3_small_patch16_224.fb_in1k",
        dict(
            TINY,
            img_size=[12, 20],
            patch_size=4,
            in_chans=3,
            num_classes=3,
            init_values=1e-6,
            no_embed_class=True,
        ),
    ),
}
SPECIAL = ((r"patch_embed", 0.0, 0.1), (r"ls\d\.gamma", 0.8, 0.3), (r"logit_scale", 1.5, 0.5),
           (r"mlp\.0\.weight", 0.0, 1.0), (r"cpb_mlp\.2\.weight", 0.0, 0.03))  # fmt: skip


def write(name: str) -> None:
    import numpy as np
    import timm
    import torch

    from tests.hub.reference import coarse, shake

    size, kind, architecture, arguments = CASES[name]
    model = getattr(timm.models, kind)(**arguments).eval()
    shake(model, SPECIAL)
    images = coarse((2, arguments["in_chans"], *size), 1.0, 7)
    isotropic, maps = hasattr(model, "blocks"), hasattr(model, "stages")  # maps: stages of some return them [B C h w]
    x, more = model.patch_embed(images), {}
    if isotropic:
        x = model._pos_embed(x)
        x, more = (x[0], dict(rope=x[1])) if isinstance(x, tuple) else (x, {})
    states = [] if maps else [x]
    for stage in model.stages if maps else model.blocks if isotropic else model.layers:
        states.append(x := stage(x, **more))
    logits = model.forward_head(x if maps else model.norm(x))
    cotangent = coarse(logits.shape, 1.0, 100)
    (logits * cotangent).sum().backward()
    arrays = {"input/pixel_values": images, "output/logits": logits, "cotangent/logits": cotangent}
    arrays |= {f"hidden/{i}": x if isotropic or maps else x.permute(0, 3, 1, 2) for i, x in enumerate(states)}
    for key, p in model.named_parameters():
        arrays |= {f"weight/{key}": p, f"norm/{key}": p.grad.double().norm()}
        arrays |= {f"grad/{key}": p.grad} if p.ndim == 1 or "kv" in key or "biases" in key else {}
    arrays |= {f"weight/{key}": a for key, a in model.named_buffers() if "running" in key}  # of batch norms
    config = dict(architecture=architecture, num_classes=arguments["num_classes"], model_args=arguments)
    found = {key: a.detach().numpy().astype(np.float32) for key, a in arrays.items()}
    FOLDER.mkdir(exist_ok=True)
    versions = json.dumps(dict(torch=torch.__version__, timm=timm.__version__))
    np.savez_compressed(FOLDER / f"{name}.npz", config=json.dumps(config), versions=versions, **found)
    print(name, (FOLDER / f"{name}.npz").stat().st_size)


if __name__ == "__main__":
    for name in CASES:
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            write(name)
