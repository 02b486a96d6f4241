"""Backbones of images, as their configs build them, against goldens of tests/goldens/backbones.py: logits, gradients.

Takes twenty seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.parity.golden import close, heads_in, heads_out, load, place, same, transposed
from xfm.configs.vision import (
    ascan,
    crate,
    lambda_resnet,
    mixer,
    nest,
    patch_convnet,
    t2t_vit,
    three_things,
    tnt,
    vit_resnas,
    wavemix,
)
from xfm.initial import initial_shapes


def equal(name, spec, rules):
    """The network of `spec` on the golden's weights gives its logits and gradients; rules as in golden.py."""
    golden, model = load(name), xfm.build(spec)
    batch = {"images": jnp.asarray(golden["input/images"])}
    params = place(golden.of("weight/"), initial_shapes(model, batch)["params"], rules)

    def loss(params):
        logits = model.apply({"params": params}, batch)["label"]
        return jnp.sum(logits * golden["input/cotangent/logits"]), logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
    close(logits, golden["output/logits"], "logits")
    golden.check_gradients(gradients, rules)


def norm(there, here, change=same):
    return [(rf"{there}\.weight", f"{here}/scale", change), (rf"{there}\.bias", f"{here}/bias", change)]


def dense(there, here, weight=transposed, bias=same):
    return [(rf"{there}\.weight", f"{here}/kernel", weight), (rf"{there}\.bias", f"{here}/bias", bias)]


def of_tile(size, channels):
    """A map of tiles, whose columns are (channel, row, column) there and (row, column, channel) here."""
    return lambda a: a.reshape(-1, channels, size, size).transpose(2, 3, 1, 0).reshape(-1, a.shape[0])


def t2t_rules(c):
    heads, block, last = c["heads"], r"blocks\.(\d+)\.", c["splits"][-1][0]
    mixer, mlp = "layers/attention_0", "layers/mlp_1"
    found = [
        (r"cls_token", "embed/cls", same),
        *dense("project", "embed/stem/out", of_tile(last, c["inner"])),
        *norm(block + "norm1", f"{mixer}/in_norm"),
        *((rf"{block}{a}\.weight", f"{mixer}/part/{a}/kernel", heads_out(heads)) for a in "qkv"),
        *dense(block + "proj", f"{mixer}/part/o", heads_in(heads)),
        *norm(block + "norm2", f"{mlp}/in_norm"),
        *dense(block + "fc1", f"{mlp}/part/up"),
        *dense(block + "fc2", f"{mlp}/part/down"),
        *norm("norm", "norm"),
        *dense("head", "head_label/out"),
    ]
    for i, (size, _, _) in enumerate(c["splits"][:-1]):
        tile, there, here = of_tile(size, c["inner"] if i else 3), rf"stem\.{i}\.", f"embed/stem/layer_{i}"
        found += [
            *norm(there + "norm_in", f"{here}/in_norm", lambda a, tile=tile: tile(a[None])[:, 0]),
            *(
                rule
                for a in "qkv"
                for rule in dense(there + a, f"{here}/{a}", lambda a, t=tile: t(a)[:, None], lambda a: a[None])
            ),
            *dense(there + "proj", f"{here}/o", heads_in(1)),
            *norm(there + "norm_out", f"{here}/out_norm"),
            *dense(there + "fc1", f"{here}/up"),
            *dense(there + "fc2", f"{here}/down"),
            (there + "features", f"{here}/features", same),
        ]
    return found


def test_t2t_vit_with_linear_attention_in_the_stem():
    c = load("t2t_performer").config
    equal("t2t_performer", t2t_vit.network(**c), t2t_rules(c))


def test_t2t_vit_with_softmax_attention_in_the_stem():
    c = load("t2t_transformer").config
    equal("t2t_transformer", t2t_vit.network(**c), t2t_rules(c))


