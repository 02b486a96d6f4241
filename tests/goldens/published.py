"""Makes goldens of backbones of images by their authors' own programs, which are not copied here.

    oracle/bin/pip install timm==1.0.31
    git clone https://github.com/cheerss/CrossFormer CLONES/CrossFormer  # commit 7952010
    git clone https://github.com/qhfan/RMT CLONES/RMT  # commit 32ea214
    git clone https://github.com/ArieSeirack/DHVT CLONES/DHVT  # commit a86feda
    git clone https://github.com/keyu-tian/SparK CLONES/SparK  # commit a63e386
    oracle/bin/python -m tests.goldens.published CLONES [name ...]

The files are like those of backbones.py.
"""

import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.goldens.backbones import Wrapped, averages_saved, write
from tests.goldens.make import coarse, record, shake


def crossformer(name, clones):
    """Windows and far groups that reach beyond their grids, of 10 x 10 and 5 x 5 tokens."""
    sys.path.insert(0, str(clones / "CrossFormer"))
    from models.crossformer import CrossFormer

    config = dict(
        layers=[2, 1], width=48, heads=[2, 4], group=3, intervals=[2, 1], classes=5, patches=[2, 4, 8], tiles=[2, 4],
        ratio=0.25,
    )  # fmt: skip
    model = CrossFormer(
        img_size=20, patch_size=[2, 4, 8], embed_dim=48, depths=[2, 1], num_heads=[2, 4], group_size=[3, 3],
        crs_interval=[2, 1], mlp_ratio=[0.25, 0.25], merge_size=[[2, 4]], num_classes=5, drop_path_rate=0.0,
    )  # fmt: skip
    special = [
        (r"pos\d\.0\.weight", 1.0, 0.3),
        (r"projs", 0.0, 0.08),
        (r"reductions", 0.0, 0.02),
        (r"layers.1.*(attn|mlp).*t$", 0.0, 0.04),
    ]
    keep = r"layers\.0\.blocks\.1\.attn\.pos\..*(weight|proj\.bias)|projs\.1\.weight"
    write(name, Wrapped(model), (20, 20), config, keep, 0.08, special)


def rmt(name, clones):
    """Attention along the axes, over the grid, and along them again, for an image that is not square."""
    for module, names in (
        ("fvcore", ()),
        ("fvcore.nn", ("FlopCountAnalysis", "flop_count_table")),
        ("einops", ("einsum",)),
    ):
        absent = types.ModuleType(module)  # the program imports them and does not use them in a network
        absent.__dict__.update(dict.fromkeys(names))
        sys.modules.setdefault(module, absent)
    sys.path.insert(0, str(clones / "RMT" / "classfication_release"))
    from RMT import VisRetNet

    config = dict(
        layers=[1, 1, 2], widths=[8, 16, 24], heads=[2, 2, 3], ratios=[2, 1.5, 1], spreads=[4, 5, 6],
        along=["axes", "grid", "axes"], gated=True, last=20, classes=5,
    )  # fmt: skip
    model = VisRetNet(
        embed_dims=[8, 16, 24], depths=[1, 1, 2], num_heads=[2, 2, 3], init_values=[2] * 3, heads_ranges=[4, 5, 6],
        mlp_ratios=[2, 1.5, 1], chunkwise_recurrents=[True, False, True], projection=20, num_classes=5,
        layerscales=[False, False, True], drop_path_rate=0.0,
    )  # fmt: skip
    special = [
        (r"proj\.(1|4|7|10)\.weight$", 1.0, 0.3),
        (r"running_var$", 2.0, 0.25),
        (r"gamma", 0.7, 0.3),
        (r"(lepe|pos|dwconv|proj\.\d+)\S*\.weight$|[kq]_proj\.bias", 0.0, 0.4),
    ]
    keep = (
        r"layers\.(0\.blocks\.0|2\.blocks\.1)\.(retention\.(q|v)_proj|\S*lepe|pos|ffn\.dw)|patch_embed\.proj\.0|gamma_1"
    )
    write(name, Wrapped(averages_saved(model)), (36, 28), config, keep, special=special)


def single(model):
    """The model with batch norms of one device, which run on a CPU, in the place of synchronised ones."""
    for name, module in model.named_children():
        if isinstance(module, torch.nn.SyncBatchNorm):
            setattr(model, name, torch.nn.BatchNorm2d(module.num_features))
        else:
            single(module)
    return model


