"""How parameters start: the mean and the deviation of each leaf, declared once more beside EXAMPLES.

A rule is a regex on slot/kind/path and (mean, deviation), numbers or a function of the part and the leaf's shape; the
first rule that is found in the path holds. A parameter that no rule matches fails.
"""

import math

import numpy as np


def fan_in(*axes: int, times: float = 1.0):
    """Mean 0 and variance `times` over the number of inputs, which lie along these axes."""
    return lambda part, shape: (0.0, math.sqrt(times / math.prod(shape[axis] for axis in axes)))


def of(values):
    """The mean and deviation of equally likely numbers."""
    return float(values.mean()), float(values.std())


SHARE = (np.arange(100_000) + 0.5) / 100_000  # a uniform variable
# Of a leading token, and of 3 rows and 4 columns with 4 frequencies each.
SINES = np.array(
    [0.0] * 16
    + [
        wave(place / 10_000 ** (i / 4))
        for cell in np.ndindex(3, 4) for place in cell for wave in (np.sin, np.cos) for i in range(4)
    ]
)  # fmt: skip
SMALL, ONES, ZEROS = (0.0, 0.02), (1.0, 0.0), (0.0, 0.0)

STARTS = (
    (r"/(key|distance|type)_bias$", SMALL),
    (r"/dt_bias$", of(np.log(np.expm1(1e-3 * 100**SHARE)))),  # the inverse softplus of a log-uniform step
    (r"/a_log$", of(np.log(1 + 15 * SHARE))),
    (r"^position/learned_grid/table$", lambda part, shape: SMALL if part.start == "normal" else of(SINES)),
    (r"^embed/clicked/clicks/kernel$", ZEROS),
    (r"bias$|/(sink|shift|gain)$", ZEROS),
    (r"^residual/scaled/scale$", lambda part, shape: (part.gate, 0.0)),
    (r"^norm/((fixed_)?batchnorm|progressive/batch)/mean$|/mbconv/\w+_norm/mean$", ZEROS),
    (r"/mbconv/\w+_norm/variance$", ONES),
    (r"^head/unet_pixels/(in|out)_\d/norm/mean$", ZEROS),
    (r"^head/unet_pixels/(in|out)_\d/norm/variance$", ONES),
    (r"^position/grid_distances/table$", ZEROS),
    (r"^norm/((fixed_)?batchnorm|progressive/batch)/variance$|^norm/progressive/(share|skip)$", ONES),
    (r"^pool/class_attention/(attention|ffn)_scale$", lambda part, shape: (part.start, 0.0)),
    (r"^stem/(convs|linear_convs|residual_convs|max_pooled/stem)/conv_\d+/kernel$", fan_in(0, 1, 2)),
    (r"^(stem|down)/cross_scale/.*kernel$|^stem/normed/stem/conv(_\d+)?/kernel$", fan_in(0, 1, 2)),
    (r"^mixer/(conv_gate|relu_attention)/conv/kernel$|^mixer/focal_modulation/conv_\d+/kernel$", fan_in(0, 1)),
    (r"^ffn/token_boosting/deviation$", lambda part, shape: (part.noise, 0.0)),
    (r"^norm/affine/scale$", lambda part, shape: (part.start, 0.0)),
    (r"/scale$|/d$|/temperature$", ONES),
    (
        r"/(embedding|table|cls|memory|registers|mask|question|queries|types|depth|point|space|time)$|^mixer/nystrom/conv$"
        r"|^head/prototypes/directions$",
        SMALL,
    ),
    (r"^pool/attention/query$", (0.0, 1.0)),
    (r"^mixer/(mamba2|bidirectional)/.*kernel$", fan_in(0, times=1 / 3)),  # PyTorch's uniform start
    (r"^residual/convolved/conv/kernel$|/o/kernel$", fan_in(0, 1)),
    (r"^ffn/grouped_mlp/", fan_in(1)),
    (r"^(down/strided_conv|down/block_aggregation|stem/conv|mixer/reduced/down|head/.*)/conv/kernel$", fan_in(0, 1, 2)),
    (r"^(mixer/channel_attention|head/(upsampled|patch_recovery))/conv(_\w+)?/kernel$", fan_in(0, 1, 2)),
    (r"^head/unet_pixels/up_\d/kernel$", fan_in(0, 1, 2)),
    (r"^down/residual_reduction/conv/kernel$|^stem/residual_convs/patch/kernel$", fan_in(0, 1, 2)),
    (r"^(stem/max_pooled/stem|mixer/conv|down/(bottleneck|positioned|activated)/.*)/conv/kernel$", fan_in(0, 1, 2)),
    (r"^mixer/state_space_2d/(transition|input)$", (0.0, 0.2)),
    (r"^mixer/state_space_2d/(output|skip)$", (0.0, 1.0)),
    (r"^mixer/fused_mbconv/conv/kernel$", fan_in(0, 1, 2)),
    (r"^mixer/wavemix/level_\d/kernel$", fan_in(0, 1, 2)),
    (r"^head/widening_pyramid/halve_3_0/kernel$", fan_in(0, 1, 2)),
    (r"^head/fused/level_\d+/kernel$|^down/bottleneck/shortcut/kernel$", fan_in(0, 1, 2)),
    (r"/conv/kernel$", fan_in(0, 1)),
    (r"/similarity$", lambda part, shape: (0.0, 1 / math.sqrt((math.isqrt(8 * shape[1] + 1) - 1) // 2))),
    (r"/dictionary$|^ffn/linear_map/kernel$", fan_in(0, times=2.0)),
    (r"^stem/tokens_to_token/.*features$", lambda part, shape: (0.0, math.sqrt(shape[0] / shape[1]))),
    (r"/logit_scale$", (math.log(10), 0.0)),
    (r"/kernel$", fan_in(0)),
)