def mixer_rules(c):
    block, found = r"model\.blocks\.(\d+)\.", []
    for norm_, mlp, here in (("norm1", "mlp_tokens", "token_mlp_0"), ("norm2", "mlp_channels", "mlp_1")):
        found += [
            *norm(block + norm_, f"layers/{here}/in_norm"),
            *dense(rf"{block}{mlp}\.fc1", f"layers/{here}/part/up"),
            *dense(rf"{block}{mlp}\.fc2", f"layers/{here}/part/down"),
        ]
    return [
        *found,
        *dense(r"model\.stem\.proj", "embed/patch", of_tile(c["patch"], 3)),
        *norm(r"model\.norm", "norm"),
        *dense(r"model\.head", "head_label/out"),
    ]


def test_mlp_mixer_equals_timm():
    c = load("mixer").config
    equal("mixer", mixer.network(**c), mixer_rules(c))


def two(change):
    """q and k, side by side in one map of the reference."""
    return lambda a: tuple(change(half) for half in np.split(a, 2))


def tnt_rules(c):
    block, found = r"model\.blocks\.(\d+)\.", []
    for suffix, mlp, norm_in, norm_mlp, heads, here in (
        ("_in", "mlp_in", "norm_in", "norm_mlp_in", c["inner_heads"], "layers/inner"),
        ("_out", "mlp", "norm_out", "norm_mlp", c["heads"], "layers/outer"),
    ):
        part = f"{here}/attention_0/part"
        found += [
            *norm(block + norm_in, f"{here}/attention_0/in_norm"),
            (rf"{block}attn{suffix}\.qk\.weight", f"{part}/q/kernel {part}/k/kernel", two(heads_out(heads))),
            (rf"{block}attn{suffix}\.v\.weight", f"{part}/v/kernel", heads_out(heads)),
            *dense(rf"{block}attn{suffix}\.proj", f"{part}/o", heads_in(heads)),
            *norm(block + norm_mlp, f"{here}/mlp_1/in_norm"),
            *dense(rf"{block}{mlp}\.fc1", f"{here}/mlp_1/part/up"),
            *dense(rf"{block}{mlp}\.fc2", f"{here}/mlp_1/part/down"),
        ]
    for there, here in ((block, "layers/join"), (r"model\.", "join")):
        found += [
            *norm(there + "norm1_proj", f"{here}/in_norm"),
            *dense(there + "proj", f"{here}/out"),
            *norm(there + "norm2_proj", f"{here}/out_norm"),
        ]
    return [
        *found,
        *dense(r"model\.pixel_embed\.proj", "embed/word", of_tile(c["tile"][0], 3)),
        (r"model\.pixel_pos", "embed/position/table", lambda a: a[0].reshape(len(a[0]), -1).T),
        (r"model\.patch_pos", "position/table", lambda a: a[0]),
        (r"model\.cls_token", "cls", same),
        *norm(r"model\.norm", "norm"),
        *dense(r"model\.head", "head_label/out"),
    ]


def test_tnt_equals_timm():
    c = load("tnt").config
    equal("tnt", tnt.network(**c), tnt_rules(c))


def crate_rules(c):
    layer, mixer, heads = r"layers\.(\d+)\.", "layers/subspace_attention_0", c["heads"]
    tile = of_tile(c["patch"], 3)
    return [
        *norm("stem_in_norm", "embed/stem/in_norm", lambda a: tile(a[None])[:, 0]),
        *dense("stem", "embed/stem/patch", tile),
        *norm("stem_out_norm", "embed/stem/out_norm"),
        (r"cls_token", "embed/cls", same),
        (r"positions", "embed/position/table", same),
        *norm(layer + "norm1", f"{mixer}/in_norm"),
        (rf"{layer}subspaces\.weight", f"{mixer}/part/q/kernel", heads_out(heads)),
        *dense(layer + "back", f"{mixer}/part/o", heads_in(heads)),
        *norm(layer + "norm2", "layers/ista_1/in_norm"),
        (rf"{layer}dictionary", "layers/ista_1/part/dictionary", same),
        *norm("norm", "norm"),
        *dense("head", "head_label/out"),
    ]


def test_crate_equals_its_equations():
    c = load("crate").config
    equal("crate", crate.network(**c), crate_rules(c))


