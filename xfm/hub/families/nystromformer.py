"""Nyströmformer. Xiong et al. 2021; files as transformers' NystromformerModel and its heads write them, the oracle.

If config.json has as many landmarks as tokens (as the published checkpoints, with 64 and 64), attention is exact. With
fewer, the reference's rows must have exactly segment_means_seq_len tokens; xfm's may have any length. The reference's
landmarks and convolutions read padding as text; here a text has the result that the reference gives without padding.
"""

from xfm.configs.text import nystromformer
from xfm.hub import buffers
from xfm.hub.families import bert, roberta
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.settings import ACTIVATIONS, Settings

FIRST = 2  # the Hub's number of the first position


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.only("inv_coeff_init_option", False)
    landmarks, tokens = c.get("num_landmarks", 64), c.get("segment_means_seq_len", 64)
    return nystromformer.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        vocab=c["vocab_size"],
        length=c["max_position_embeddings"],
        mixer=dict(
            landmarks=None if landmarks == tokens else landmarks,
            conv=c.get("conv_kernel_size", 65),
            start="batch",
            texts=1,
        ),
        hidden=c["intermediate_size"],
        types=bert.types(c),
        activation=activation(c),
        eps=eps(c),
    ) | {"heads": {}}


def length(spec) -> int:
    """max_position_embeddings: the number of positions that tokens can have."""
    return spec["embed"]["position"]["length"] - FIRST


KEYS = bert.KEYS | {
    "max_position_embeddings": length,
    "num_landmarks": lambda spec: spec["pattern"][0]["landmarks"] or length(spec),
    "segment_means_seq_len": length,
    "conv_kernel_size": "pattern/0/conv",
}


def activation(c: Settings) -> str:
    """xfm's name of the activation."""
    return c.choose("hidden_act", ACTIVATIONS, "gelu_new")


def eps(c: Settings) -> float:
    """The epsilon of layer normalisation."""
    return c.get("layer_norm_eps", 1e-5)


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    return bert.mlm(c) | {"activation": activation(c), "norm": dict(kind="layernorm", eps=eps(c))}


def from_two(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family whose first position has the number 2 in the Hub's position_ids."""
    positions = None if position_ids is None else position_ids - FIRST
    return counted(c, input_ids, attention_mask, token_type_ids, positions)


LABELS = Head("label", lambda c: roberta.classification(activation(c))(c), roberta.LABEL_NAMES)
CHOICE_POOL = dict(kind="dense", activation="relu")
CHOICE = Head("choice", bert.classification(1, CHOICE_POOL), {"pool/dense": "pre_classifier", **roberta.ONE_LAYER})

FAMILY = Family(
    model_type="nystromformer",
    prefix="nystromformer.",
    keys=KEYS,
    classes="Nystromformer",
    near={
        "start": "in training, the iteration for the inverse of the landmarks' attention began anew for each text; "
        "the Hub's code has one start for the whole batch",
        "texts": "in training, rows had any number of texts; for the Hub's code they have one",
    },
    network=network,
    names=bert.NAMES | {"layer/0/part/conv": "encoder.layer.{}.attention.self.conv.weight"},
    heads={
        "masked_lm": Head("mlm", mlm, bert.MLM_NAMES, apart=bert.UNTIED),
        "sequence_classification": LABELS,
        "multiple_choice": CHOICE,
        "token_classification": roberta.TASKS["token_classification"],
        "question_answering": roberta.TASKS["question_answering"],
    },
    architectures=roberta.FAMILY.architectures | {"Model": ()},
    files=Files(
        renames=bert.FAMILY.files.renames,
        ignored=bert.FAMILY.files.ignored,
        buffers={r"embeddings\.position_ids": buffers.counting(FIRST)},
        tied=bert.FAMILY.files.tied,
    ),
    calling=Calling(inputs=from_two),
)
