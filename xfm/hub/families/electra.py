"""ELECTRA, discriminator and generator: BERT's layers, an embedding that may be narrower, and other heads.

Clark et al. 2020; files as transformers' ElectraModel and its heads write them, which are the oracle.
"""

import dataclasses

from xfm.configs.text import electra
from xfm.hub import keys
from xfm.hub.families import bert, roberta
from xfm.hub.family import Family, Head
from xfm.hub.settings import ACTIVATIONS, Settings

SUMMARY = ("summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout", "summary_last_dropout")


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in SUMMARY:  # only matter to the head of multiple choice, which checks them
        c.get(key)
    return electra.network(
        **bert.sizes(c),
        factor=c.get("embedding_size", 128),
        types=bert.types(c),
    ) | {"heads": {}}


def mlm(c: Settings) -> dict:
    """The spec of the generator's head, which predicts masked tokens."""
    return roberta.mlm(c, c.get("embedding_size", 128))


def choice(c: Settings) -> dict:
    """The spec of the head of multiple choice: one score per text, from the first token after a dense layer."""
    c.only("summary_type", "first")
    c.only("summary_use_proj", True)
    activation = c.choose("summary_activation", {**ACTIVATIONS, None: "identity"}, "gelu")
    return dict(kind="classification", classes=1, pool=dict(kind="dense", activation=activation))


KEYS = bert.KEYS | {"embedding_size": keys.table_width, "summary_activation": "heads/choice/pool/activation"}
MLM_NAMES = {
    "dense": "generator_predictions.dense",
    "norm": "generator_predictions.LayerNorm",
    "bias": "generator_lm_head.bias",
}
UNTIED = {"table": "generator_lm_head.weight"}
REPLACED_NAMES = {"dense": "discriminator_predictions.dense", "out": "discriminator_predictions.dense_prediction"}

FAMILY = Family(
    model_type="electra",
    prefix="electra.",
    keys=KEYS,
    classes="Electra",
    network=network,
    names=bert.NAMES | {"embed/up": "embeddings_project"},
    heads={
        "masked_lm": Head("mlm", mlm, MLM_NAMES, apart=UNTIED),
        "replaced_token": Head(
            "replaced", lambda c: dict(kind="detection", activation=bert.activation(c)), REPLACED_NAMES
        ),
        "sequence_classification": Head("label", roberta.classification("gelu"), roberta.LABEL_NAMES),
        "multiple_choice": Head("choice", choice, {"pool/dense": "sequence_summary.summary", **roberta.ONE_LAYER}),
        "token_classification": roberta.TASKS["token_classification"],
        "question_answering": roberta.TASKS["question_answering"],
    },
    architectures=roberta.FAMILY.architectures | {"Model": (), "ForPreTraining": ("replaced_token",)},
    files=dataclasses.replace(
        bert.FAMILY.files,
        tied={"generator_lm_head.weight": "embeddings.word_embeddings.weight"},
    ),
)
