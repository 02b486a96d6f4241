"""Networks from an image to an image, as their configs build them, against goldens of the authors' programs.

Takes fifteen seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np

import xfm
from tests.parity.golden import close, heads_in, heads_out, load, place, same, transposed
from tests.parity.test_backbones import dense, norm, thirds
from xfm.configs.vision import hat, poseidon
from xfm.initial import initial_shapes


def equal(name, spec, rules):
    """The network of `spec` on the golden's weights gives its images and gradients; rules as in golden.py."""
    golden, model = load(name), xfm.build(spec)
    batch = {key: jnp.asarray(value) for key, value in golden.of("input/").items() if not key.startswith("cotangent")}
    params = place(golden.of("weight/"), initial_shapes(model, batch)["params"], rules)

    def loss(params):
        pixels = model.apply({"params": params}, batch)["pixels"]
        return jnp.sum(pixels * golden["input/cotangent/pixels"]), pixels

    gradients, pixels = jax.jit(jax.grad(loss, has_aux=True))(params)
    close(pixels, golden["output/pixels"], "pixels")
    golden.check_gradients(gradients, rules)


def conv(there, here):
    """A convolution."""
    return [
        (rf"{there}\.weight", f"{here}/kernel", lambda a: a.transpose(2, 3, 1, 0)),
        (rf"{there}\.bias", f"{here}/bias", same),
    ]


def joined(there, here, heads):
    """A map of q, k and v, one after the other."""
    return [
        (rf"{there}\.weight", " ".join(f"{here}/{a}/kernel" for a in "qkv"), thirds(heads_out(heads))),
        (rf"{there}\.bias", " ".join(f"{here}/{a}/bias" for a in "qkv"), thirds(heads_out(heads))),
    ]


