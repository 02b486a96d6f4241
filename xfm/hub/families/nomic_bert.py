"""NomicBERT: nomic-embed-text v1 and v1.5, nomic-bert-2048, CodeRankEmbed.

Nussbaum et al. 2024. Two generations of files have the same tensors with nearly the same names: those of the authors'
code (config.json with n_embd, n_head, …, prefix "bert.") and those of transformers, which is the oracle.
"""

from xfm.configs.text import nomic_bert
from xfm.errors import XfmError
from xfm.hub import buffers, keys, rotary
from xfm.hub.families import bert
from xfm.hub.family import Calling, Family, Files, Head, counted
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

GATES = {"swiglu": "silu", "geglu": "gelu", "glu": "sigmoid"}
# Keys that the network does not need: lengths (there is no table of positions), those of training and of the CUDA
# code, and GPT-2's, which the older config.json inherits.
UNUSED = (
    "max_position_embeddings", "n_positions", "resid_pdrop", "embd_pdrop", "attn_pdrop", "use_flash_attn",
    "fused_bias_fc", "fused_dropout_add_ln", "use_xentropy", "dense_seq_output", "summary_type", "summary_use_proj",
    "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
)  # fmt: skip


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get(UNUSED)
    c.get(("rotary_scaling_factor", "max_trained_positions"))  # `inputs` checks them
    c.only("scale_attn_weights", True)
    c.only("rotary_emb_fraction", 1.0)
    heads, pairs = c[("num_attention_heads", "n_head")], {False: "halves", True: "neighbours"}
    if c.get("num_heads_kv", heads) not in (None, heads):
        raise XfmError(f"{c.path} sets num_heads_kv to {c['num_heads_kv']}; xfm has this family with {heads}")
    return nomic_bert.network(
        layers=c[("num_hidden_layers", "n_layer")],
        width=c[("hidden_size", "n_embd")],
        heads=heads,
        hidden=c[("intermediate_size", "n_inner")],
        vocab=vocab(c),
        types=c.get("type_vocab_size", 2),
        activation=activation(c),
        eps=eps(c),
        position=dict(
            kind="rope",
            theta=rotary.theta(c, 1000.0, old="rotary_emb_base"),
            pairs=c.choose("rotary_emb_interleaved", pairs, False),
        ),
        biases=dict(
            attention=c.get("qkv_proj_bias", False),
            up=c.get("mlp_fc1_bias", False),
            down=c.get("mlp_fc2_bias", False),
            head=True,
        ),
        head_width=c.get("head_dim"),
    ) | {"heads": {}}


def vocab(c: Settings) -> int:
    """The number of rows of the embedding table, which the older code rounds up."""
    multiple = c.get("pad_vocab_size_multiple") or 1
    return -(-c["vocab_size"] // multiple) * multiple


def activation(c: Settings) -> str:
    """xfm's name of the gate's activation."""
    if c.get("activation_function") is None:
        return c.choose("hidden_act", ACTIVATIONS, "silu")
    c.get("hidden_act")
    return c.choose("activation_function", GATES)


def eps(c: Settings) -> float:
    """The epsilon of layer normalisation."""
    return c.get(("layer_norm_eps", "layer_norm_epsilon"), 1e-12)


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    c.only("tie_word_embeddings", True)
    older = c.get("activation_function")  # in older files the head has a bias if feed-forward parts have one
    bias = True if older is None else c.get("mlp_fc1_bias", False)
    act = activation(c) if older in (None, "swiglu") else "gelu"
    norm = dict(kind="layernorm", eps=eps(c))
    return dict(kind="dense", activation=act, bias=bias, norm=norm, head=dict(kind="mlm", vocab=vocab(c), bias=bias))


def inputs(c: Settings, input_ids, attention_mask, token_type_ids, position_ids):
    """The batch of `counted`. Raises XfmError for rows so long that the authors' code would change the rotary base."""
    length, factor, trained = input_ids.shape[1], c.get("rotary_scaling_factor"), c.get("max_trained_positions", 2048)
    if factor is not None and length > trained:
        raise XfmError(
            f"{c.path} sets rotary_scaling_factor to {factor}, which changes rows of more than {trained} tokens and is "
            f"not in xfm; give shorter rows than {length}"
        )
    return counted(c, input_ids, attention_mask, token_type_ids, position_ids)


KEYS = {
    "vocab_size": "embed/vocab",
    "hidden_size": "embed/width",
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "head_dim": "pattern/0/width",
    "intermediate_size": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "type_vocab_size": "embed/types",
    "layer_norm_eps": "embed/norm/eps",
    "rope_parameters": keys.rope,
}
NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/type": "embeddings.token_type_embeddings",
    "embed/norm": "emb_ln",
    "layer/0/part/q": At("encoder.layers.{}.attn.Wqkv", part=(0, 3)),
    "layer/0/part/k": At("encoder.layers.{}.attn.Wqkv", part=(1, 3)),
    "layer/0/part/v": At("encoder.layers.{}.attn.Wqkv", part=(2, 3)),
    "layer/0/part/o": "encoder.layers.{}.attn.out_proj",
    "layer/0/out_norm": "encoder.layers.{}.norm1",
    "layer/1/part/up": "encoder.layers.{}.mlp.fc11",
    "layer/1/part/gate": "encoder.layers.{}.mlp.fc12",
    "layer/1/part/down": "encoder.layers.{}.mlp.fc2",
    "layer/1/out_norm": "encoder.layers.{}.norm2",
}
MLM_NAMES = {
    "dense": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.layer_norm",
    "head/bias": "cls.predictions.bias",
}

FAMILY = Family(
    model_type="nomic_bert",
    prefix="nomic_bert.",
    keys=KEYS,
    classes="NomicBert",
    network=network,
    names=NAMES,
    heads={
        "pooled": bert.POOLER,
        "masked_lm": Head("mlm", mlm, MLM_NAMES),
        "sequence_classification": bert.TASKS["sequence_classification"],
        "token_classification": bert.TASKS["token_classification"],
    },
    architectures={
        "Model": ("pooled",),
        "ForMaskedLM": ("masked_lm",),
        "ForPreTraining": ("masked_lm",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForTokenClassification": ("token_classification",),
    },
    files=Files(
        renames=((r"^bert\.", ""),),
        ignored={r".*rotary_emb\.inv_freq": "it is computed from the base of rotary positions"},
        buffers={r".*rotary_emb\.inv_freq": buffers.frequencies},
        tied={
            "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    calling=Calling(inputs=inputs),
)
