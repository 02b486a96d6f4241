"""Backbones of images against goldens of tests/goldens/published.py, made by their authors' programs.

Logits and gradients. Takes ten seconds.
"""

from tests.parity.golden import heads_in, heads_out, load
from tests.parity.test_backbones import dense, equal, norm, thirds
from xfm.configs.vision import crossformer


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
