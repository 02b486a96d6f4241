"""Makes goldens of backbones of images that transformers does not have: of timm, or written here from the paper.

    oracle/bin/pip install timm==1.0.31
    oracle/bin/python -m tests.goldens.backbones [name ...]

The files are like those of make.py. Inputs are images [B H W C]; the only output is "logits".
That of ViT-ResNAS needs its authors' program, in the folder VIT_SEARCH.
"""

import math
import os
import sys
from functools import partial

import timm
import torch
from safetensors.torch import save_file
from timm.models._efficientnet_blocks import EdgeResidual, SqueezeExcite
from timm.models.vision_transformer_relpos import RelPosBlock
from torch import nn
from torch.nn import functional as F

from tests.goldens.make import coarse, record, shake


class Reference(nn.Module):
    """A model of images [B C H W] as `record` runs and saves it."""

    def forward(self, images, output_hidden_states):
        return self.logits(images)

    def save_pretrained(self, folder):
        save_file({name: p.contiguous() for name, p in self.named_parameters()}, f"{folder}/model.safetensors")


class Wrapped(Reference):
    """A model of timm."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def logits(self, images):
        return self.model(images)


def write(name, model, size, config, keep, scale=0.2, special=()):
    """The golden of a model for two images of that size (height, width)."""
    shake(model, scale, special)
    images = coarse((2, 3, *size), 1.0, 3)
    given = dict(images=images.permute(0, 2, 3, 1))
    record(name, model, dict(images=images), lambda logits: {"logits": logits}, config, keep, given)


class TokenLayer(nn.Module):
    """A layer of the tokens-to-token stem; the features of its Performer are not trained but saved."""

    def __init__(self, inside, width, performs):
        super().__init__()
        self.norm_in, self.norm_out = nn.LayerNorm(inside), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(inside, width, bias=performs) for _ in "qkv")
        self.proj, self.fc1, self.fc2 = (nn.Linear(width, width) for _ in range(3))
        self.scale = inside**-0.5
        self.features = nn.Parameter(torch.zeros(width // 2, width)) if performs else None

    def kernel(self, x):
        w = self.features
        return torch.exp(x @ w.T - x.square().sum(-1, keepdim=True) / 2) / math.sqrt(len(w))

    def forward(self, x):
        x = self.norm_in(x)
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.features is None:
            y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        else:
            weights = self.kernel(q) @ self.kernel(k).transpose(1, 2)
            y = weights @ v / (weights.sum(-1, keepdim=True) + 1e-8)
        h = v + self.proj(y)
        return h + self.fc2(F.gelu(self.fc1(self.norm_out(h))))


class Block(nn.Module):
    """A pre-norm layer of a vision transformer, whose queries, keys and values have no bias."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in "qkv")
        self.proj, self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class T2T(Reference):
    """T2T-ViT (Yuan et al. 2021), with sines and cosines interleaved as in the authors' files."""

    def __init__(self, layers, width, heads, ratio, splits, inner, encoder, classes):
        super().__init__()
        self.splits, self.width = splits, width
        inside = [3 * splits[0][0] ** 2, *(inner * size**2 for size, _, _ in splits[1:])]
        self.stem = nn.ModuleList(TokenLayer(n, inner, encoder == "performer") for n in inside[:-1])
        self.project = nn.Linear(inside[-1], width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, ratio * width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def logits(self, images):
        x = images
        for i, (size, stride, margin) in enumerate(self.splits):
            height, width = ((side + 2 * margin - size) // stride + 1 for side in x.shape[2:])
            x = F.unfold(x, size, stride=stride, padding=margin).transpose(1, 2)
            if i < len(self.stem):
                x = self.stem[i](x).transpose(1, 2).unflatten(2, (height, width))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.project(x)], dim=1)
        frequency = 10_000.0 ** (-torch.arange(0, self.width, 2, dtype=torch.float64) / self.width)
        angle = torch.arange(x.shape[1])[:, None] * frequency
        x = x + torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def t2t(name, encoder):
    """Images that are not square, whose last row of pixels is in no tile of the second step."""
    config = dict(
        layers=2, width=24, heads=3, ratio=2, splits=[[5, 2, 2], [3, 2, 1], [3, 1, 1]], inner=8, encoder=encoder,
        classes=5,
    )  # fmt: skip
    model = T2T(**config)
    special = [(r"stem\S*(q|k)\.weight", 0.0, 0.05), (r"features", 0.0, 0.7)]
    write(name, model, (12, 17), config, r"cls_token|project|stem\.0\.(norm|v|fc)|stem\.1\.q|head", special=special)


