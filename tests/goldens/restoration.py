"""Makes goldens of networks from an image to an image, with the authors' programs, of which nothing is kept here.

    oracle/bin/python -m tests.goldens.restoration FOLDER [name ...]

FOLDER holds hat/archs/hat_arch.py of github.com/XPixelGroup/HAT and scOT/model.py of github.com/camlab-ethz/poseidon.
The files are like those of make.py. Inputs and outputs are images [B H W C], and lead times [B] where there are any;
the only output is "pixels".
"""

import importlib.util
import pathlib
import re
import sys
import types

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.init import trunc_normal_

from tests.goldens.backbones import Reference
from tests.goldens.make import coarse, record, shake

ARCHS = ("basicsr", "basicsr.utils", "basicsr.utils.registry", "basicsr.archs", "basicsr.archs.arch_util")


SHORTER = {
    "continuous_position_bias_mlp": "bias", "attention.self": "attn", "layernorm": "norm", "intermediate": "up",
    "encoder.layers": "down", "decoder.layers": "back", "residual_blocks": "skip",
}  # fmt: skip


class Restores(Reference):
    """A model from images [B C H W] to images [B H W C]."""

    def __init__(self, model, call=lambda model, images: model(images)):
        super().__init__()
        self.model, self.call = model, call

    def save_pretrained(self, folder):
        """Under shorter names where a program's are long, since a file holds each twice."""
        short = {re.sub("|".join(SHORTER), lambda m: SHORTER[m[0]], n): p for n, p in self.named_parameters()}
        save_file({name: p.contiguous() for name, p in short.items()}, f"{folder}/model.safetensors")

    def forward(self, images, output_hidden_states, **given):
        return self.call(self.model, images, **given).permute(0, 2, 3, 1)


def module_of(path):
    """The module of a file."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(name, model, images, config, keep, special=(), **more):
    """The golden of a model of images to images.  more: further inputs."""
    shake(model, 0.2, special)
    given = dict(images=images.permute(0, 2, 3, 1), **more)
    record(name, model, dict(images=images, **more), lambda pixels: {"pixels": pixels}, config, keep, given)


def hat(name, folder):
    """HAT with two groups of two blocks, windows of 4 within keys of 6, images of 8 x 12 pixels of which it makes
    images twice as large. The mean of the pixels, which the program subtracts, is 0 for one channel. Its 64 channels at
    the end are 4 here, which keeps the file small.
    """
    # The program's file imports three names of a framework of its authors.
    for path in ARCHS:
        sys.modules[path] = types.ModuleType(path)
    sys.modules[ARCHS[2]].ARCH_REGISTRY = types.SimpleNamespace(register=lambda: lambda cls: cls)
    sys.modules[ARCHS[4]].to_2tuple = lambda x: x if isinstance(x, tuple) else (x, x)
    sys.modules[ARCHS[4]].trunc_normal_ = trunc_normal_
    config = dict(groups=2, layers=2, width=12, heads=2, hidden=4, inner=3, window=4, reach=1, factor=2, channels=1)
    config["features"] = 4
    program = module_of(f"{folder}/hat/archs/hat_arch.py")
    model = program.HAT(
        img_size=8, in_chans=1, embed_dim=12, depths=(2, 2), num_heads=(2, 2), window_size=4, compress_ratio=3,
        squeeze_factor=4, conv_scale=0.01, overlap_ratio=0.5, mlp_ratio=2, upscale=2, upsampler="pixelshuffle",
        drop_path_rate=0.0,
    )  # fmt: skip
    model.conv_before_upsample[0], model.conv_last = nn.Conv2d(12, 4, 3, 1, 1), nn.Conv2d(4, 1, 3, 1, 1)
    model.upsample = program.Upsample(2, 4)
    of_group = r"overlap_attn\.(q|p|rel).*(weight|table)|conv_block.*\.0|blocks\.1.*(qkv\.w|table)|conv\."
    keep = rf"layers\.1\..*({of_group})|_first|_last"
    write(name, Restores(model), coarse((2, 1, 8, 12), 1.0, 3), config, keep)


def poseidon(name, folder):
    """Poseidon's scOT with two stages, windows of 4 in grids of 8 and of 4, images of 16 x 16 pixels."""
    program = module_of(f"{folder}/scOT/model.py")

    class Attention(program.Swinv2Attention):
        """Attention as transformers 4.35 calls it, for which the program was written."""

        def forward(self, states, mask=None, head_mask=None, output_attentions=False):
            return super().forward(states, mask, output_attentions)

    program.Swinv2Attention = Attention
    config = dict(layers=[2, 1], width=8, heads=[2, 2], skips=[1, 0], patch=2, window=4, grid=8, channels=2)
    model = program.ScOT(
        program.ScOTConfig(
            image_size=16, patch_size=2, num_channels=2, num_out_channels=2, embed_dim=8, depths=[2, 1],
            num_heads=[2, 2], skip_connections=[1, 0], window_size=4, mlp_ratio=4.0, drop_path_rate=0.0,
            use_conditioning=True,
        )
    )  # fmt: skip
    model.get_head_mask = lambda mask, layers: [None] * layers

    def call(model, images, times):
        how = dict(output_attentions=False, output_hidden_states=False, return_dict=True)
        return model(images, time=times, **how).output

    # Biases that differ little between offsets have gradients that all but cancel, since weights of a softmax do.
    special = [(r"position_bias_mlp", 0.0, 0.5), (r"norm\S*\.weight\.bias$", 1.0, 0.3)]
    special.append((r"residual_blocks\S*\.\d+\.weight$", 0.7, 0.3))
    keep = r"back.1.blocks\.0\..*query\.w|recovery|skip.*dwconv\.b"
    times = coarse((2,), 1.0, 9)
    write(name, Restores(model, call), coarse((2, 2, 16, 16), 1.0, 3), config, keep, special, times=times)


GOLDENS = {"hat": hat, "poseidon": poseidon}

if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in sys.argv[2:] or GOLDENS:
        GOLDENS[chosen](chosen, sys.argv[1])
