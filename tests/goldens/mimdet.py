"""Makes the golden of MIMDet's backbone by its authors' program, which is not copied here.

    oracle/bin/pip install timm==1.0.31
    git clone https://github.com/hustvl/MIMDet CLONES/MIMDet  # commit fb0aaa1
    oracle/bin/python -m tests.goldens.mimdet CLONES

Images are normalised before. The features are those of all tokens, and in "sampled/…" of a half of them, whose numbers
are the input "numbers". Of detectron2, which the program imports, stand-ins are enough: a module's base class.
With a second argument, `count`, it prints how many parameters its two networks train.
"""

import functools
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

from tests.goldens.backbones import Reference
from tests.goldens.make import coarse, record, shake

SIZE, TABLE, RATIO = (32, 64), 48, 0.5
# width, layers, heads
NETWORKS = {"B": (768, 12, 12), "L": (1024, 24, 16)}


def model_of(clones, size, width, layers, heads, inner, depth, inner_heads):
    """The program's backbone, whose last argument, the share of tokens, is set before each use."""
    for module in ("detectron2", "detectron2.layers", "detectron2.modeling", "detectron2.utils", "timm.models.layers"):
        sys.modules[module] = mock.MagicMock()
    pair = types.SimpleNamespace(to_2tuple=lambda side: (side, side))
    sys.modules["timm.models.layers"] = pair
    sys.modules["detectron2.modeling.backbone"] = types.SimpleNamespace(Backbone=nn.Module)
    sys.modules["models"] = types.ModuleType("models")
    sys.modules["models"].__path__ = [str(clones / "MIMDet" / "models")]  # its other files need more of detectron2
    np.float = float  # which NumPy had when the program was written
    sys.path.insert(0, str(clones / "MIMDet"))
    from models.mimdet import MIMDetBackbone, MIMDetDecoder, MIMDetEncoder

    encoder = MIMDetEncoder(size, 16, 3, width, layers, heads, norm_layer=functools.partial(nn.LayerNorm, eps=1e-5))
    decoder = MIMDetDecoder(size, 16, width, inner, depth, inner_heads)
    return MIMDetBackbone(encoder, decoder, 1.0, 32)


class Model(Reference):
    """The program's backbone of all tokens, and of those that have the least noise."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        for p in model.parameters():
            p.requires_grad = True

    def forward(self, images, noise, output_hidden_states):
        given = types.SimpleNamespace(tensor=images, image_sizes=[SIZE] * len(images))
        found = {}
        for prefix, ratio in (("", 1.0), ("sampled/", RATIO)):
            self.model.sample_ratio = ratio
            with mock.patch("torch.rand", return_value=noise):
                found |= {f"{prefix}{name}": one for name, one in self.model(given).items()}
        return {
            name: one.permute(0, 2, 3, 1) for name, one in found.items() if name not in ("sampled/c2", "sampled/c3")
        }


def main(clones):
    config = dict(size=TABLE, width=16, layers=2, heads=2, inner=12, depth=1, inner_heads=2)
    model = Model(model_of(clones, **config))
    special = [(r"proj\.\d\.1\.weight", 1.0, 0.3), (r"proj\.\d\.\d\.bias", 0.0, 0.2)]
    shake(model, 0.15, special)
    images, tokens = coarse((2, 3, *SIZE), 1.0, 3), SIZE[0] * SIZE[1] // 256
    noise = torch.rand((2, tokens), generator=torch.Generator().manual_seed(5))
    numbers = noise.argsort(1)[:, : int(tokens * RATIO)].sort(1).values
    given = dict(images=images.permute(0, 2, 3, 1), numbers=numbers)
    keep = r"(?<!qkv)\.bias|proj\.0|norm|pos_embed|conv_feat_proj|blocks\.\d\.attn\.proj"
    record(
        "mimdet", model, dict(images=images, noise=noise), lambda found: found, config | dict(ratio=RATIO), keep, given
    )


def count(clones):
    for name, network in NETWORKS.items():
        model = model_of(clones, 224, *network, 512, 4, 16)
        print(name, sum(p.numel() for p in model.parameters() if p.requires_grad))


if __name__ == "__main__":
    (count if sys.argv[2:] == ["count"] else main)(Path(sys.argv[1]))