def tnt(name):
    """timm's Transformer in Transformer, whose patches of 6 x 6 pixels have nine words each."""
    config = dict(layers=2, width=20, heads=2, inner_width=8, inner_heads=2, patch=6, tile=[7, 2, 3], grid=2, classes=5)
    model = timm.models.tnt.TNT(
        img_size=12, patch_size=6, num_classes=5, embed_dim=20, inner_dim=8, depth=2, num_heads_inner=2,
        num_heads_outer=2, first_stride=2,
    )  # fmt: skip
    keep = r"cls_token|_pos|pixel_embed|norm1_proj|blocks\.0\.(proj|attn_in\.qk)|head"
    write(name, Wrapped(model), (12, 12), config, keep, special=[(r"pixel_embed\.proj\.weight", 0.0, 0.1)])


class CrateLayer(nn.Module):
    """Multi-head subspace self-attention and a step of ISTA, as the paper's equations have them."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.subspaces, self.back = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.dictionary = nn.Parameter(torch.zeros(width, width))

    def forward(self, x):
        u = self.subspaces(self.norm1(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        x = x + self.back(F.scaled_dot_product_attention(u, u, u).transpose(1, 2).flatten(2))
        z, D = self.norm2(x), self.dictionary
        step = torch.einsum("ij,bti->btj", D, z) - torch.einsum("ij,ik,btk->btj", D, D, z) - 0.1
        return F.relu(z + 0.1 * step)


class Crate(Reference):
    """CRATE (Yu et al. 2023)."""

    def __init__(self, layers, width, heads, patch, size, classes):
        super().__init__()
        self.patch, tile = patch, 3 * patch**2
        self.stem_in_norm, self.stem, self.stem_out_norm = (
            nn.LayerNorm(tile),
            nn.Linear(tile, width),
            nn.LayerNorm(width),
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros((size // patch) ** 2 + 1, width))
        self.layers = nn.ModuleList(CrateLayer(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def logits(self, images):
        x = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        x = self.stem_out_norm(self.stem(self.stem_in_norm(x)))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


def crate(name):
    config = dict(layers=2, width=24, heads=3, patch=4, size=12, classes=5)
    write(name, Crate(**config), (12, 12), config, r"stem|cls_token|layers\.0\.(subspaces|dictionary)|head")


def parallel(name):
    """timm's ViT with two attentions side by side, and two MLPs."""
    config = dict(layers=2, width=20, heads=2, patch=4, size=12, classes=5)
    model = timm.models.VisionTransformer(
        img_size=12, patch_size=4, embed_dim=20, depth=2, num_heads=2, num_classes=5, init_values=1e-5,
        block_fn=timm.models.vision_transformer.ParallelThingsBlock,
    )  # fmt: skip
    special = [(r"gamma", 0.7, 0.3), (r"patch_embed", 0.0, 0.1)]
    write(name, Wrapped(model), (12, 12), config, r"gamma|blocks\.0\.attns\.1\.attn\.proj|head", special=special)


