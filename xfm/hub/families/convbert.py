"""ConvBERT. Jiang et al. 2020; files as transformers' ConvBertModel and its heads write them, which are the oracle.

The reference's convolutions read padding as text, so its result depends on the length to which a batch is padded. Here
a text has the result that the reference gives without padding.
"""

import dataclasses

from xfm.configs.text import convbert
from xfm.hub import keys
from xfm.hub.families import bert, electra, roberta
from xfm.hub.family import Family, Head
from xfm.hub.naming import At
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in electra.SUMMARY:  # only matter to the head of multiple choice, which checks them
        c.get(key)
    return convbert.network(
        **bert.sizes(c),
        factor=c.get("embedding_size", 768),
        own=dict(groups=c.get("num_groups", 1), conv=c.get("conv_kernel_size", 9), ratio=c.get("head_ratio", 2)),
        types=bert.types(c),
    ) | {"heads": {}}


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    return roberta.mlm(c, c.get("embedding_size", 768))


def labels(c: Settings) -> dict:
    """The spec of the classification head."""
    return roberta.classification(bert.activation(c))(c)


def choice(c: Settings) -> dict:
    """The spec of the head of multiple choice: one score per text, from one pooled vector."""
    c.only("summary_use_proj", None, False)
    c.only("summary_activation", None)
    pool = c.choose("summary_type", {"last": "last", "first": "cls", "mean": "mean"}, "last")
    return dict(kind="classification", classes=1, pool=dict(kind=pool))


RATIO = 2  # num_attention_heads divided by the number of attention heads; only their quotient is used
KEYS = bert.KEYS | {
    "num_attention_heads": lambda spec: spec["pattern"][0]["heads"] * RATIO,
    "head_ratio": lambda spec: RATIO,
    "embedding_size": keys.table_width,
    "num_groups": "pattern/1/groups",
    "conv_kernel_size": "pattern/0/conv",
    "summary_type": lambda spec: {"cls": "first"}.get(kind := keys.at(spec, "heads/choice/pool/kind"), kind),
}
ATTENTION, FFN = "encoder.layer.{}.attention.self.", "encoder.layer.{}."
SPAN = {"depth": "depthwise.weight", "point": "pointwise.weight"}
NAMES = {
    "embed/up": "embeddings_project",
    "layer/0/part/local": f"{ATTENTION}conv_out_layer",
    "layer/0/part/choose": f"{ATTENTION}conv_kernel_layer",
    "layer/0/part/span/bias": At(f"{ATTENTION}key_conv_attn_layer.bias", axes=(1, 0)),
    **{
        f"layer/0/part/span/{leaf}": At(f"{ATTENTION}key_conv_attn_layer.{name}", axes=(2, 1, 0))
        for leaf, name in SPAN.items()
    },
    "layer/grouped_mlp_1/part/up": f"{FFN}intermediate.dense",
    "layer/grouped_mlp_1/part/up/kernel": At(f"{FFN}intermediate.dense.weight", axes=(0, 1, 2)),
    "layer/grouped_mlp_1/part/down": f"{FFN}output.dense",
    "layer/grouped_mlp_1/part/down/kernel": At(f"{FFN}output.dense.weight", axes=(0, 1, 2)),
    "layer/grouped_mlp_1/out_norm": f"{FFN}output.LayerNorm",
}

FAMILY = Family(
    model_type="convbert",
    prefix="convbert.",
    keys=KEYS,
    classes="ConvBert",
    network=network,
    names=bert.NAMES | NAMES,
    heads={
        "masked_lm": dataclasses.replace(electra.FAMILY.heads["masked_lm"], spec=mlm),
        "sequence_classification": Head("label", labels, roberta.LABEL_NAMES),
        "multiple_choice": Head("choice", choice, roberta.ONE_LAYER),
        "token_classification": roberta.TASKS["token_classification"],
        "question_answering": roberta.TASKS["question_answering"],
    },
    architectures=roberta.FAMILY.architectures | {"Model": ()},
    files=dataclasses.replace(
        bert.FAMILY.files,
        tied=electra.FAMILY.files.tied,
    ),
)
