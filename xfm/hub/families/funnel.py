"""Funnel-Transformer, with its decoder and without.

Dai et al. 2020; files as transformers' FunnelModel, FunnelBaseModel and their heads write them, which are the oracle.
Whether there is a decoder depends on the class in config.json alone: FunnelBaseModel and the heads for whole texts have
none, and their outputs per token are those of pooled tokens. `attention_type`, the algorithm for scores of distances,
does not change the result. As in the reference, padding is averaged with the last token of a text if that has no other
neighbour, so values at the end of a text depend on the embedding of the padding token, and on whether there is padding.
"""

from xfm.configs.text import funnel
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.families import bert
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

WITHOUT_DECODER = ("BaseModel", "ForSequenceClassification", "ForMultipleChoice")
# Keys of training, of tables that the network does not have, and of the algorithm for scores of distances.
ASIDE = ("activation_dropout", "initializer_std", "max_position_embeddings", "type_vocab_size", "rel_attn_type")


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in ASIDE:
        c.get(key)
    c.only("attention_type", "relative_shift", "factorized")
    blocks = c["block_sizes"]
    loops = c.get("block_repeats") or [1] * len(blocks)
    decoder = c.get("num_decoder_layers", 2)
    if any(name.endswith(WITHOUT_DECODER) for name in c.get("architectures") or ()):
        decoder = None
    if decoder is not None and loops[0] != 1:
        raise XfmError(
            f"{c.path} sets block_repeats to {loops}; with a decoder xfm needs a first block whose layers run once"
        )
    apart = c.choose("separate_cls", {True: "apart", False: "paired"}, True)
    return funnel.network(
        blocks=blocks,
        loops=loops,
        width=c[("d_model", "hidden_size")],
        heads=c[("n_head", "num_attention_heads")],
        head_width=c.get("d_head", 64),
        hidden=c["d_inner"],
        vocab=c["vocab_size"],
        decoder=decoder,
        pooling=dict(
            pool=c.choose("pooling_type", {"mean": "mean", "max": "max"}, "mean"),
            first=apart,
            end=c.choose("truncate_seq", {True: "cut", False: "kept"}, True),
            keys=c.choose("pool_q_only", {True: "before", False: "after"}, True),
        ),
        activation=activation(c),
        eps=c.get("layer_norm_eps", 1e-9),
    ) | {"heads": {}}


def activation(c: Settings) -> str:
    """xfm's name of the activation."""
    return c.choose("hidden_act", ACTIVATIONS, "gelu_new")


def inputs(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family whose positions always count every token of a row, padding included.

    Raises XfmError for position_ids.
    """
    if position_ids is not None:
        raise XfmError("funnel counts the tokens of a row and takes no position_ids; leave them out")
    return counted(c, input_ids, attention_mask, token_type_ids, None)


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    c.only("tie_word_embeddings", True)
    return dict(kind="mlm", vocab=c["vocab_size"])


def encoder_alone(spec) -> list[str] | None:
    """`architectures` of an encoder without decoder and heads; None for others, whose class depends on their heads."""
    return ["FunnelBaseModel"] if spec["decoder"] is None and not spec["heads"] else None


KEYS = {
    "architectures": encoder_alone,
    "vocab_size": "embed/vocab",
    "d_model": "embed/width",
    "block_sizes": "blocks",
    "block_repeats": "loops",
    "num_decoder_layers": "decoder",
    "n_head": "pattern/0/heads",
    "d_head": keys.head_width,
    "d_inner": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "hidden_dropout": "embed/drop",
    "attention_dropout": "pattern/0/drop",
    "pooling_type": "pool",
    "separate_cls": lambda spec: spec["first"] == "apart",
    "truncate_seq": lambda spec: spec["end"] == "cut",
    "pool_q_only": lambda spec: spec["pattern"][0]["reads"] == "before",
    "layer_norm_eps": "norms/out/eps",
    "pad_token_id": None,  # transformers 5 reads that token's row as zeros, whatever the file has
}


def layer(root: str, name: str) -> dict[str, str | At]:
    """The table of names of one layer, from its path in xfm and its name in the file."""
    attention = f"{name}.attention"
    return {
        f"{root}/0/part/q": f"{attention}.q_head",
        f"{root}/0/part/k": f"{attention}.k_head",
        f"{root}/0/part/v": f"{attention}.v_head",
        f"{root}/0/part/o": f"{attention}.post_proj",
        f"{root}/0/part/r/kernel": At(f"{attention}.r_kernel", axes=(0, 1, 2)),
        f"{root}/0/part/key_bias": At(f"{attention}.r_w_bias", axes=(0, 1)),
        f"{root}/0/part/distance_bias": At(f"{attention}.r_r_bias", axes=(0, 1)),
        f"{root}/0/part/type_bias": At(f"{attention}.r_s_bias", axes=(0, 1)),
        f"{root}/0/part/types": At(f"{attention}.seg_embed", axes=(0, 1, 2)),
        f"{root}/0/out_norm": f"{attention}.layer_norm",
        f"{root}/1/part/up": f"{name}.ffn.linear_1",
        f"{root}/1/part/down": f"{name}.ffn.linear_2",
        f"{root}/1/out_norm": f"{name}.ffn.layer_norm",
    }


NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/norm": "embeddings.layer_norm",
    **layer("block", "encoder.blocks.{}.{}"),
    **layer("decoder", "decoder.layers.{}"),
}
REPLACED_NAMES = {"dense": "discriminator_predictions.dense", "out": "discriminator_predictions.dense_prediction"}
TWO_LAYERS = {"pool/dense": "classifier.linear_hidden", "out": "classifier.linear_out"}
# Names of parameters, not of the module, since names in TWO_LAYERS have the same prefix.
ONE_LAYER = {"out/kernel": "classifier.weight", "out/bias": "classifier.bias"}

FAMILY = Family(
    model_type="funnel",
    prefix="funnel.",
    keys=KEYS,
    classes="Funnel",
    network=network,
    names=NAMES,
    heads={
        "masked_lm": Head("mlm", mlm, {"bias": "lm_head.bias"}),
        "replaced_token": Head("replaced", lambda c: dict(kind="detection", activation=activation(c)), REPLACED_NAMES),
        "sequence_classification": Head("label", lambda c: funnel.classifier(len(c.labels)), TWO_LAYERS),
        "multiple_choice": Head("choice", lambda c: funnel.classifier(1), TWO_LAYERS),
        "token_classification": Head("tags", bert.TASKS["token_classification"].spec, ONE_LAYER),
        "question_answering": bert.TASKS["question_answering"],
    },
    architectures={
        "Model": (),
        "BaseModel": (),
        "ForMaskedLM": ("masked_lm",),
        "ForPreTraining": ("replaced_token",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(tied={"lm_head.weight": "embeddings.word_embeddings.weight"}),
    calling=Calling(inputs=inputs),
)
