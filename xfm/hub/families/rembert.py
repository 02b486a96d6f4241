"""RemBERT. Chung et al. 2021; files as transformers' RemBertModel and its heads write them, which are the oracle.

The published checkpoint is for fine-tuning and has no output embedding; a checkpoint that has it is also loaded as a
masked language model.
"""

from xfm.configs.text import rembert
from xfm.hub.families import bert
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get(("output_embedding_size", "classifier_dropout_prob"))  # only matter to the head and in training
    return rembert.network(
        **bert.sizes(c),
        inputs=c["input_embedding_size"],
        outputs=None,
        types=bert.types(c),
    ) | {"heads": {}}


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    c.only("tie_word_embeddings", False)
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    head = dict(kind="mlm", vocab=c["vocab_size"], table="own", activation=bert.activation(c), norm=norm)
    return head | {"width": c["output_embedding_size"]}


KEYS = bert.KEYS | {"input_embedding_size": "embed/factor", "output_embedding_size": "heads/mlm/width"}
MLM_NAMES = {
    "dense": "cls.predictions.dense",
    "norm": "cls.predictions.LayerNorm",
    "table": "cls.predictions.decoder.weight",
    "bias": "cls.predictions.decoder.bias",
}

FAMILY = Family(
    model_type="rembert",
    prefix="rembert.",
    keys=KEYS,
    classes="RemBert",
    network=network,
    names=bert.NAMES | {"embed/up": "encoder.embedding_hidden_mapping_in"},
    heads={"pooled": bert.POOLER, "masked_lm": Head("mlm", mlm, MLM_NAMES), **bert.TASKS},
    architectures={
        "Model": ("pooled",),
        "ForMaskedLM": ("masked_lm",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(ignored={r"embeddings\.position_ids": "it only counts 0, 1, 2, …"}, buffers=bert.FAMILY.files.buffers),
)
