"""DistilBERT: BERT's network with other names of tensors and keys.

Sanh et al. 2019; files as transformers' DistilBertModel and its heads write them, which are the oracle.
"""

from xfm.configs.text import distilbert
from xfm.hub import keys
from xfm.hub.families import bert, roberta
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys that only matter in training: dropout rates of two heads, and the initial values of the table of positions.
HARMLESS = ("qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds")


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in HARMLESS:
        c.get(key)
    return distilbert.network(
        layers=c[("n_layers", "num_hidden_layers")],
        width=c[("dim", "hidden_size")],
        heads=c[("n_heads", "num_attention_heads")],
        hidden=c["hidden_dim"],
        vocab=c["vocab_size"],
        length=c["max_position_embeddings"],
        activation=activation(c),
    ) | {"heads": {}}


def activation(c: Settings) -> str:
    """xfm's name of the activation."""
    return c.choose("activation", ACTIVATIONS, "gelu")


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    norm = dict(kind="layernorm", eps=1e-12)
    return dict(kind="mlm", vocab=c["vocab_size"], activation=activation(c), norm=norm, **bert.own_table(c))


def classification(classes: int | None = None):
    """From config.json to the spec of a classification head: a dense layer with ReLU on the first token, and another.

    classes: their number; if None, that in config.json.
    """
    pool = dict(kind="dense", activation="relu")
    return lambda c: dict(kind="classification", classes=classes or len(c.labels), pool=pool)


KEYS = {
    "vocab_size": "embed/vocab",
    "dim": "embed/width",
    "n_layers": keys.layers,
    "n_heads": "pattern/0/heads",
    "hidden_dim": "pattern/1/hidden",
    "activation": "pattern/1/activation",
    "dropout": "embed/drop",
    "attention_dropout": "pattern/0/drop",
    "max_position_embeddings": "embed/position/length",
    "tie_word_embeddings": keys.untied("heads/mlm"),
}
NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/position": "embeddings.position_embeddings",
    "embed/norm": "embeddings.LayerNorm",
    "layer/0/part/q": "transformer.layer.{}.attention.q_lin",
    "layer/0/part/k": "transformer.layer.{}.attention.k_lin",
    "layer/0/part/v": "transformer.layer.{}.attention.v_lin",
    "layer/0/part/o": "transformer.layer.{}.attention.out_lin",
    "layer/0/out_norm": "transformer.layer.{}.sa_layer_norm",
    "layer/1/part/up": "transformer.layer.{}.ffn.lin1",
    "layer/1/part/down": "transformer.layer.{}.ffn.lin2",
    "layer/1/out_norm": "transformer.layer.{}.output_layer_norm",
}
MLM_NAMES = {"dense": "vocab_transform", "norm": "vocab_layer_norm", "bias": "vocab_projector.bias"}
TWO_LAYERS = {"pool/dense": "pre_classifier", "out": "classifier"}

FAMILY = Family(
    model_type="distilbert",
    prefix="distilbert.",
    keys=KEYS,
    classes="DistilBert",
    network=network,
    names=NAMES,
    heads={
        "masked_lm": Head("mlm", mlm, MLM_NAMES, apart={"table": "vocab_projector.weight"}),
        "sequence_classification": Head("label", classification(), TWO_LAYERS),
        "multiple_choice": Head("choice", classification(1), TWO_LAYERS),
        "token_classification": bert.TASKS["token_classification"],
        "question_answering": bert.TASKS["question_answering"],
    },
    architectures=roberta.FAMILY.architectures | {"Model": ()},
    files=Files(
        ignored={r"embeddings\.position_ids": "it only counts 0, 1, 2, …"},
        buffers=bert.FAMILY.files.buffers,
        tied={"vocab_projector.weight": "embeddings.word_embeddings.weight"},
    ),
)