def parallel_rules(c):
    heads, found = c["heads"], []
    for i in range(2):
        block, mixer, ffn = r"model\.blocks\.(\d+)\.", "layers/attention_attention_0", "layers/mlp_mlp_1"
        attn, mlp = rf"{block}attns\.{i}\.", rf"{block}ffns\.{i}\."
        maps = [f"{mixer}/part_{i}/{a}" for a in "qkv"]
        found += [
            *norm(attn + "norm", f"{mixer}/part_{i}_in_norm"),
            (rf"{attn}attn\.qkv\.weight", " ".join(f"{m}/kernel" for m in maps), of_three(heads_out(heads))),
            (rf"{attn}attn\.qkv\.bias", " ".join(f"{m}/bias" for m in maps), of_three(heads_out(heads))),
            *dense(attn + r"attn\.proj", f"{mixer}/part_{i}/o", heads_in(heads)),
            (rf"{attn}ls\.gamma", f"{mixer}/part_{i}_residual_norm/scale", same),
            *norm(mlp + "norm", f"{ffn}/part_{i}_in_norm"),
            *dense(mlp + r"mlp\.fc1", f"{ffn}/part_{i}/up"),
            *dense(mlp + r"mlp\.fc2", f"{ffn}/part_{i}/down"),
            (rf"{mlp}ls\.gamma", f"{ffn}/part_{i}_residual_norm/scale", same),
        ]
    return [
        *found,
        *dense(r"model\.patch_embed\.proj", "embed/patch", of_tile(c["patch"], 3)),
        (r"model\.cls_token", "embed/cls", same),
        (r"model\.pos_embed", "embed/position/table", lambda a: a[0]),
        *norm(r"model\.norm", "norm"),
        *dense(r"model\.head", "head_label/out"),
    ]


def of_three(change):
    """q, k and v, one below the other in one map of the reference."""
    return lambda a: tuple(change(third) for third in np.split(a, 3))


def test_parallel_layers_equal_timm():
    c = load("parallel_vit").config
    equal("parallel_vit", three_things.network(**c), parallel_rules(c))


def in_rows(a, block):
    """Positions [1 blocks block² D] as a table in row-major order."""
    side = int(a.shape[1] ** 0.5)
    return a.reshape(side, side, block, block, -1).swapaxes(1, 2).reshape(-1, a.shape[-1])


def thirds(change):
    """q, k and v, one after the other in one map of the reference."""
    return lambda a: tuple(change(third) for third in np.split(a, 3))


def heads_last(count):
    """A projection from heads whose channels the reference has as (channel, head)."""
    return lambda a: a.T.reshape(-1, count, len(a)).swapaxes(0, 1)


def nest_rules(c):
    block = c["grid"] // 2 ** (len(c["layers"]) - 1)
    found = [
        (
            r"model\.patch_embed\.proj\.weight",
            "embed/patch/kernel",
            lambda a: a.transpose(2, 3, 1, 0).reshape(-1, len(a)),
        ),
        (r"model\.patch_embed\.proj\.bias", "embed/patch/bias", same),
        *norm(r"model\.norm", "norm"),
        *dense(r"model\.head", "head_label/out"),
    ]
    for i, heads in enumerate(c["heads"]):
        there, here = rf"model\.levels\.{i}\.", f"stage_{i}/down"
        at = "embed" if i == 0 else here
        found += [
            (there + "pos_embed", f"{at}/position/table", lambda a: in_rows(a, block)),
            (there + r"pool\.conv\.weight", f"{here}/conv/kernel", lambda a: a.transpose(2, 3, 1, 0)),
            (there + r"pool\.conv\.bias", f"{here}/conv/bias", same),
            *norm(there + r"pool\.norm", f"{here}/norm"),
        ]
        layer, mixer, mlp = (
            rf"{there}transformer_encoder\.(\d+)\.",
            f"stage_{i}/layers/windowed_0",
            f"stage_{i}/layers/mlp_1",
        )
        part = f"{mixer}/part/mixer"

        found += [
            *norm(layer + "norm1", f"{mixer}/in_norm"),
            (layer + r"attn\.qkv\.weight", " ".join(f"{part}/{a}/kernel" for a in "qkv"), thirds(heads_out(heads))),
            (layer + r"attn\.qkv\.bias", " ".join(f"{part}/{a}/bias" for a in "qkv"), thirds(heads_out(heads))),
            *dense(layer + r"attn\.proj", f"{part}/o", heads_last(heads)),
            *norm(layer + "norm2", f"{mlp}/in_norm"),
            *dense(layer + r"mlp\.fc1", f"{mlp}/part/up"),
            *dense(layer + r"mlp\.fc2", f"{mlp}/part/down"),
        ]
    return found


