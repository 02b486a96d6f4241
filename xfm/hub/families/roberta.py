"""RoBERTa and other models with its layout: XLM-RoBERTa (and multilingual-e5, bge-m3), CamemBERT, DistilRoBERTa.

Liu et al. 2019; files as transformers' RobertaModel and its heads write them, which are the oracle.
"""

import dataclasses

import numpy as np

from xfm.configs.text import roberta
from xfm.errors import XfmError
from xfm.hub.families import bert
from xfm.hub.family import Batch, Calling, Family, Head, counted
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    return roberta.network(
        **bert.sizes(c),
        types=bert.types(c),
        first=padding(c) + 1,
    ) | {"heads": {}}


def padding(c: Settings) -> int:
    """The id of the padding token, from which the Hub counts positions. Raises XfmError if it is not a number."""
    pad = c.get("pad_token_id", 1)
    if not isinstance(pad, int) or pad < 0:
        raise XfmError(
            f"{c.path} sets pad_token_id to {pad!r}; this family counts positions from it, so it must be a number"
        )
    return pad


def after_padding(c: Settings, input_ids, attention_mask, token_type_ids, position_ids, pad=None) -> Batch:
    """The batch of a family whose positions count the tokens of a row that are not the padding token.

    The first of them has position pad + 1 in the Hub's numbering and 0 in xfm's; padding tokens have pad and -1.
    """
    pad = padding(c) if pad is None else pad
    if position_ids is None:
        real = input_ids != pad
        position_ids = np.cumsum(real, axis=1) * real + pad
    return counted(c, input_ids, attention_mask, token_type_ids, position_ids - (pad + 1))


def mlm(c: Settings, factor: int | None = None) -> dict:
    """The spec of the head that predicts masked tokens.  factor: as in `bert.mlm`."""
    return bert.mlm(c, factor) | {"activation": "gelu"}


def classification(activation: str):
    """From config.json to the spec of a classification head with two layers on the first token.

    activation: xfm's name of the first layer's activation.
    """
    pool = dict(kind="dense", activation=activation)
    return lambda c: dict(kind="classification", classes=len(c.labels), pool=pool)


KEYS = bert.KEYS | {"pad_token_id": lambda spec: spec["embed"]["position"]["first"] - 1}
MLM_NAMES = {"dense": "lm_head.dense", "norm": "lm_head.layer_norm", "bias": "lm_head.bias"}
UNTIED = {"table": "lm_head.decoder.weight", "bias": "lm_head.decoder.bias"}
LABEL_NAMES = {"pool/dense": "classifier.dense", "out": "classifier.out_proj"}
# For heads of one layer. The rows name parameters, not modules, since names in LABEL_NAMES have the same prefix.
ONE_LAYER = {"out/kernel": "classifier.weight", "out/bias": "classifier.bias"}
TASKS = bert.TASKS | {
    "sequence_classification": Head("label", classification("tanh"), LABEL_NAMES),
    "multiple_choice": dataclasses.replace(bert.TASKS["multiple_choice"], names=ONE_LAYER),
    "token_classification": dataclasses.replace(bert.TASKS["token_classification"], names=ONE_LAYER),
}

FAMILY = Family(
    model_type="roberta",
    prefix="roberta.",
    keys=KEYS,
    classes="Roberta",
    network=network,
    names=bert.NAMES,
    heads={"pooled": bert.POOLER, "masked_lm": Head("mlm", mlm, MLM_NAMES, apart=UNTIED), **TASKS},
    architectures={
        "Model": ("pooled",),
        "ForMaskedLM": ("masked_lm",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=dataclasses.replace(
        bert.FAMILY.files,
        tied={"lm_head.decoder.weight": "embeddings.word_embeddings.weight", "lm_head.decoder.bias": "lm_head.bias"},
    ),
    calling=Calling(inputs=after_padding),
)
XLM = dataclasses.replace(FAMILY, model_type="xlm-roberta", classes="XLMRoberta")
CAMEMBERT = dataclasses.replace(FAMILY, model_type="camembert", classes="Camembert")
