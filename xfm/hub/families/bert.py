"""BERT and other models with its layout: MiniLM, bge, e5, gte, the 24 miniatures, Bort.

Devlin et al. 2019; files as transformers' BertModel and its heads write them, which are the oracle.
"""

from collections.abc import Mapping

from xfm.configs.text import bert
from xfm.errors import XfmError
from xfm.hub import buffers, keys
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import ACTIVATIONS, Settings

POOLED = dict(kind="of_head", head="pooled")
POOLER = Head(
    "pooled",
    lambda c: dict(kind="vector", pool=dict(kind="dense")),
    {"pool/dense": "pooler.dense"},
    of_encoder=True,
)


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    return bert.network(
        **sizes(c),
        types=types(c),
    ) | {"heads": {}}


def types(c: Settings) -> int:
    """The number of token types. Raises XfmError for less than one, which the Hub's classes do not support."""
    found = c.get("type_vocab_size", 2)
    if found < 1:
        raise XfmError(f"{c.path} sets type_vocab_size to {found}; this family has at least one type")
    return found


def sizes(c: Settings) -> dict:
    """The settings that all families with BERT's keys share, as arguments of their configs' `network`."""
    return dict(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        hidden=c["intermediate_size"],
        vocab=c["vocab_size"],
        length=c["max_position_embeddings"],
        activation=activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
    )


def activation(c: Settings) -> str:
    """xfm's name of the activation."""
    return c.choose("hidden_act", ACTIVATIONS, "gelu")


def mlm(c: Settings, factor: int | None = None) -> dict:
    """The spec of the head that predicts masked tokens.

    factor: width of the embedding table in families where it may differ from the model's.
    """
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    return dict(kind="mlm", vocab=c["vocab_size"], activation=activation(c), norm=norm, **own_table(c, factor))


def own_table(c: Settings, factor: int | None = None) -> dict:
    """Fields of a head that predicts tokens: a table of its own if config.json does not tie it to the embedding's.

    factor: as in `mlm`.
    """
    if c.get("tie_word_embeddings", True):
        return {}
    return dict(table="own") | ({} if factor in (None, c.content.get("hidden_size")) else dict(width=factor))


def classification(classes: int | None = None, pool: Mapping = POOLED):
    """From config.json to the spec of a classification head.

    classes: their number; if None, that in config.json.  pool: the spec of its pool.
    """
    return lambda c: dict(kind="classification", classes=classes or len(c.labels), pool=pool)


KEYS = {
    "vocab_size": "embed/vocab",
    **keys.ENCODER,
    "max_position_embeddings": "embed/position/length",
    "type_vocab_size": "embed/types",
    "layer_norm_eps": "embed/norm/eps",
    "tie_word_embeddings": keys.untied("heads/mlm"),
}
NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/position": "embeddings.position_embeddings",
    "embed/type": "embeddings.token_type_embeddings",
    "embed/norm": "embeddings.LayerNorm",
    "layer/0/part/q": "encoder.layer.{}.attention.self.query",
    "layer/0/part/k": "encoder.layer.{}.attention.self.key",
    "layer/0/part/v": "encoder.layer.{}.attention.self.value",
    "layer/0/part/o": "encoder.layer.{}.attention.output.dense",
    "layer/0/out_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "layer/1/part/up": "encoder.layer.{}.intermediate.dense",
    "layer/1/part/down": "encoder.layer.{}.output.dense",
    "layer/1/out_norm": "encoder.layer.{}.output.LayerNorm",
}
MLM_NAMES = {
    "dense": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.LayerNorm",
    "bias": "cls.predictions.bias",
}
# In an untied head the decoder's bias is used; the other one may be in a file, but is not.
UNTIED = {"table": "cls.predictions.decoder.weight", "bias": "cls.predictions.decoder.bias"}
# Two tasks may use the same tensor name; the architecture in config.json then shows which task it is.
TASKS = {
    "sequence_classification": Head("label", classification(), {"out": "classifier"}, ("pooled",)),
    "multiple_choice": Head("choice", classification(1), {"out": "classifier"}, ("pooled",)),
    "token_classification": Head("tags", lambda c: dict(kind="tagging", classes=len(c.labels)), {"out": "classifier"}),
    "question_answering": Head("span", lambda c: dict(kind="span"), {"out": "qa_outputs"}),
}

FAMILY = Family(
    model_type="bert",
    prefix="bert.",
    network=network,
    keys=KEYS,
    classes="Bert",
    names=NAMES,
    heads={
        "pooled": POOLER,
        "masked_lm": Head("mlm", mlm, MLM_NAMES, apart=UNTIED),
        "next_sentence": Head("nsp", classification(2), {"out": "cls.seq_relationship"}, ("pooled",)),
        **TASKS,
    },
    architectures={
        "Model": ("pooled",),
        "ForMaskedLM": ("masked_lm",),
        "ForPreTraining": ("masked_lm", "next_sentence"),
        "ForNextSentencePrediction": ("next_sentence",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(
        renames=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
        ignored={r"embeddings\.position_ids": "it only counts 0, 1, 2, …"},
        buffers={r"embeddings\.position_ids": buffers.COUNTED},
        tied={
            "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
)
