"""The encoders of T5, mT5, ByT5 and umT5, from files of the encoder alone or of encoder and decoder.

Raffel et al. 2020; the oracle is transformers' T5EncoderModel (MT5, UMT5). The decoder is not loaded.
"""

import dataclasses
from functools import partial

from xfm.configs.text import t5_encoder
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys of the decoder or of the task, and keys that repeat others.
ASIDE = (
    "is_encoder_decoder",
    "num_decoder_layers",
    "scale_decoder_outputs",
    "dropout_rate",
    "n_positions",
    "output_past",
)


def network(c: Settings, ffn: str = "relu", table: str = "one") -> dict:
    """The spec of the network that config.json describes, without heads.

    ffn: feed_forward_proj if config.json does not set it.
    table: "one" table of distances for all layers, or one for "each".
    Raises XfmError for activations that xfm does not have.
    """
    for key in ASIDE:
        c.get(key)
    ffn = c.get("feed_forward_proj", ffn)
    *gated, activation = ffn.split("-")
    if gated not in ([], ["gated"]):
        raise XfmError(
            f"{c.path} sets feed_forward_proj to {ffn!r}; it must be an activation, or 'gated-' and an activation"
        )
    activation = "gelu_new" if ffn == "gated-gelu" else activation
    c.only("is_gated_act", bool(gated))
    c.only("dense_act_fn", activation)
    if activation not in ACTIVATIONS:
        raise XfmError(f"{c.path} sets feed_forward_proj to {ffn!r}; xfm knows {', '.join(ACTIVATIONS)}")
    return t5_encoder.network(
        layers=c["num_layers"],
        width=c["d_model"],
        heads=c["num_heads"],
        hidden=c["d_ff"],
        head_width=c["d_kv"],
        vocab=c["vocab_size"],
        ffn="glu" if gated else "mlp",
        activation=ACTIVATIONS[activation],
        distances=dict(
            buckets=c.get("relative_attention_num_buckets", 32),
            reach=c.get("relative_attention_max_distance", 128),
        ),
        table=table,
        eps=c.get("layer_norm_epsilon", 1e-6),
    ) | {"heads": {}}


def inputs(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family with relative positions. Raises XfmError for position_ids."""
    if position_ids is not None:
        raise XfmError("t5 has relative positions and takes no position_ids; leave them out")
    return counted(c, input_ids, attention_mask, token_type_ids, None)


def of_distances(field: str):
    """From the spec to a field of the table of distances, which all layers share or each layer has."""
    paths = (f"position/{field}", f"pattern/0/position/{field}")
    return lambda spec: next((value for value in (keys.at(spec, path) for path in paths) if value), None)


def feed_forward(spec) -> str:
    """The value of feed_forward_proj."""
    ffn = spec["pattern"][1]
    name = keys.HUB_ACTIVATIONS[ffn["activation"]]
    if ffn["kind"] == "mlp":
        return name
    return "gated-" + {"gelu_new": "gelu", "gelu": "gelu_python"}.get(name, name)


KEYS = {
    "vocab_size": "embed/vocab",
    "d_model": "embed/width",
    "num_layers": keys.layers,
    "num_heads": "pattern/0/heads",
    "d_kv": "pattern/0/width",
    "d_ff": "pattern/1/hidden",
    "feed_forward_proj": feed_forward,
    "relative_attention_num_buckets": of_distances("buckets"),
    "relative_attention_max_distance": of_distances("reach"),
    "layer_norm_epsilon": "norm/eps",
    "dropout_rate": "embed/drop",
}
ATTENTION, FFN = "encoder.block.{}.layer.0.", "encoder.block.{}.layer.1."
NAMES = {
    "embed/word": "shared",
    "position": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "layer/0/in_norm": f"{ATTENTION}layer_norm",
    "layer/0/part": f"{ATTENTION}SelfAttention",
    "layer/0/part/position": f"{ATTENTION}SelfAttention.relative_attention_bias",
    "layer/mlp_1/in_norm": f"{FFN}layer_norm",
    "layer/mlp_1/part/up": f"{FFN}DenseReluDense.wi",
    "layer/mlp_1/part/down": f"{FFN}DenseReluDense.wo",
    "layer/glu_1/in_norm": f"{FFN}layer_norm",
    "layer/glu_1/part/gate": f"{FFN}DenseReluDense.wi_0",
    "layer/glu_1/part/up": f"{FFN}DenseReluDense.wi_1",
    "layer/glu_1/part/down": f"{FFN}DenseReluDense.wo",
    "norm": "encoder.final_layer_norm",
}

FAMILY = Family(
    model_type="t5",
    prefix="transformer.",
    keys=KEYS,
    classes="T5",
    network=network,
    names=NAMES,
    heads={
        "token_classification": Head(
            "tags", lambda c: dict(kind="tagging", classes=len(c.labels)), {"out": "classifier"}
        ),
    },
    architectures={
        "EncoderModel": (),
        "Model": (),
        "ForConditionalGeneration": (),
        "ForTokenClassification": ("token_classification",),
    },
    files=Files(
        wholes=("ForConditionalGeneration", "Model"),
        ignored={r"decoder\..*": "it belongs to the decoder", r"lm_head\.weight": "it is the decoder's output layer"},
        tied={"encoder.embed_tokens.weight": "shared.weight"},
    ),
    calling=Calling(inputs=inputs),
)
MT5 = dataclasses.replace(FAMILY, model_type="mt5", classes="MT5", network=partial(network, ffn="gated-gelu"))
UMT5 = dataclasses.replace(
    FAMILY, model_type="umt5", classes="UMT5", network=partial(network, ffn="gated-gelu", table="each")
)
