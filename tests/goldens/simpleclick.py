"""Makes the golden of SimpleClick by its authors' program, which is not copied here.

    oracle/bin/pip install timm==1.0.31
    git clone https://github.com/uncbiag/SimpleClick CLONES/SimpleClick  # commit f33112e
    oracle/bin/python -m tests.goldens.simpleclick CLONES

Images are normalised before; "images" and "mask" are saved at an eighth of their size. The clicks are those of xfm,
(row, column, sign). The logits have the image's size, and every sixteenth row and column of them is an output. Of mmcv,
which the program imports, stand-ins are enough: a module's base class, and a convolution followed by a rectifier.
With "count" instead of CLONES' golden, the parameters that its four networks use are counted.
"""

import sys
import types
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from tests.goldens.backbones import Reference
from tests.goldens.make import coarse, record, shake

SIZE, SMALLER, OUT = (224, 448), 8, 16
# width, layers, heads, patch, widths of the maps, width of the head
NETWORKS = {
    "xT": (160, 8, 4, 16, (96, 192, 288, 384), 128),
    "B": (768, 12, 12, 16, (128, 256, 512, 1024), 256),
    "L": (1024, 24, 16, 16, (192, 384, 768, 1536), 256),
    "H": (1280, 32, 16, 14, (240, 480, 960, 1920), 256),
}


class BaseModule(nn.Module):
    def __init__(self, init_cfg=None):
        super().__init__()


class ConvModule(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, norm_cfg=None, act_cfg=None):
        super().__init__()
        assert norm_cfg is None
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x):
        return torch.relu(self.conv(x))


def decorator(*args, **kwargs):
    return lambda function: function


def model_of(clones, size, width, layers, heads, patch, widths, inside):
    """The program's model, without the parameters that it makes and does not use."""
    for module in ("mmcv", "mmcv.cnn.bricks.registry", "mmcv.utils", "mmcv.runner.base_module", "timm.models.layers"):
        sys.modules[module] = mock.MagicMock(BaseModule=BaseModule)
    sys.modules["mmcv.cnn"] = mock.MagicMock(ConvModule=ConvModule)
    sys.modules["mmcv.runner"] = types.SimpleNamespace(
        BaseModule=BaseModule, auto_fp16=decorator, force_fp32=decorator, OptimizerHook=object
    )
    for name in ("swin_transformer_helper", *(f"swin_transformer_helper.{a}" for a in ("checkpoint", "logger"))):
        sys.modules[f"isegm.model.modeling.{name}"] = mock.MagicMock()
    register = mock.MagicMock(BACKBONES=mock.MagicMock(register_module=decorator))
    sys.modules["isegm.model.modeling.swin_transformer_helper.builder"] = register
    sys.modules["isegm.model.modeling.transformer_helper.cross_entropy_loss"] = mock.MagicMock()
    sys.path.insert(0, str(clones / "SimpleClick"))
    from isegm.model.is_plainvit_model import PlainVitModel

    model = PlainVitModel(
        use_disks=True, norm_radius=5, with_prev_mask=True, norm_mean_std=([0.0] * 3, [1.0] * 3),
        backbone_params=dict(
            img_size=size, patch_size=(patch, patch), embed_dim=width, depth=layers, num_heads=heads, qkv_bias=True
        ),
        neck_params=dict(in_dim=width, out_dims=list(widths)),
        head_params=dict(
            in_channels=list(widths), in_index=[0, 1, 2, 3], num_classes=1, loss_decode=None, align_corners=False,
            upsample="x1", channels=inside,
        ),
    )  # fmt: skip
    del model.backbone.cls_token, model.backbone.fc_norm, model.backbone.head, model.head.up_conv1, model.head.up_conv2
    model.backbone.pos_embed = nn.Parameter(model.backbone.pos_embed.detach())
    return model


class Model(Reference):
    """The program's model of images at an eighth of their size, the last mask likewise, and clicks."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images, mask, clicks, output_hidden_states):
        whole = torch.cat([images, mask], 1).repeat_interleave(SMALLER, 2).repeat_interleave(SMALLER, 3)
        there = [torch.where((clicks[..., 2:] == sign), clicks, -1) for sign in (1, -1)]
        return self.model(whole, torch.cat(there, 1).float())["instances"][:, 0, ::OUT, ::OUT]


def main(clones):
    config = dict(layers=8, width=8, heads=2, patch=16, size=SIZE, widths=(4, 5, 8, 28), inside=10)
    model = Model(model_of(clones, **config))
    special = [
        (r"neck\.down_(4\.[146]|8\.[13]|16\.1|32\.[13])\.weight", 1.0, 0.3),
        (r"(neck|head)\S*weight", 0.0, 0.5),
        (r"patch_embed\S*\.weight", 0.0, 0.04),
    ]
    shake(model, 0.2, special)
    sides = tuple(side // SMALLER for side in SIZE)
    images, mask = coarse((2, 3, *sides), 1.0, 3), coarse((2, 1, *sides), 1.0, 4).clip(0, 1)
    clicks = torch.tensor([[[10, 20, 1], [200, 400, -1], [100, 3, 1]], [[223, 447, 1], [0, 0, 0], [60, 300, -1]]])
    given = dict(images=images.permute(0, 2, 3, 1), mask=mask[:, 0], clicks=clicks)
    keep = r"proj\.bias|neck\.down_\d+\.\d\.bias|down_4|blocks\.[34]\.(norm1|attn\.(qkv\.weight|proj))|conv_seg"
    inputs = dict(images=images, mask=mask, clicks=clicks)
    record("simpleclick", model, inputs, lambda logits: {"logits": logits}, config, keep, given)


def count(clones):
    for name, network in NETWORKS.items():
        with torch.device("meta"):
            model = model_of(clones, (448, 448), *network)
        print(name, sum(p.numel() for p in model.parameters()) - network[0], "without the position of a class token")


if __name__ == "__main__":
    (count if sys.argv[2:] == ["count"] else main)(Path(sys.argv[1]))
