"""Backbones of images against goldens of tests/goldens/published.py, made by their authors' programs.

Logits and gradients. Takes ten seconds.
"""

from tests.parity.golden import heads_in, heads_out, load, same
from tests.parity.test_backbones import batchnorm, dense, equal, norm, thirds
from xfm.configs.vision import crossformer, dhvt, rmt


def in_kernel(a):
    """A convolution [out in rows columns] as [rows columns in out]."""
    return a.transpose(2, 3, 1, 0)


def dynamic_bias(there, here):
    """The network of offsets: a norm, a nonlinearity and a linear map, three times."""
    found = dense(there + "pos_proj", f"{here}/up")
    for i, last in enumerate(("map_0", "map_1", "down")):
        found += [
            *norm(rf"{there}pos{i + 1}\.0", f"{here}/norm_{i}"),
            *dense(rf"{there}pos{i + 1}\.2", f"{here}/{last}"),
        ]
    return found


def crossformer_rules(c):
    found = [*norm(r"model\.patch_embed\.norm", "embed/stem/norm"), *norm(r"model\.norm", "norm")]
    for there, here in ((r"patch_embed\.projs", "embed/stem"), (r"layers\.0\.downsample\.reductions", "stage_1/down")):
        found += dense(rf"model\.{there}\.(\d+)", here + "/scales/conv_{0}", in_kernel)
    found += norm(r"model\.layers\.0\.downsample\.norm", "stage_1/down/norm")
    for stage, block, heads in ((0, 0, c["heads"][0]), (0, 1, c["heads"][0]), (1, 0, c["heads"][1])):
        there, kind = rf"model\.layers\.{stage}\.blocks\.{block}\.", "strided" if block else "windowed"
        mixer, mlp = (f"stage_{stage}/layers/{name}" for name in (f"{kind}_{2 * block}", f"mlp_{2 * block + 1}"))
        part = f"{mixer}/part/mixer"
        placed = [
            *norm(there + "norm1", f"{mixer}/in_norm"),
            (there + r"attn\.qkv\.weight", " ".join(f"{part}/{a}/kernel" for a in "qkv"), thirds(heads_out(heads))),
            (there + r"attn\.qkv\.bias", " ".join(f"{part}/{a}/bias" for a in "qkv"), thirds(heads_out(heads))),
            *dense(there + r"attn\.proj", f"{part}/o", heads_in(heads)),
            *dynamic_bias(there + r"attn\.pos\.", f"{part}/position"),
            *norm(there + "norm2", f"{mlp}/in_norm"),
            *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
            *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
        ]
        found += placed
    return [*found, *dense(r"model\.head", "head_label/out")]


def test_crossformer_equals_the_authors_program():
    c = load("crossformer").config
    equal("crossformer", crossformer.network(**c), crossformer_rules(c))


def of_channels(a):
    """A convolution of each channel [D 1 rows columns] as [rows columns D]."""
    return a[:, 0].transpose(1, 2, 0)


def rmt_rules(c):
    found = [
        rule
        for i in range(4)
        for rule in dense(rf"model\.patch_embed\.proj\.{3 * i}", f"embed/stem/conv_{i}", in_kernel)
    ]
    for i in range(4):
        found += batchnorm(rf"model\.patch_embed\.proj\.{3 * i + 1}", f"embed/stem/norm_{i}")
    for i, heads in enumerate(c["heads"]):
        block, here, down = (
            rf"model\.layers\.{i}\.blocks\.(\d+)\.",
            f"stage_{i}/layers",
            rf"model\.layers\.{i}\.downsample\.",
        )
        part, mlp = f"{here}/manhattan_1", f"{here}/local_mlp_2"
        found += [
            *dense(block + r"pos\.conv", f"{here}/depthwise_0/part/conv", of_channels),
            *norm(block + "retention_layer_norm", f"{part}/in_norm"),
            *(
                rule
                for a in "qkv"
                for rule in dense(
                    rf"{block}retention\.{a}_proj", f"{part}/part/{a}", heads_out(heads), heads_out(heads)
                )
            ),
            *dense(block + r"retention\.lepe\.conv", f"{part}/part/conv", of_channels),
            *dense(block + r"retention\.out_proj", f"{part}/part/o", heads_in(heads)),
            (block + "gamma_1", f"{part}/skip/scale", lambda a: a[0, 0, 0]),
            *norm(block + "final_layer_norm", f"{mlp}/in_norm"),
            *dense(block + r"ffn\.fc1", f"{mlp}/part/up"),
            *dense(block + r"ffn\.dwconv\.conv", f"{mlp}/part/conv", of_channels),
            *dense(block + r"ffn\.fc2", f"{mlp}/part/down"),
            (block + "gamma_2", f"{mlp}/skip/scale", lambda a: a[0, 0, 0]),
            *dense(down + "reduction", f"stage_{i + 1}/down/conv", in_kernel),
            *batchnorm(down + "norm", f"stage_{i + 1}/down/out_norm"),
        ]
    return [
        *found,
        *dense(r"model\.proj", "head_label/pool/dense"),
        *batchnorm(r"model\.norm", "head_label/pool/norm"),
        *dense(r"model\.head", "head_label/out"),
    ]


