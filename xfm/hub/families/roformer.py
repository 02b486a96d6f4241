"""RoFormer. Su et al. 2021; files as transformers' RoFormerModel and its heads write them, which are the oracle.

The files have a table of sines, which follows from positions and width. It is not read, but it is written.
The reference's head of multiple choice pools the last token of a row, even if it is padding; here it is the last token
that is not padding.
"""

import numpy as np

from xfm.configs.text import roformer
from xfm.hub import buffers, keys
from xfm.hub.families import bert
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import Settings

POSITIONS = 1536  # rows of the table of sines if config.json does not say


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    width, factor = c["hidden_size"], c.get("embedding_size")
    c.get("max_position_embeddings")  # rows of the table of sines, which the network does not need
    return roformer.network(
        layers=c["num_hidden_layers"],
        width=width,
        heads=c["num_attention_heads"],
        vocab=c["vocab_size"],
        hidden=c["intermediate_size"],
        factor=None if factor in (None, width) else factor,
        types=bert.types(c),
        activation=bert.activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
        turns=c.choose("rotary_value", {False: "qk", True: "qkv"}, False),
    ) | {"heads": {}}


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    return bert.mlm(c, c.get("embedding_size"))


def labels(c: Settings) -> dict:
    """The spec of the classification head."""
    return dict(kind="classification", classes=len(c.labels), pool=dict(kind="dense", activation=bert.activation(c)))


def choice(c: Settings) -> dict:
    """The spec of the head of multiple choice: one score per text, from its last token."""
    c.only("summary_type", "last")
    c.only("summary_use_proj", False, None)
    return dict(kind="classification", classes=1, pool=dict(kind="last"))


KEYS = bert.KEYS | {
    "embedding_size": keys.table_width,
    "rotary_value": lambda spec: spec["pattern"][0]["position"]["turns"] == "qkv",
}


def sines(c: Settings) -> dict[str, np.ndarray]:
    """The file's table: a row for each position, with the sines of its angles followed by the cosines."""
    width = c["hidden_size"] // c["num_attention_heads"]
    wavelengths = np.power(10_000, np.arange(0, width, 2) / width)
    angles = np.arange(c.get("max_position_embeddings", POSITIONS))[:, None] / wavelengths
    table = np.concatenate([np.sin(angles), np.cos(angles)[:, : width // 2]], axis=1)
    return {"encoder.embed_positions.weight": table.astype(np.float32)}


def as_computed(c: Settings, spec, array: np.ndarray) -> bool:
    """A check for the table of sines."""
    (table,) = sines(c).values()
    return buffers.leading(array, table)


NAMES = {path: name for path, name in bert.NAMES.items() if path != "embed/position"}

FAMILY = Family(
    model_type="roformer",
    prefix="roformer.",
    keys=KEYS,
    classes="RoFormer",
    network=network,
    names=NAMES | {"embed/up": "embeddings_project"},
    heads={
        "masked_lm": Head("mlm", mlm, bert.MLM_NAMES, apart=bert.UNTIED),
        "sequence_classification": Head(
            "label", labels, {"pool/dense": "classifier.dense", "out": "classifier.out_proj"}
        ),
        "multiple_choice": Head("choice", choice, {"out": "classifier"}),
        "token_classification": bert.TASKS["token_classification"],
        "question_answering": bert.TASKS["question_answering"],
    },
    architectures={
        "Model": (),
        "ForMaskedLM": ("masked_lm",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(
        constants=sines,
        ignored={r"encoder\.embed_positions\.weight": "it is a table of sines and cosines"},
        buffers={r"encoder\.embed_positions\.weight": as_computed},
        tied=bert.FAMILY.files.tied,
    ),
)