def dhvt(name, clones):
    """A class token and 4 x 4 patches, each of two convolutions."""
    unused = ("rearrange", "reduce", "repeat", "Rearrange", "Reduce", "complement_idx", "build_model_with_cfg")
    for module in ("einops", "einops.layers", "einops.layers.torch", "helpers", "timm.models.helpers"):
        absent = types.ModuleType(module)  # the program imports them and does not use them in a network
        absent.__dict__.update(dict.fromkeys((*unused, "named_apply", "adapt_input_conv")))
        sys.modules[module] = absent
    sys.path.insert(0, str(clones / "DHVT"))
    from vision_transformer import VisionTransformer

    config = dict(layers=2, width=24, heads=3, patch=4, classes=5, ratio=2)
    model = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2, num_classes=5, apply_dhvt=True
    )
    special = [
        (r"(bn\d|proj\.\d\.1)\.weight$|alpha$", 1.0, 0.3),
        (r"running_var$", 2.0, 0.25),
        (r"patch_embed\S*weight$|conv2\.weight$", 0.0, 0.4),
    ]
    keep = r"cls_token|ht_proj|attn\.pos_embed|affine|blocks\.1\.mlp\.(conv2|compress|bn3)"
    write(name, Wrapped(averages_saved(single(model))), (16, 16), config, keep, special=special)


class Masked(torch.nn.Module):
    """The program of SparK, of whose images the same patches are hidden each time."""

    def __init__(self, model, active):
        super().__init__()
        self.model, self.active = model, active

    def forward(self, images, output_hidden_states):
        """The encoder's maps, some pixels of the image that is drawn, and the loss."""
        found = {}
        encoder, decoder = self.model.sparse_encoder, self.model.dense_decoder
        hooks = [
            encoder.register_forward_hook(lambda module, given, maps: found.update(maps=list(maps))),
            decoder.register_forward_hook(lambda module, given, pixels: found.update(pixels=pixels)),
        ]
        loss = self.model(images, self.active)
        for hook in hooks:
            hook.remove()
        channels_last = {f"stage_{i}": one.permute(0, 2, 3, 1) for i, one in enumerate(found["maps"])}
        return {**channels_last, "pixels": found["pixels"].permute(0, 2, 3, 1)[:, ::2, ::2], "loss": loss}

    def save_pretrained(self, folder):
        save_file({name: p.contiguous() for name, p in self.named_parameters()}, f"{folder}/model.safetensors")


def spark(name, clones):
    """An image of 2 x 3 patches of 16 pixels, three of them visible, and a stem of patches of 2 x 2."""
    folder = clones / "SparK" / "pretrain"
    absent, models = types.ModuleType("utils.misc"), types.ModuleType("models")
    absent.is_pow2n = lambda number: number.bit_count() == 1  # of a module for training, what a network needs
    models.__path__ = [str(folder / "models")]  # without its list of networks, which needs an older timm
    sys.modules.update({"utils.misc": absent, "models": models})
    sys.path.insert(0, str(folder))
    from decoder import LightDecoder
    from encoder import SparseEncoder
    from models.convnext import ConvNeXt
    from spark import SparK

    config = dict(layers=[1, 1, 2, 1], widths=[6, 8, 12, 20], patch=2, doublings=4, width=16)
    encoder = ConvNeXt(depths=config["layers"], dims=list(config["widths"]), num_classes=0, global_pool="", sparse=True)
    encoder.downsample_layers[0][0] = torch.nn.Conv2d(3, 6, 2, 2)
    encoder.get_downsample_ratio = lambda: 16
    decoder = LightDecoder(16, width=config["width"], sbn=False)
    model = SparK(SparseEncoder(encoder, input_size=32), decoder, densify_norm="ln")
    model.fmap_w = 3
    special = [(r"dec\.\d\.conv\.[14]\.weight$|gamma", 1.0, 0.3), (r"running_var$", 2.0, 0.25)]
    keep = r"mask_tokens|dec\.[13]\.up|densify_projs\.3|gamma"
    active = torch.tensor([[[[1, 0, 0], [0, 1, 1]]]]) > 0
    model = Masked(averages_saved(model), active)
    shake(model, 0.2, special)
    images = coarse((1, 3, 32, 48), 1.0, 3)
    given = dict(images=images.permute(0, 2, 3, 1), visible=active[:, 0])
    record(name, model, dict(images=images), lambda answer: answer, config, keep, given)


GOLDENS = {"crossformer": crossformer, "rmt": rmt, "dhvt": dhvt, "spark": spark}

if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in sys.argv[2:] or GOLDENS:
        GOLDENS[chosen](chosen, Path(sys.argv[1]))