def nest(name):
    """timm's NesT with the edges of the authors' program: four blocks of 3 x 3, then one."""
    config = dict(layers=[2, 1], widths=[8, 12], heads=[2, 3], patch=2, grid=6, classes=5)
    model = timm.models.nest.Nest(
        img_size=12, patch_size=2, num_levels=2, embed_dims=(8, 12), num_heads=(2, 3), depths=(2, 1), num_classes=5,
        pad_type="same", drop_path_rate=0.0,
    )  # fmt: skip
    write(name, Wrapped(model), (12, 12), config, r"pos_embed|pool|head", special=[(r"patch_embed", 0.0, 0.1)])


class GatedConv(nn.Module):
    """PatchConvNet's layer: two linear maps, a convolution of each channel, squeeze and excitation."""

    def __init__(self, width, gate):
        super().__init__()
        self.norm, self.gamma = nn.LayerNorm(width, eps=1e-6), nn.Parameter(torch.zeros(width))
        self.first, self.last = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.squeeze, self.excite = nn.Conv2d(width, gate, 1), nn.Conv2d(gate, width, 1)

    def forward(self, x):
        h = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        h = F.gelu(self.conv(F.gelu(self.first(h))))
        h = h * self.excite(self.squeeze(h.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x + self.gamma[:, None, None] * self.last(h)


class PatchConvNet(Reference):
    """PatchConvNet (Touvron et al. 2021)."""

    def __init__(self, layers, width, strides, classes):
        super().__init__()
        widths = [3, *(width // 2**i for i in range(len(strides) - 1, -1, -1))]
        self.stem = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride, 1, bias=False)
            for a, b, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.layers = nn.ModuleList(GatedConv(width, width // 4) for _ in range(layers))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.gamma_1, self.gamma_2 = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.head = nn.Linear(width, classes)

    def logits(self, images):
        x = self.stem[0](images)
        for conv in self.stem[1:]:
            x = conv(F.gelu(x))
        for layer in self.layers:
            x = layer(x)
        c = self.cls_token.expand(len(x), -1, -1)
        u = self.norm1(torch.cat([c, x.flatten(2).transpose(1, 2)], dim=1))
        c = c + self.gamma_1 * self.proj(F.scaled_dot_product_attention(self.q(u[:, :1]), self.k(u), self.v(u)))
        c = c + self.gamma_2 * self.fc2(F.gelu(self.fc1(self.norm2(c))))
        return self.head(self.norm3(c)[:, 0])


def patch_convnet(name):
    config = dict(layers=2, width=16, strides=[1, 2], classes=5)
    keep = r"stem|gamma|cls_token|layers\.0\.(conv|squeeze|excite)|q\.|head"
    write(name, PatchConvNet(**config), (6, 10), config, keep, special=[(r"gamma", 0.7, 0.3)])


def mixer(name):
    """timm's MLP-Mixer, for an image that is not square."""
    config = dict(layers=2, width=16, tokens=8, channels=40, patch=4, classes=5)
    model = timm.models.mlp_mixer.MlpMixer(
        num_classes=5, img_size=(12, 20), patch_size=4, num_blocks=2, embed_dim=16, mlp_ratio=(0.5, 2.5)
    )
    special = [(r"stem\.proj\.weight", 0.0, 0.1)]
    write(name, Wrapped(model), (12, 20), config, r"blocks\.1\.mlp_tokens\.fc1|head", special=special)


def averages_saved(model):
    """The model, with the running averages of its batch norms as parameters without a gradient, which are saved."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name in ("running_mean", "running_var"):
                value = module._buffers.pop(name)
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return model


def lambda_resnet(name, size, *blocks):
    """A small ResNet of timm with lambda layers, of a size or with all offsets, for an image that is not square."""
    models, sides = timm.models.byobnet, (32, 48)
    kwargs = dict(num_heads=2, dim_head=4, r=size)
    widths = (32, 64)
    stages = tuple(
        [
            models.ByoBlockCfg(type=kind, d=1, c=c, s=2 if i and not j else 1, gs=0, br=0.25)
            for j, kind in enumerate(two)
        ]
        for i, (two, c) in enumerate(zip(blocks, widths, strict=True))
    )
    config = models.ByoModelCfg(
        blocks=stages, stem_chs=16, stem_type="tiered", stem_pool="maxpool", self_attn_layer="lambda",
        self_attn_kwargs=kwargs,
    )  # fmt: skip
    model = averages_saved(models.ByobNet(config, num_classes=5, img_size=sides))
    kinds = dict(bottle="conv", self_attn="lambda_layer")
    given = dict(
        stem=((6, 8, 16), 3), stages=[[kinds[kind] for kind in two] for two in blocks], size=size,
        bias=size is not None, widths=widths, heads=2, keys=4, image=sides, classes=5,
    )  # fmt: skip
    special = [
        (r"(bn|post_attn|norm_[qv])\.weight$", 1.0, 0.3),
        (r"running_var$", 2.0, 0.25),
        (r"stem.*conv.weight", 0.0, 0.6),
    ]
    keep = r"stages\.1\.\d\.(self_attn|post_attn|shortcut)|stem\.conv1|head"
    write(name, Wrapped(model), sides, given, keep, special=special)


def vit_resnas(name):
    """The authors' program, github.com/yilunliao/vit-search, in the folder VIT_SEARCH; four layers, of two stages."""
    sys.path.insert(0, os.environ["VIT_SEARCH"])
    torch.Tensor.cuda = lambda self: self  # the program puts one constant on a GPU
    from nets.vit_sr_supernet import FlexibleDistillVisionTransformerSR

    stages = [[12, [2, 3], 4, [20, 16]], [20, [2, 1], 8, [24, 28]]]
    layers = [
        [(1, (width, n, inside), (width, hidden), 1) for n, hidden in zip(heads, several, strict=True)]
        for width, heads, inside, several in stages
    ]
    spec = ((4, 12), *layers[0], (3, 12, 20), *layers[1], (2, 20, 5))
    model = FlexibleDistillVisionTransformerSR(img_size=56, num_classes=5, distill_token=False, network_def=spec)
    special = [(r"bn\.weight$", 1.0, 0.3), (r"running_var$", 2.0, 0.25), (r"conv_proj", 0.0, 0.05)]
    keep = r"blocks\.2|patch_embed\.conv1|cls_head"
    write(name, Wrapped(averages_saved(model)), (56, 56), dict(stages=stages, grid=4, classes=5), keep, special=special)


class Spread(nn.Sequential):
    """A level of WaveMix: an MLP and a transposed convolution, with a batch norm."""

    def __init__(self, inside, hidden, inner, width):
        spread = nn.ConvTranspose2d(inner, width, 4, stride=2, padding=1)
        super().__init__(
            nn.Conv2d(inside, hidden, 1), nn.GELU(), nn.Conv2d(hidden, inner, 1), spread, nn.BatchNorm2d(width)
        )


class WaveMix(Reference):
    """WaveMix (Jeevan et al. 2022), whose Haar transform is that of PyWavelets, as its matrices of filters."""

    def __init__(self, layers, width, levels, patch, classes):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 4, 3, padding=1), nn.Conv2d(width // 4, width // 2, 3, padding=1),
            nn.Conv2d(width // 2, width, patch, patch), nn.GELU(), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.reduce = nn.ModuleList(nn.Conv2d(width, width // 4, 1) for _ in range(layers))
        last = levels - 1
        self.levels = nn.ModuleList(
            nn.ModuleList(
                Spread(width + (i < last) * width // 2, 2 * width, width, width // 2 if i else width)
                for i in range(levels)
            )
            for _ in range(layers)
        )
        self.head = nn.Linear(width, classes)

    def logits(self, images):
        x = self.stem(images)
        for reduce, levels in zip(self.reduce, self.levels, strict=True):
            low, bands = reduce(x), []
            for _ in levels:
                low, high = haar(low)
                bands.append(torch.cat([low, high], dim=1))
            y = low[:, :0]
            for band, level in zip(bands[::-1], reversed(levels), strict=True):
                y = level(torch.cat([band, y], dim=1) if len(y[0]) else band)
            x = x + y
        return self.head(x.mean((2, 3)))


def haar(x):
    """The low band of each channel, and its three others side by side, from PyWavelets' filters of "db1"."""
    low, high = (torch.tensor(signs).to(x) / math.sqrt(2) for signs in ([1.0, 1.0], [1.0, -1.0]))
    filters = torch.stack([torch.outer(a, b) for a, b in ((low, low), (high, low), (low, high), (high, high))])
    C = x.shape[1]
    y = F.conv2d(x, filters[:, None].repeat(C, 1, 1, 1), stride=2, groups=C).unflatten(1, (C, 4))
    return y[:, :, 0], y[:, :, 1:].flatten(1, 2)


def wavemix(name):
    config = dict(layers=2, width=16, levels=2, patch=2, classes=5)
    special = [(r"(stem\.4|\.4)\.weight$", 1.0, 0.3), (r"running_var$", 2.0, 0.25)]
    keep = r"stem\.[04]|levels\.0\.1\.3|levels\.1\.0\.0|reduce\.1|head"
    write(name, averages_saved(WaveMix(**config)), (8, 16), config, keep, special=special)


class AsCAN(Reference):
    """Two stages, of timm's blocks: "CC" and "CT", the T with Swin's table of offsets."""

    def __init__(self, widths, size, head, classes):
        super().__init__()
        first, second = widths

        def conv(inside, width, stride):
            return timm.layers.ConvNormAct(inside, width, 3, stride=stride, act_layer=nn.SiLU)

        def edge(width):
            gate = partial(SqueezeExcite, rd_channels=width // 4)
            return EdgeResidual(width, width, exp_ratio=4, act_layer=nn.SiLU, se_layer=gate)

        table = partial(timm.layers.RelPosBias, window_size=(size // 4, size // 4))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.stem = nn.Sequential(conv(3, first, 2), conv(first, first, 1))
        self.stem[1].bn.act = nn.Identity()
        self.first = nn.Sequential(edge(first), edge(first))
        self.down, self.edge = timm.layers.ConvNormAct(first, second, 3, stride=2, apply_act=False), edge(second)
        self.attend = RelPosBlock(second, second // head, qkv_bias=True, rel_pos_cls=table, norm_layer=norm)
        self.norm, self.head = norm(second), nn.Linear(second, classes)

    def logits(self, images):
        x = self.edge(self.down(self.first(self.stem(images))))
        x = self.attend(x.flatten(2).transpose(1, 2))
        return self.head(self.norm(x.mean(1)))


def ascan(name):
    config = dict(widths=(8, 16), size=16, head=8, classes=5)
    special = [(r"bn\d?\.weight$", 1.0, 0.3), (r"running_var$", 2.0, 0.25)]
    keep = r"^stem|first\.1\.(se|bn)|edge\.conv_pwl|table|qkv\.weight|head"
    write(name, averages_saved(AsCAN(**config)), (16, 16), config, keep, special=special)


GOLDENS = {
    "ascan": ascan,
    "vit_resnas": vit_resnas,
    "wavemix": wavemix,
    "lambda_resnet": lambda name: lambda_resnet(name, 3, ("bottle", "self_attn"), ("self_attn", "self_attn")),
    "lambda_resnet_all": lambda name: lambda_resnet(name, None, ("bottle", "bottle"), ("bottle", "self_attn")),
    "nest": nest,
    "mixer": mixer,
    "patch_convnet": patch_convnet,
    "crate": crate,
    "parallel_vit": parallel,
    "t2t_performer": lambda name: t2t(name, "performer"),
    "tnt": tnt,
    "t2t_transformer": lambda name: t2t(name, "transformer"),
}

if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in sys.argv[1:] or GOLDENS:
        GOLDENS[chosen](chosen)
