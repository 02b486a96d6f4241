"""ALBERT: layers that share parameters, in one group or several; a factorised embedding.

Lan et al. 2020; files as transformers' AlbertModel and its heads write them, which are the oracle.
"""

from xfm.configs.text import albert
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.families import bert
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get("classifier_dropout_prob")  # only matters in training
    c.only("inner_group_num", 1)
    c.only("down_scale_factor", 1)  # in the first files, always with this value
    layers, groups = c["num_hidden_layers"], c.get("num_hidden_groups", 1)
    if groups < 1 or layers % groups:
        raise XfmError(
            f"{c.path} sets num_hidden_groups to {groups}; xfm needs groups of equal size, so a divisor of the "
            f"{layers} layers"
        )
    return albert.network(
        **bert.sizes(c),
        groups=groups,
        factor=c.get("embedding_size", 128),
        types=bert.types(c),
    ) | {"heads": {}}


KEYS = bert.KEYS | {"embedding_size": keys.table_width, "num_hidden_groups": "repeats"}
LAYER = "encoder.albert_layer_groups.{}.albert_layers.0"
NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/position": "embeddings.position_embeddings",
    "embed/type": "embeddings.token_type_embeddings",
    "embed/norm": "embeddings.LayerNorm",
    "embed/up": "encoder.embedding_hidden_mapping_in",
    "layer/0/part/q": f"{LAYER}.attention.query",
    "layer/0/part/k": f"{LAYER}.attention.key",
    "layer/0/part/v": f"{LAYER}.attention.value",
    "layer/0/part/o": f"{LAYER}.attention.dense",
    "layer/0/out_norm": f"{LAYER}.attention.LayerNorm",
    "layer/1/part/up": f"{LAYER}.ffn",
    "layer/1/part/down": f"{LAYER}.ffn_output",
    "layer/1/out_norm": f"{LAYER}.full_layer_layer_norm",
}


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    return bert.mlm(c, c.get("embedding_size", 128))


UNTIED = {"table": "predictions.decoder.weight", "bias": "predictions.decoder.bias"}
MLM_NAMES = {"dense": "predictions.dense", "norm": "predictions.LayerNorm", "bias": "predictions.bias"}

FAMILY = Family(
    model_type="albert",
    prefix="albert.",
    keys=KEYS,
    classes="Albert",
    network=network,
    names=NAMES,
    heads={
        "pooled": Head("pooled", bert.POOLER.spec, {"pool/dense": "pooler"}, of_encoder=True),
        "masked_lm": Head("mlm", mlm, MLM_NAMES, apart=UNTIED),
        "sentence_order": Head("sop", bert.classification(), {"out": "sop_classifier.classifier"}, ("pooled",)),
        **bert.TASKS,
    },
    architectures=bert.FAMILY.architectures | {"ForPreTraining": ("masked_lm", "sentence_order")},
    files=Files(
        ignored=bert.FAMILY.files.ignored,
        buffers=bert.FAMILY.files.buffers,
        tied={
            "predictions.decoder.weight": "embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
    ),
)
