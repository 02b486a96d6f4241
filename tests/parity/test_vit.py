"""xfm's ViT and DeiT against transformers': oblong images, class tokens, heads, gradients."""

import numpy as np

from tests.parity.golden import check, heads_in, heads_out, load, same, transposed


def spec(c, heads, cls=1):
    """The stack that a transformers config describes."""
    norm = dict(kind="layernorm", eps=c["layer_norm_eps"])
    patches = np.prod(c["image_size"]) // c["patch_size"] ** 2
    return dict(
        kind="stack",
        embed=dict(
            kind="patches",
            patch=c["patch_size"],
            width=c["hidden_size"],
            cls=cls,
            position=dict(kind="learned", length=int(patches) + cls),
        ),
        pattern=[
            dict(kind="attention", heads=c["num_attention_heads"]),
            dict(kind="mlp", hidden=c["intermediate_size"]),
        ],
        repeats=c["num_hidden_layers"],
        norms={"in": norm},
        norm=norm,
        heads=heads,
    )


def kernel(a):
    """[D, channel, row, column] -> [(row, column, channel), D]."""
    return a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0])


def row(a):
    """[1, T, D] -> [T, D]."""
    return a[0]


def rules(heads):
    model = r"(?:vit\.|deit\.|)"
    layer = model + r"encoder\.layer\.(\d+)\."
    patch = model + r"embeddings\.patch_embeddings\.projection\."
    mixer, ffn = "layers/attention_0", "layers/mlp_1"
    return [
        (model + r"embeddings\.cls_token", "embed/cls", same),
        (model + r"embeddings\.position_embeddings", "embed/position/table", row),
        (patch + r"weight", "embed/patch/kernel", kernel),
        (patch + r"bias", "embed/patch/bias", same),
        (layer + r"layernorm_before\.weight", mixer + "/in_norm/scale", same),
        (layer + r"layernorm_before\.bias", mixer + "/in_norm/bias", same),
        (
            layer + r"attention\.attention\.(query|key|value)\.(weight|bias)",
            mixer + "/part/{1}/{2}",
            heads_out(heads),
        ),
        (layer + r"attention\.output\.dense\.weight", mixer + "/part/o/kernel", heads_in(heads)),
        (layer + r"attention\.output\.dense\.bias", mixer + "/part/o/bias", same),
        (layer + r"layernorm_after\.weight", ffn + "/in_norm/scale", same),
        (layer + r"layernorm_after\.bias", ffn + "/in_norm/bias", same),
        (layer + r"intermediate\.dense\.(weight|bias)", ffn + "/part/up/{1}", transposed),
        (layer + r"output\.dense\.(weight|bias)", ffn + "/part/down/{1}", transposed),
        (model + r"layernorm\.weight", "norm/scale", same),
        (model + r"layernorm\.bias", "norm/bias", same),
        (r"classifier\.(weight|bias)", "head_logits/out/{0}", transposed),
        (r"cls_classifier\.(weight|bias)", "head_cls/out/{0}", transposed),
        (r"distillation_classifier\.(weight|bias)", "head_distillation/out/{0}", transposed),
    ]


def test_vit_equals_transformers():
    golden = load("vit")
    c = golden.config
    heads = dict(logits=dict(kind="classification", classes=c["num_labels"]))
    check(
        golden,
        spec(c, heads),
        dict(images=golden["input/images"]),
        rules(c["num_attention_heads"]),
        read=lambda answer: dict(logits=answer["logits"]),
    )


def test_pooler_equals_transformers():
    """The tanh layer on the class token: a pool of kind "dense", the head's last linear map being 1."""
    golden = load("vit_pooler")
    c, D = golden.config, golden.config["hidden_size"]
    golden.arrays |= {"weight/classifier.weight": np.eye(D), "weight/classifier.bias": np.zeros(D)}
    heads = dict(logits=dict(kind="classification", classes=D, pool=dict(kind="dense")))
    pooler = (r"pooler\.dense\.(weight|bias)", "head_logits/pool/dense/{0}", transposed)
    check(
        golden,
        spec(c, heads),
        dict(images=golden["input/images"]),
        [pooler, *rules(c["num_attention_heads"])],
        read=lambda answer: dict(final=answer["hidden"], pooled=answer["logits"]),
    )


def test_deit_equals_transformers():
    """Two class tokens, each with a head: the second is read as the tag of token 1."""
    golden = load("deit")
    c = golden.config
    nothing = np.full((1, 1, c["hidden_size"]), np.nan)

    def first(a):
        return np.concatenate([a, nothing], axis=1)

    def second(a):
        return np.concatenate([nothing, a], axis=1)

    heads = dict(
        cls=dict(kind="classification", classes=c["num_labels"]),
        distillation=dict(kind="tagging", classes=c["num_labels"]),
    )
    check(
        golden,
        spec(c, heads, cls=2),
        dict(images=golden["input/images"]),
        [
            (r"deit\.embeddings\.cls_token", "embed/cls", first),
            (r"deit\.embeddings\.distillation_token", "embed/cls", second),
            *rules(c["num_attention_heads"]),
        ],
        read=lambda answer: dict(cls=answer["cls"], distillation=answer["distillation"][:, 1]),
    )
