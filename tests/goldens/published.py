"""Makes goldens of backbones of images by their authors' own programs, which are not copied here.

    oracle/bin/pip install timm==1.0.31
    git clone https://github.com/cheerss/CrossFormer CLONES/CrossFormer  # commit 7952010
    oracle/bin/python -m tests.goldens.published CLONES [name ...]

The files are like those of backbones.py.
"""

import sys
from pathlib import Path

import torch

from tests.goldens.backbones import Wrapped, write


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


GOLDENS = {"crossformer": crossformer}

if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in sys.argv[2:] or GOLDENS:
        GOLDENS[chosen](chosen, Path(sys.argv[1]))
