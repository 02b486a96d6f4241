"""OPT, from 125M to 175B parameters.

Zhang et al. 2022; files as transformers' OPTModel and its heads write them, which are the oracle.
"""

import numpy as np

from xfm.configs.text import opt
from xfm.hub import keys
from xfm.hub.families import gpt2
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.settings import ACTIVATIONS, Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in ("layerdrop", "init_std", "output_past"):  # only matter in training
        c.get(key)
    c.only("layer_norm_elementwise_affine", True)
    width, before = c["hidden_size"], c.get("do_layer_norm_before", True)
    table = c.get("word_embed_proj_dim") or width
    spec = opt.network(
        layers=c["num_hidden_layers"],
        width=width,
        heads=c["num_attention_heads"],
        vocab=c["vocab_size"],
        length=c["max_position_embeddings"],
        hidden=c["ffn_dim"],
        table=None if table == width else table,
        norms="in" if before else "out",
        last="layernorm" if before and not c.get("_remove_final_layer_norm", False) else None,
        activation=c.choose("activation_function", ACTIVATIONS, "relu"),
        bias=c.get("enable_bias", True),
    )
    return spec | {"heads": {}}


def among_real(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family whose positions count the tokens that are not padding."""
    if position_ids is None and attention_mask is not None:
        position_ids = np.maximum(np.cumsum(np.asarray(attention_mask) > 0, axis=1) - 1, 0)
    return counted(c, input_ids, attention_mask, token_type_ids, position_ids)


KEYS = {
    "vocab_size": "embed/vocab",
    "hidden_size": "embed/width",
    "word_embed_proj_dim": lambda spec: spec["out"] or spec["embed"]["width"],
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "ffn_dim": "pattern/1/hidden",
    "activation_function": "pattern/1/activation",
    "enable_bias": "pattern/0/bias",
    "dropout": "residual/drop",
    "attention_dropout": "pattern/0/drop",
    "max_position_embeddings": lambda spec: (spec["embed"].get("places") or spec["embed"]["position"])["length"] - 2,
    "do_layer_norm_before": lambda spec: "in" in spec["norms"],
    "_remove_final_layer_norm": lambda spec: spec["norm"] is None,
    "tie_word_embeddings": keys.tied("heads/lm"),
}
LAYER = "decoder.layers.{}."
NAMES = {
    "embed/word": "decoder.embed_tokens",
    "embed/position": "decoder.embed_positions",
    "embed/tokens/word": "decoder.embed_tokens",
    "embed/up": "decoder.project_in",
    "embed/places": "decoder.embed_positions",
    "layer/0/in_norm": f"{LAYER}self_attn_layer_norm",
    "layer/0/out_norm": f"{LAYER}self_attn_layer_norm",
    "layer/0/part/q": f"{LAYER}self_attn.q_proj",
    "layer/0/part/k": f"{LAYER}self_attn.k_proj",
    "layer/0/part/v": f"{LAYER}self_attn.v_proj",
    "layer/0/part/o": f"{LAYER}self_attn.out_proj",
    "layer/1/in_norm": f"{LAYER}final_layer_norm",
    "layer/1/out_norm": f"{LAYER}final_layer_norm",
    "layer/1/part/up": f"{LAYER}fc1",
    "layer/1/part/down": f"{LAYER}fc2",
    "norm": "decoder.final_layer_norm",
    "out": "decoder.project_out",
    "head_lm/table": "lm_head.weight",
}

FAMILY = Family(
    model_type="opt",
    prefix="model.",
    keys=KEYS,
    classes="OPT",
    network=network,
    names=NAMES,
    heads={
        "causal_lm": Head("lm", gpt2.causal_lm, {}),
        "sequence_classification": Head("label", gpt2.labels, {"out": "score"}),
        "question_answering": Head("span", lambda c: dict(kind="span"), {"out": "qa_outputs"}),
    },
    architectures={
        "ForCausalLM": ("causal_lm",),
        "Model": (),
        "ForSequenceClassification": ("sequence_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(tied={"lm_head.weight": "decoder.embed_tokens.weight"}),
    calling=Calling(inputs=among_real),
)