def test_nest():
    c = load("nest").config
    equal("nest", nest.network(**c), nest_rules(c))


def batchnorm(there, here):
    leaves = dict(weight="scale", bias="bias", running_mean="mean", running_var="variance")
    return [(rf"{there}\.{a}", f"{here}/{b}", same) for a, b in leaves.items()]


def lambda_resnet_rules(c):
    """A stage's first block is its `down`, the others are its layers; a lambda layer has one map for q, k and v."""
    kernel, square = lambda a: a.transpose(2, 3, 1, 0), lambda a: a[:, :, 0, 0].T
    found = [*dense(r"model\.head\.fc", "head_label/out")]
    for i in range(3):
        found += [
            (rf"model\.stem\.conv{i + 1}\.conv\.weight", f"embed/stem/stem/conv_{i}/kernel", kernel),
            *batchnorm(rf"model\.stem\.conv{i + 1}\.bn", f"embed/stem/stem/norm_{i}"),
        ]
    for i, width in enumerate(c["widths"]):
        for j in range(2):
            there = rf"model\.stages\.{i}\.{j}\."
            here = f"stage_{i}/layers/bottleneck_0/part" if j else f"stage_{i}/down"
            middle = f"{here}/mixer" if j or i == 0 or c["stages"][i][0] == "lambda_layer" else f"{here}/down"
            N, M, H = c["heads"], c["keys"], width // 4 // c["heads"]

            def maps(a, N=N, M=M, H=H):
                q, k, v = np.split(a[:, :, 0, 0].T, [N * M, N * M + M], axis=1)
                return q.reshape(-1, N, M), k.reshape(-1, M, 1), v.reshape(-1, H, 1)

            found += [
                (there + r"shortcut\.conv\.weight", f"{here}/shortcut/kernel", kernel),
                *batchnorm(there + r"shortcut\.bn", f"{here}/shortcut_norm"),
                (there + r"conv1_1x1\.conv\.weight", f"{here}/in/kernel", square),
                *batchnorm(there + r"conv1_1x1\.bn", f"{here}/in_norm"),
                (there + r"conv2_kxk\.conv\.weight", f"{middle}/conv/kernel", kernel),
                *batchnorm(there + r"(?:conv2_kxk\.bn|post_attn)", f"{here}/mixer_norm"),
                (there + r"self_attn\.qkv\.weight", " ".join(f"{middle}/{a}/kernel" for a in "qkv"), maps),
                *batchnorm(there + r"self_attn\.norm_q", f"{middle}/q_norm"),
                *batchnorm(there + r"self_attn\.norm_v", f"{middle}/v_norm"),
                (
                    there + r"self_attn\.conv_lambda\.weight",
                    f"{middle}/table",
                    lambda a: a[..., 0].transpose(2, 3, 1, 0),
                ),
                (there + r"self_attn\.conv_lambda\.bias", f"{middle}/bias", same),
                (there + r"self_attn\.pos_emb", f"{middle}/table", lambda a: a[:, :, None]),
                (there + r"conv3_1x1\.conv\.weight", f"{here}/out/kernel", square),
                *batchnorm(there + r"conv3_1x1\.bn", f"{here}/out_norm"),
            ]
    return found


@pytest.mark.parametrize("name", ["lambda_resnet", "lambda_resnet_all"])
def test_lambda_resnet_equals_timm(name):
    """Layers of three rows and columns, and of a table of all offsets."""
    c = load(name).config
    equal(name, lambda_resnet.network(**c, strides=(2, 2)), lambda_resnet_rules(c))