def test_rmt_equals_the_authors_program():
    """Its mixers are "manhattan", whose decay and rotations are joined, and "local_mlp"."""
    c = load("rmt").config
    equal("rmt", rmt.network(**c), rmt_rules(c))


def dhvt_rules(c):
    square = lambda a: a[:, :, 0, 0].T  # noqa: E731  a map of single pixels
    flat = lambda a: a.reshape(-1)  # noqa: E731
    embed, block, heads = r"model\.patch_embed\.", r"model\.blocks\.(\d+)\.", c["heads"]
    mixer, mlp = "layers/head_tokens_0", "layers/aggregated_mlp_1"
    attention, split = f"{mixer}/part/mixer", heads_out(heads)
    found = [(r"model\.cls_token", "embed/cls", same)]
    for there, here in (("pre", "in"), ("post", "out")):
        found += [
            (rf"{embed}{there}_affine\.alpha", f"embed/stem/{here}_norm/scale", flat),
            (rf"{embed}{there}_affine\.beta", f"embed/stem/{here}_norm/bias", flat),
        ]
    for i in range(2):
        found += [
            (rf"{embed}proj\.{2 * i}\.0\.weight", f"embed/stem/stem/conv_{i}/kernel", in_kernel),
            *batchnorm(rf"{embed}proj\.{2 * i}\.1", f"embed/stem/stem/norm_{i}"),
        ]
    for i, (name, change) in enumerate((("up", square), ("conv", of_channels), ("down", square)), start=1):
        found += [
            *dense(rf"{block}mlp\.conv{i}", f"{mlp}/part/{name}", change),
            *batchnorm(rf"{block}mlp\.bn{i}", f"{mlp}/part/{name}_norm"),
        ]
    return [
        *found,
        *norm(block + "norm1", f"{mixer}/in_norm"),
        *dense(block + r"attn\.ht_proj", f"{mixer}/part/out", split, split),
        *norm(block + r"attn\.ht_norm", f"{mixer}/part/norm"),
        (block + r"attn\.pos_embed", f"{mixer}/part/point", lambda a: a[0]),
        (block + r"attn\.qkv\.weight", " ".join(f"{attention}/{a}/kernel" for a in "qkv"), thirds(split)),
        (block + r"attn\.qkv\.bias", " ".join(f"{attention}/{a}/bias" for a in "qkv"), thirds(split)),
        *dense(block + r"attn\.proj", f"{attention}/o", heads_in(heads)),
        *norm(block + "norm2", f"{mlp}/in_norm"),
        *dense(block + r"mlp\.compress", f"{mlp}/part/squeeze"),
        *dense(block + r"mlp\.excitation", f"{mlp}/part/excite"),
        *norm(r"model\.norm", "norm"),
        *dense(r"model\.head", "head_label/out"),
    ]


def test_dhvt_equals_the_authors_program():
    """Its stem is "normed", its mixers "head_tokens" and "aggregated_mlp"."""
    c = load("dhvt").config
    spec = dhvt.network(**c)
    equal("dhvt", spec, dhvt_rules(c))
