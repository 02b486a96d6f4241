"""Models of timm with random weights that the Hub's loader is compared with, and how their goldens are made.

    python -m tests.hub.timm_cases [part of a name ...]

in an environment with torch and timm writes `tests/goldens/timm/<name>.npz`, as tests/hub/make.py does for others, and
`buffers.npz` and `resized.npz` for a part of these names.
"""

import functools
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parents[1] / "goldens" / "timm"

TINY = dict(embed_dim=20, depth=2, num_heads=5, mlp_ratio=2.0)
# Image, then (name of the class, None where timm makes it by its name, "architecture" of config.json, its model_args).
# Of Swin: grids of 5 x 7 and 3 x 4 under windows of 3 x 3, shifted in the first; of 6 x 9 and 3 x 5 under 4 x 4 and
# 3 x 4, shifted along the columns in the second.
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
    "eva02_larger": (
        (15, 25),
        None,
        "eva02_base_patch14_448.mim_in22k_ft_in1k",
        dict(TINY, img_size=[15, 25], patch_size=5, in_chans=1, num_classes=3, ref_feat_shape=[4, 3]),
    ),
    "dinov2_registers": (
        (12, 20),
        None,
        "vit_giant_patch14_reg4_dinov2.lvd142m",
        dict(TINY, img_size=12, patch_size=4, num_classes=2, dynamic_img_size=True),
    ),
    "beit": ((12, 12), None, "beit_base_patch16_224", dict(TINY, img_size=12, patch_size=4, num_classes=3)),
    "convnext": (
        (36, 68),
        None,
        "convnext_nano.in12k",
        dict(depths=[1, 2, 1, 1], dims=[4, 6, 8, 6], in_chans=1, num_classes=3),
    ),
    "convnextv2": ((36, 68), None, "convnextv2_tiny", dict(depths=[1, 1, 2, 1], dims=[6, 8, 4, 6], num_classes=3)),
    "poolformer": (
        (36, 52),
        "MetaFormer",
        "poolformer_m36.sail_in1k",
        dict(
            depths=[1, 2, 1, 1],
            dims=[4, 6, 8, 6],
            in_chans=1,
            num_classes=3,
            layer_scale_init_values=1e-6,
            downsample_norm=None,
            mlp_bias=True,
            res_scale_init_values=None,
            use_mlp_head=False,
        ),
    ),
    "mixer": (
        (12, 20),
        "MlpMixer",
        "mixer_b16_224.goog_in21k",
        dict(img_size=[12, 20], patch_size=4, in_chans=1, num_blocks=2, embed_dim=10, num_classes=3),
    ),
    "hiera": (
        (16, 24),
        None,
        "hiera_tiny_224.mae",
        dict(
            img_size=[16, 24],
            in_chans=1,
            embed_dim=6,
            num_classes=3,
            stages=[1, 2, 3],
            q_pool=2,
            mask_unit_size=[4, 4],
            mask_unit_attn=[True, True, False],
            mlp_ratio=2.0,
            patch_kernel=[3, 3],
            patch_stride=[2, 2],
            patch_padding=[1, 1],
        ),
    ),
    "tnt": (
        (12, 18),
        None,
        "tnt_s_patch16_224.in1k",
        dict(
            img_size=[12, 18],
            patch_size=6,
            in_chans=1,
            num_classes=3,
            embed_dim=12,
            inner_dim=6,
            depth=2,
            num_heads_inner=2,
            num_heads_outer=3,
            first_stride=2,
        ),
    ),
    "nest": (
        (24, 24),
        "Nest",
        "nest_tiny.untrained",
        dict(
            img_size=24,
            patch_size=2,
            num_levels=3,
            embed_dims=[4, 6, 8],
            num_heads=[1, 2, 2],
            depths=[1, 2, 1],
            in_chans=1,
            num_classes=3,
        ),
    ),
}
SPECIAL = ((r"patch_embed", 0.0, 0.1), (r"gamma|layer_scale|grn\.weight", 0.8, 0.3), (r"logit_scale", 1.5, 0.5),
           (r"mlp\.0\.weight", 0.0, 1.0), (r"cpb_mlp\.2\.weight", 0.0, 0.03))  # fmt: skip