def wavemix_rules(c):
    """A map of single pixels is [out in 1 1] there, a transposed convolution [in out 4 4]."""
    kernel, square = lambda a: a.transpose(2, 3, 1, 0), lambda a: a[:, :, 0, 0].T
    mixer = "layers/wavemix_0/part"
    found = [
        *dense(r"reduce\.(\d+)", f"{mixer}/reduce", square),
        *batchnorm(r"stem\.4", "embed/stem/norm"),
        *dense("head", "head_label/out"),
    ]
    for i in range(3):
        found += dense(rf"stem\.{i}", f"embed/stem/conv_{i}", kernel)
    for i in range(c["levels"]):
        level, here = rf"levels\.(\d+)\.{i}\.", f"{mixer}/level_{i}"
        found += [
            *dense(level + "0", f"{here}/up", square),
            *dense(level + "2", f"{here}/down", square),
            *dense(level + "3", here, lambda a: a.transpose(2, 3, 0, 1)),
            *batchnorm(level + "4", f"{here}/norm"),
        ]
    return found


def test_wavemix_equals_its_description():
    c = load("wavemix").config
    equal("wavemix", wavemix.network(**c, drop=0.0), wavemix_rules(c))


def patch_convnet_rules(c):
    layer, mixer, pool = r"layers\.(\d+)\.", "layers/conv_gate_0", "head_label/pool"
    square = lambda a: a[:, :, 0, 0].T  # noqa: E731  a map of single pixels
    kernel = lambda a: a.transpose(2, 3, 1, 0)  # noqa: E731
    return [
        (r"stem\.(\d+)\.weight", "embed/stem/conv_{0}/kernel", kernel),
        *norm(layer + "norm", f"{mixer}/in_norm"),
        (layer + "gamma", f"{mixer}/skip/scale", same),
        *dense(layer + "first", f"{mixer}/part/up", square),
        *dense(layer + "conv", f"{mixer}/part/conv", lambda a: kernel(a)[:, :, 0]),
        *dense(layer + "squeeze", f"{mixer}/part/squeeze", square),
        *dense(layer + "excite", f"{mixer}/part/excite", square),
        *dense(layer + "last", f"{mixer}/part/down", square),
        (r"cls_token", f"{pool}/cls", same),
        *norm("norm1", f"{pool}/in_norm"),
        *norm("norm2", f"{pool}/ffn_norm"),
        *norm("norm3", f"{pool}/out_norm"),
        *(rule for a in "qkv" for rule in dense(a, f"{pool}/{a}", heads_out(1), heads_out(1))),
        *dense("proj", f"{pool}/o", heads_in(1)),
        *dense("fc1", f"{pool}/ffn/up"),
        *dense("fc2", f"{pool}/ffn/down"),
        (r"gamma_1", f"{pool}/attention_scale", same),
        (r"gamma_2", f"{pool}/ffn_scale", same),
        *dense("head", "head_label/out"),
    ]


def test_patch_convnet_equals_its_description():
    """Its layers are mixer "conv_gate", its head the pool "class_attention"."""
    c = load("patch_convnet").config
    equal("patch_convnet", patch_convnet.network(**c), patch_convnet_rules(c))


def vit_resnas_rules(stages):
    convolution, block = lambda a: a.transpose(2, 3, 1, 0), 0
    found = [
        (r"model\.tokens", "embed/cls", same),
        (r"model\.pos_embed", "embed/position/table", lambda a: a[0]),
        (r"model\.patch_embed\.conv_proj\.weight", "embed/stem/patch/kernel", convolution),
        (r"model\.patch_embed\.conv_proj\.bias", "embed/stem/patch/bias", same),
        *norm(r"model\.norm", "norm"),
        *dense(r"model\.cls_head", "head_label/out"),
    ]
    for i in range(3):
        there = rf"model\.patch_embed\.conv{i + 1}\."
        found.append((there + r"conv\.weight", f"embed/stem/conv_{i}/kernel", convolution))
        found += batchnorm(rf"{there}bn", f"embed/stem/norm_{i}")
    for i, (_, heads, _, _) in enumerate(stages):
        if i:
            there, here, block = rf"model\.blocks\.{block}\.", f"stage_{i}/down", block + 1
            found += [
                *norm(there + "norm", f"{here}/norm"),
                (there + r"patch_reduce\.weight", f"{here}/conv/kernel", convolution),
                (there + r"patch_reduce\.bias", f"{here}/conv/bias", same),
                *dense(there + "token_transform", f"{here}/first"),
                (there + "pos_embed", f"{here}/position/table", lambda a: a[0]),
            ]
        for j, n in enumerate(heads):
            there, block = rf"model\.blocks\.{block}\.", block + 1
            mixer, mlp = f"stage_{i}/layers/attention_{2 * j}", f"stage_{i}/layers/mlp_{2 * j + 1}"
            found += [
                *norm(there + "norm1", f"{mixer}/in_norm"),
                *(
                    (there + rf"attn\.qkv\.{a}", " ".join(f"{mixer}/part/{q}/{b}" for q in "qkv"), thirds(heads_out(n)))
                    for a, b in (("weight", "kernel"), ("bias", "bias"))
                ),
                *dense(there + r"attn\.proj", f"{mixer}/part/o", heads_in(n)),
                *norm(there + "norm2", f"{mlp}/in_norm"),
                *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
                *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
            ]
    return found