def offsets_of_queries(side, reach):
    """The table of overlapping attention: there by the offset key - query + 1 - 2 reach, row by row from (0, 0) on,
    negative ones counted from the end.
    """
    count = 2 * (side + reach) - 1
    there = 1 - reach - (np.arange(count) - count // 2)
    return lambda a: a[(there[:, None] * count + there[None]) % count**2]


def hat_rules(c):
    heads, window, pixel = c["heads"], c["window"], lambda a: a[:, :, 0, 0].T
    group, layers = r"model\.layers\.(\d+)\.residual_group\.", "layers"
    found = [
        *conv(r"model\.conv_first", "embed/stem/conv"),
        *norm(r"model\.patch_embed\.norm", "prologue/identity_0/in_norm"),
        *norm(r"model\.norm", "epilogue/conv_0/in_norm"),
        *conv(r"model\.conv_after_body", "epilogue/conv_0/part/conv"),
        *conv(r"model\.conv_before_upsample\.0", "head_pixels/conv_in"),
        *conv(r"model\.upsample\.0", "head_pixels/conv_0"),
        *conv(r"model\.conv_last", "head_pixels/conv_out"),
    ]
    for i in range(c["layers"]):
        there, block, mlp = rf"{group}blocks\.{i}\.", f"{layers}/hybrid_{2 * i}", f"{layers}/mlp_{2 * i + 1}"
        mixer, channel = f"{block}/part_0/mixer", f"{block}/part_1"
        found += [
            *norm(there + "norm1", f"{block}/in_norm"),
            *joined(there + r"attn\.qkv", mixer, heads),
            *dense(there + r"attn\.proj", f"{mixer}/o", heads_in(heads)),
            (
                there + r"attn\.relative_position_bias_table",
                f"{mixer}/position/table",
                lambda a: a.reshape(2 * window - 1, 2 * window - 1, -1),
            ),
            *conv(there + r"conv_block\.cab\.0", f"{channel}/conv_in"),
            *conv(there + r"conv_block\.cab\.2", f"{channel}/conv_out"),
            *dense(there + r"conv_block\.cab\.3\.attention\.1", f"{channel}/squeeze", pixel),
            *dense(there + r"conv_block\.cab\.3\.attention\.3", f"{channel}/excite", pixel),
            *norm(there + "norm2", f"{mlp}/in_norm"),
            *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
            *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
        ]
    there, at = rf"{group}overlap_attn\.", 2 * c["layers"]
    mixer, mlp = f"{layers}/overlapping_{at}", f"{layers}/mlp_{at + 1}"
    table = offsets_of_queries(window, c["reach"])
    return [
        *found,
        *norm(there + "norm1", f"{mixer}/in_norm"),
        *joined(there + "qkv", f"{mixer}/part", heads),
        *dense(there + "proj", f"{mixer}/part/o", heads_in(heads)),
        (there + "relative_position_bias_table", f"{mixer}/part/table", table),
        *norm(there + "norm2", f"{mlp}/in_norm"),
        *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
        *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
        *conv(r"model\.layers\.(\d+)\.conv", f"{layers}/conv_{at + 2}/part/conv"),
    ]


def test_hat():
    c = load("hat").config
    equal("hat", hat.network(**c), hat_rules(c))


def timed(there, here):
    """A norm by lead times: one number in, a scale or a bias for each channel out."""
    return [*dense(rf"{there}\.weight", f"{here}/gain"), *dense(rf"{there}\.bias", f"{here}/shift")]


def poseidon_rules(c):
    last, square = len(c["layers"]) - 1, lambda a: a.transpose(2, 3, 1, 0)
    found = [
        (
            r"model\.embeddings\.patch_embeddings\.projection\.weight",
            "embed/stem/patch/kernel",
            lambda a: a.transpose(2, 3, 1, 0).reshape(-1, len(a)),
        ),
        (r"model\.embeddings\.patch_embeddings\.projection\.bias", "embed/stem/patch/bias", same),
        *timed(r"model\.embeddings\.norm", "embed/stem/out_norm"),
        (r"model\.patch_recovery\.projection\.weight", "head_pixels/out/kernel", lambda a: a.reshape(len(a), -1)),
        (r"model\.patch_recovery\.projection\.bias", "head_pixels/bias", same),
        (r"model\.patch_recovery\.mixup\.weight", "head_pixels/conv/kernel", square),
    ]
    for i, (count, heads) in enumerate(zip(c["layers"], c["heads"], strict=True)):
        down, up = rf"model\.down\.{i}\.", rf"model\.back\.{last - i}\."
        skip, here = rf"model\.skip\.{i}\.\d\.", f"skip_{i}/layers/convnext_0"
        found += [
            *layer_rules(down, f"encode_{i}/layers", heads, count),
            *layer_rules(up, f"decode_{i}/layers", heads, count),
            (down + r"downsample\.reduction\.weight", f"down_{i + 1}/out/kernel", transposed),
            *timed(down + r"downsample\.norm", f"down_{i + 1}/out_norm"),
            (up + r"upsample\.upsample\.weight", f"up_{i - 1}/up/kernel", transposed),
            (up + r"upsample\.mixup\.weight", f"up_{i - 1}/out/kernel", transposed),
            *timed(up + r"upsample\.norm", f"up_{i - 1}/norm"),
            *timed(skip + "norm", f"{here}/part/norm"),
            (skip + r"dwconv\.weight", f"{here}/part/conv/kernel", lambda a: a[:, 0].transpose(1, 2, 0)),
            (skip + r"dwconv\.bias", f"{here}/part/conv/bias", same),
            *dense(skip + "pwconv1", f"{here}/part/up"),
            *dense(skip + "pwconv2", f"{here}/part/down"),
            (skip + "weight", f"{here}/skip/scale", same),
        ]

    # The parameters of all these periods, each of which runs once here, have a leading axis of 1.
    def repeated(change):
        return lambda a: (y[None] for y in made) if isinstance(made := change(a), tuple) else made[None]

    scanned = ("encode_", "decode_", "skip_")
    return [(a, path, repeated(change) if path.startswith(scanned) else change) for a, path, change in found]


def layer_rules(there, here, heads, count):
    """The layers of one stage, all in one period."""
    found = []
    for i in range(count):
        layer, mixer, mlp = rf"{there}blocks\.{i}\.", f"{here}/windowed_{2 * i}", f"{here}/mlp_{2 * i + 1}"
        part, own = f"{mixer}/part/mixer", r"attn\."
        names = (("query", "q"), ("key", "k"), ("value", "v"))
        found += [
            *((rf"{layer}{own}{a}\.weight", f"{part}/{b}/kernel", heads_out(heads)) for a, b in names),
            *((rf"{layer}{own}{a}\.bias", f"{part}/{b}/bias", heads_out(heads)) for a, b in names if b != "k"),
            (rf"{layer}{own}logit_scale", f"{part}/logit_scale", lambda a: a.reshape(-1)),
            *dense(rf"{layer}{own}bias\.0", f"{part}/position/up"),
            (rf"{layer}{own}bias\.2\.weight", f"{part}/position/down/kernel", transposed),
            *dense(rf"{layer}attention\.output\.dense", f"{part}/o", heads_in(heads)),
            *timed(layer + "norm_before", f"{mixer}/residual_norm"),
            *dense(rf"{layer}up\.dense", f"{mlp}/part/up"),
            *dense(rf"{layer}output\.dense", f"{mlp}/part/down"),
            *timed(layer + "norm_after", f"{mlp}/residual_norm"),
        ]
    return found


def test_poseidon():
    c = load("poseidon").config
    equal("poseidon", poseidon.network(**c), poseidon_rules(c))