RESIZED = {"vit": (10, 30), "eva02": (25, 10), "tnt": (24, 12)}  # images for which timm resizes what it learned
BUFFERED = ("swin", "swin_clamped", "swinv2", "beit", "eva02")


def features(model, images):
    """What goes into the first of a model's blocks, what each block or stage returns, and the logits.

    Tokens are [B T D] and maps [B C h w], also where the model has channels last.
    """
    name = next(name for name in ("blocks", "layers", "levels", "stages") if hasattr(model, name))
    found = []

    def keep(module, given, made):
        found.extend([given[-1]] if not found and name in ("blocks", "layers") else [])
        found.append(made[-1] if isinstance(made, tuple) else made)

    hooks = [one.register_forward_hook(keep) for one in getattr(model, name)]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    if hasattr(model, "reroll"):  # Hiera, whose blocks are in one row; it reorders its tokens
        found = [found[0], *(found[end + 1] for end in model.stage_ends)]
        found = [model.reroll(x, max(end, 0)) for x, end in zip(found, (0, *model.stage_ends), strict=True)]
    if hasattr(model, "pixel_embed"):  # TNT, whose first state is no module's output
        found = found[1:]
    return [x.permute(0, 3, 1, 2) if name == "layers" or hasattr(model, "reroll") else x for x in found], logits


def made(name: str, **changes):
    import timm
    import torch
    from timm.layers import GroupNorm1

    _, kind, architecture, arguments = CASES[name]
    classes = dict(mlp_act=torch.nn.GELU, norm_layers=GroupNorm1) if name == "poolformer" else {}  # not in JSON
    make = getattr(timm.models, kind) if kind else functools.partial(timm.create_model, architecture)
    return make(**arguments | changes, **classes).eval()


def write_buffers() -> None:
    """What timm computes beside its parameters, and older files have; no files have the angles of rotations."""
    import numpy as np

    found = {f"{name}/{key}": a for name in BUFFERED for key, a in made(name).named_buffers() if "rope" not in key}
    np.savez_compressed(FOLDER / "buffers.npz", **{key: a.numpy() for key, a in found.items()})
    print("buffers", (FOLDER / "buffers.npz").stat().st_size)


def write_resized() -> None:
    """Images of another size than the weights were made for, and their logits, with the weights of the goldens."""
    import numpy as np
    import torch
    from timm.layers import resample_abs_pos_embed

    from tests.hub.reference import coarse

    found = {}
    for name, size in RESIZED.items():
        model = made(name, **(dict(img_size=size) if name == "tnt" else dict(dynamic_img_size=True)))
        with np.load(FOLDER / f"{name}.npz") as file:
            keys = [key for key in file.files if key.startswith("weight/")]
            weights = {key.removeprefix("weight/"): torch.from_numpy(file[key]) for key in keys}
        if name == "tnt":  # as its checkpoint_filter_fn does for square grids
            grids = dict(new_size=list(model.pixel_embed.grid_size), old_size=[2, 3])
            weights["patch_pos"] = resample_abs_pos_embed(weights["patch_pos"], num_prefix_tokens=1, **grids)
        model.load_state_dict(weights)
        images = coarse((2, CASES[name][3]["in_chans"], *size), 1.0, 7)
        found |= {f"{name}/images": images.numpy(), f"{name}/logits": model(images).detach().numpy()}
    np.savez_compressed(FOLDER / "resized.npz", **found)
    print("resized", (FOLDER / "resized.npz").stat().st_size)


def write(name: str) -> None:
    import numpy as np
    import timm
    import torch

    from tests.hub.reference import coarse, shake

    size, _, architecture, arguments = CASES[name]
    model = made(name)
    shake(model, SPECIAL)
    images = coarse((2, model.in_chans, *size), 1.0, 7)
    states, logits = features(model, images)
    cotangent = coarse(logits.shape, 1.0, 100)
    (logits * cotangent).sum().backward()
    arrays = {"input/pixel_values": images, "output/logits": logits, "cotangent/logits": cotangent}
    arrays |= {f"hidden/{i}": x for i, x in enumerate(states)}
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
    if any(part in "buffers" for part in sys.argv[1:] or ["buffers"]):
        write_buffers()
    if any(part in "resized" for part in sys.argv[1:] or ["resized"]):
        write_resized()
