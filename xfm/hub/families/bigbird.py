"""BigBird. Zaheer et al. 2020; files as transformers' BigBirdModel and its heads write them, which are the oracle.

Attention is full or block-sparse, as config.json says. In evaluation, the reference's random blocks are always the
first block; here they are too. The reference divides whole rows into blocks, with padding; here a text has the result
that the reference gives without padding.

In checkpoints of the class for question answering, a row is a question, up to the first separator, and a text. Answers
cannot be in the question, except at its first token: its scores are lowered by a million. Token types that the caller
does not give are 0 in the question and 1 after it. The argument question_lengths is not supported.
"""

from typing import Any

import numpy as np

from xfm.configs.text import bigbird
from xfm.hub import keys
from xfm.hub.families import bert, roberta
from xfm.hub.family import Batch, Calling, Family, Head, counted
from xfm.hub.settings import ACTIVATIONS, Settings

SIGHT = "pattern/0/sight"


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.only("use_bias", True)
    c.only("rescale_embeddings", False)
    c.get("sep_token_id")  # `inputs` reads it
    kind = c.choose("attention_type", {"original_full": "full", "block_sparse": "sparse"}, "block_sparse")
    block, drawn = c.get("block_size", 64), c.get("num_random_blocks", 3)
    return bigbird.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        vocab=c["vocab_size"],
        length=c["max_position_embeddings"],
        hidden=c["intermediate_size"],
        types=bert.types(c),
        activation=activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
        sight=dict(block=block, again=drawn, dense=(5 + 2 * drawn) * block) if kind == "sparse" else None,
    ) | {"heads": {}}


def drawn(spec) -> int | None:
    """num_random_blocks, from the length up to which attention is full; at least 1, which the reference needs.

    None if attention is always full.
    """
    sight = keys.at(spec, SIGHT)
    return None if sight is None else max((sight["dense"] // sight["block"] - 5) // 2, 1)


def inputs(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """BERT's batch; for the class for question answering with the question's types, and with "barred" tokens, which
    cannot be in an answer.
    """
    if not any(name.endswith("ForQuestionAnswering") for name in c.get("architectures") or ()):
        return counted(c, input_ids, attention_mask, token_type_ids, position_ids)
    ids = np.asarray(input_ids)
    end = np.argmax(ids == c.get("sep_token_id", 66), axis=1)  # 0, for no question, in a row without a separator
    question = np.arange(ids.shape[1]) <= end[:, None]
    types = ~question if token_type_ids is None else token_type_ids
    batch = counted(c, input_ids, attention_mask, types, position_ids)
    return batch | {"barred": np.asarray(question & (np.arange(ids.shape[1]) > 0), np.int32)}


def outputs(batch: Batch, out: dict[str, Any]) -> dict[str, Any]:
    """The outputs, with the scores of answers lowered by a million at barred tokens."""
    if "barred" not in batch or "span" not in out:
        return out
    return {**out, "span": out["span"] - 1e6 * batch["barred"][..., None]}


KEYS = bert.KEYS | {
    "attention_type": lambda spec: "original_full" if keys.at(spec, SIGHT) is None else "block_sparse",
    "block_size": f"{SIGHT}/block",
    "num_random_blocks": drawn,
}


def activation(c: Settings) -> str:
    """xfm's name of the activation."""
    return c.choose("hidden_act", ACTIVATIONS, "gelu_new")


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    return bert.mlm(c) | {"activation": activation(c)}


def labels(c: Settings) -> dict:
    """The spec of the classification head."""
    return roberta.classification(activation(c))(c)


def span(c: Settings) -> dict:
    """The spec of the head that finds answer spans: BERT's, after a feed-forward sublayer."""
    ffn = dict(kind="mlp", hidden=c["intermediate_size"], activation=activation(c))
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    return dict(kind="ffn", ffn=ffn, norm=norm, head=dict(kind="span"))


SPAN_NAMES = {
    "ffn/up": "qa_classifier.intermediate.dense",
    "ffn/down": "qa_classifier.output.dense",
    "norm": "qa_classifier.output.LayerNorm",
    "head/out": "qa_classifier.qa_outputs",
}

FAMILY = Family(
    model_type="big_bird",
    prefix="bert.",
    keys=KEYS,
    classes="BigBird",
    near={
        "again": "in training, no random blocks were attended to; the Hub's network counts the first block for each",
        "dense": "in training, attention was full up to another length of texts",
    },
    network=network,
    names=bert.NAMES,
    heads={
        "pooled": Head("pooled", bert.POOLER.spec, {"pool/dense": "pooler"}, of_encoder=True),
        "masked_lm": Head("mlm", mlm, bert.MLM_NAMES, apart=bert.UNTIED),
        "next_sentence": bert.FAMILY.heads["next_sentence"],
        "sequence_classification": Head("label", labels, roberta.LABEL_NAMES),
        "multiple_choice": roberta.TASKS["multiple_choice"],
        "token_classification": roberta.TASKS["token_classification"],
        "question_answering": Head("span", span, SPAN_NAMES),
    },
    architectures={
        end: heads for end, heads in bert.FAMILY.architectures.items() if end != "ForNextSentencePrediction"
    },
    files=bert.FAMILY.files,
    calling=Calling(inputs=inputs, outputs=outputs),
)