def test_vit_resnas():
    c = load("vit_resnas").config
    equal("vit_resnas", vit_resnas.network(**c), vit_resnas_rules(c["stages"]))


def ascan_rules(c):
    """The first stage's two blocks are one compiled loop; the second stage's C, attention and MLP are a period."""
    kernel, square, count = lambda a: a.transpose(2, 3, 1, 0), lambda a: a[:, :, 0, 0].T, c["widths"][1] // c["head"]
    side = c["size"] // 2 - 1
    first, second = r"first\.(\d)", "edge"
    there = [(first, "stage_0/layers/fused_mbconv_0/part"), (second, "stage_1/layers/fused_mbconv_0/part")]
    mixer, mlp = "stage_1/layers/attention_1", "stage_1/layers/mlp_2"
    found = [
        (r"down\.conv\.weight", "stage_1/down/conv/kernel", kernel),
        *batchnorm(r"down\.bn", "stage_1/down/out_norm"),
    ]
    for i in range(2):
        found.append((rf"stem\.{i}\.conv\.weight", f"embed/stem/conv_{i}/kernel", kernel))
        found += batchnorm(rf"stem\.{i}\.bn", f"embed/stem/norm_{i}")
    for name, here in there:
        found += [
            (rf"{name}\.conv_exp\.weight", f"{here}/conv/kernel", kernel),
            *batchnorm(rf"{name}\.bn1", f"{here}/conv_norm"),
            *dense(rf"{name}\.se\.conv_reduce", f"{here}/squeeze", square),
            *dense(rf"{name}\.se\.conv_expand", f"{here}/excite", square),
            (rf"{name}\.conv_pwl\.weight", f"{here}/out/kernel", square),
            *batchnorm(rf"{name}\.bn2", f"{here}/out_norm"),
        ]
    qkv = thirds(heads_out(count))
    return [
        *found,
        *norm(r"attend\.norm1", f"{mixer}/in_norm"),
        (r"attend\.attn\.qkv\.weight", " ".join(f"{mixer}/part/{q}/kernel" for q in "qkv"), qkv),
        (r"attend\.attn\.qkv\.bias", " ".join(f"{mixer}/part/{q}/bias" for q in "qkv"), qkv),
        *dense(r"attend\.attn\.proj", f"{mixer}/part/o", heads_in(count)),
        (
            r"attend\.attn\.rel_pos\.relative_position_bias_table",
            f"{mixer}/part/position/table",
            lambda a: a.reshape(side, side, count),
        ),
        *norm(r"attend\.norm2", f"{mlp}/in_norm"),
        *dense(r"attend\.mlp\.fc1", f"{mlp}/part/up"),
        *dense(r"attend\.mlp\.fc2", f"{mlp}/part/down"),
        *norm("norm", "head_label/pool/norm"),
        *dense("head", "head_label/out"),
    ]


def test_ascan_equals_blocks_of_timm():
    c = load("ascan").config
    equal("ascan", ascan.network(("CC", "CT"), **c, strides=(2, 1)), ascan_rules(c))
