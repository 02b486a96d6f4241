"""xfm's stack against PyTorch's TransformerEncoder, as Tiny-Toxic-Detector uses it: layers, logit, gradients."""

from tests.parity.golden import check, heads_in, load, same, transposed
from xfm.configs.text import domains


def joint(heads):
    """One map to queries, keys and values, [3·N·H, in] -> three of [in, N, H]; or its bias."""
    return lambda a: tuple(part.T.reshape(*part.T.shape[:-1], heads, -1) for part in a.reshape(3, -1, *a.shape[1:]))


def rules(heads):
    layer, mixer, ffn = r"encoder\.layers\.(\d+)\.", "layers/attention_0", "layers/mlp_1"
    qkv = " ".join(f"{mixer}/part/{one}/" + "{1}" for one in "qkv")
    return [
        (r"words\.weight", "embed/word/embedding", same),
        (r"places", "embed/position/table", same),
        (layer + r"self_attn\.in_proj_(weight|bias)", qkv, joint(heads)),
        (layer + r"self_attn\.out_proj\.weight", mixer + "/part/o/kernel", heads_in(heads)),
        (layer + r"self_attn\.out_proj\.bias", mixer + "/part/o/bias", same),
        (layer + r"linear1\.(weight|bias)", ffn + "/part/up/{1}", transposed),
        (layer + r"linear2\.(weight|bias)", ffn + "/part/down/{1}", transposed),
        (layer + r"norm1\.weight", mixer + "/out_norm/scale", same),
        (layer + r"norm1\.bias", mixer + "/out_norm/bias", same),
        (layer + r"norm2\.weight", ffn + "/out_norm/scale", same),
        (layer + r"norm2\.bias", ffn + "/out_norm/bias", same),
        (r"label\.(weight|bias)", "head_label/out/{0}", transposed),
    ]


def test_tiny_toxic_detector_equals_torch():
    golden = load("torch_encoder")
    c = golden.config
    spec = domains.torch_encoder(c["layers"], c["width"], c["heads"], c["hidden"], c["vocabulary"], c["places"])
    batch = dict(tokens=golden["input/input_ids"])
    check(golden, spec, batch, rules(c["heads"]), read=lambda answer: dict(label=answer["label"]))
