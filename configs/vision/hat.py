"""HAT: super-resolution by windowed attention with channel attention beside it, and attention to larger windows.

Chen, Wang, Zhou, Qiao, Dong, "Activating More Pixels in Image Super-Resolution Transformer", 2023.

Reproduced: the networks HAT-S, HAT and HAT-L of sections 3 and 4.1 for images two, three and four times as large,
parameter for parameter, and the training from scratch of the authors' option files: 500,000 steps of 32 images of
64 x 64 pixels, Adam, the mean absolute error, a moving average of the weights. Different from the program: small images
are made on the device and not rounded to 8 bits; images are flipped left and right, but not turned; the rate falls
along a cosine in place of five steps; a hundredth of the images is held out; stochastic depth drops channel attention
with the attention beside it, and grows from group to group. Left out: pre-training on ImageNet.
DF2K is a folder whose folders hold images of 480 x 480 pixels, such as DF2K_HR_sub.
Command: xfm train configs/vision/hat.py:HAT_x2 --workdir runs/hat --config.data.path=DF2K
Cost: 500,000 steps.  Result: not run at scale.
`tiny` is for two CPU cores: scikit-learn's digits from 4 x 4 to 8 x 8 pixels. Result of the tiny run: 16.9 dB on the
digits held out, where bicubic enlargement has 13.2 dB; a mean absolute error of 0.099 and 0.176.
"""

from ml_collections import ConfigDict

PAPER = "Chen et al. 2023, Activating More Pixels in Image Super-Resolution Transformer"
ORACLE = "the authors' program with copied weights (golden, images and gradients) and its parameter counts"
MARGIN = 0.02  # of the mean absolute error of pixels in [0, 1]

# groups, layers of each, width, heads, hidden channels of channel attention, width of its gate
SIZES = {
    "HAT_S": (6, 6, 144, 6, 6, 6),
    "HAT": (6, 6, 180, 6, 60, 6),
    "HAT_L": (12, 6, 180, 6, 60, 6),
}
FACTORS = (2, 3, 4)
VARIANTS = ("tiny", *(f"{size}_x{factor}" for size in SIZES for factor in FACTORS))
# As counted by the authors' program; it prints 9.6 and 20.8 million for HAT-S and HAT and a factor of 4.
PARAMETERS = {
    "HAT_S_x2": 9_473_471, "HAT_S_x3": 9_658_111, "HAT_S_x4": 9_621_183,
    "HAT_x2": 20_624_795, "HAT_x3": 20_809_435, "HAT_x4": 20_772_507,
    "HAT_L_x2": 40_698_863, "HAT_L_x3": 40_883_503, "HAT_L_x4": 40_846_575,
}  # fmt: skip
RGB = dict(mean=(0.4488, 0.4371, 0.4040), std=1.0)  # of DIV2K, as the program subtracts it


def network(groups, layers, width, heads, hidden, inner, window, reach, factor, channels=3, features=64, drop_path=0.0):
    """The spec of the network: residual groups, one period each, between two convolutions.

    layers: hybrid attention blocks of a group, of which every second one's windows are shifted by half their size.
    hidden, inner: of channel attention.  reach: of the larger windows.  features: width of the maps that are enlarged.
    """
    norm, plain = dict(kind="layernorm", eps=1e-5), dict(kind="plain", drop_path=drop_path)
    mlp = dict(kind="mlp", hidden=2 * width)
    channel = dict(kind="channel_attention", hidden=hidden, inner=inner, scale=0.01)

    def block(shift):
        mixer = dict(kind="attention", heads=heads, position=dict(kind="relative_grid", size=window))
        windowed = dict(kind="windowed", mixer=mixer, window=window, shift=shift, fit="square")
        return [dict(part=[windowed, channel], residual=plain, label="hybrid"), dict(part=mlp, residual=plain)]

    group = [part for i in range(layers) for part in block(window // 2 if i % 2 else 0)]
    group += [dict(kind="overlapping", heads=heads, window=window, reach=reach), mlp]
    group.append(dict(part=dict(kind="conv", bias=True), norms={}, residual=dict(kind="long")))
    stem = dict(kind="conv", stride=1, size=3, margin=1)
    return dict(
        kind="stack",
        embed=dict(kind="patches", stem=stem, width=width, cls=0, channels=channels),
        prologue=[dict(part=dict(kind="identity"), residual=dict(kind="scaled", skip=0.0))],  # the patches' norm
        pattern=group,
        repeats=groups,
        epilogue=[dict(part=dict(kind="conv", bias=True), residual=dict(kind="long", start="embedded"))],
        norms={"in": norm},
        heads=dict(pixels=dict(kind="upsampled", factor=factor, channels=channels, width=features)),
    )


def get_config(arg="HAT_x2"):
    c = ConfigDict()
    size, _, factor = ("HAT", "_x", 2) if arg == "tiny" else arg.rpartition("_x")
    factor = int(factor)
    c.model = network(*SIZES[size], window=16, reach=4, factor=factor, drop_path=0.1)
    c.objective = dict(kind="image_to_image", given=dict(kind="reduced", factor=factor))
    c.evals = [dict(kind="image_quality", given=dict(kind="reduced", factor=factor), border=factor, **RGB)]
    c.evals[0]["of"] = "luminance"
    side = 64 * factor
    c.data = dict(kind="images", path="df2k", size=480, validation=0.01, **RGB)
    c.augment = dict(ops=[dict(kind="window", size=side), dict(kind="flip")])
    c.init = [(r"(hybrid_\d+/part_0|mlp_\d+|overlapping_\d+)/.*kernel$", dict(kind="truncated_normal", std=0.02))]
    c.batch, c.steps, c.clip, c.ema = 32, 500_000, None, 0.999
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0)
    c.schedule = dict(kind="cosine", peak=2e-4, warmup=0)
    c.log_every, c.eval_every, c.save_every = 100, 20_000, 20_000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(2, 1, 32, 4, 16, 8, window=2, reach=1, factor=2, channels=1, features=16)
    c.data, c.augment, c.init = dict(kind="images", size=8, mean=0.0, std=1.0, validation=0.2), None, ()
    c.evals = [dict(kind="image_quality", given=dict(kind="reduced", factor=2), mean=0.0, std=1.0)]
    c.batch, c.steps, c.ema = 32, 200, None
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
