"""EuroBERT. Boizard et al. 2025; files as EuroBertModel and its heads in transformers write them, the oracle."""

from xfm.configs.text import eurobert
from xfm.hub import buffers, keys, rotary
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys that the network does not need: a length (there is no table of positions), tokens, and those of the heads.
UNUSED = (
    "max_position_embeddings", "bos_token", "eos_token", "pad_token", "mask_token", "classifier_pooling", "clf_pooling",
)  # fmt: skip


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get(UNUSED)
    c.only("pretraining_tp", 1)
    heads = c["num_attention_heads"]
    return eurobert.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=heads,
        kv_heads=c.get("num_key_value_heads") or heads,
        hidden=c["intermediate_size"],
        vocab=c["vocab_size"],
        theta=rotary.theta(c),
        activation=c.choose("hidden_act", ACTIVATIONS, "silu"),
        eps=c.get("rms_norm_eps", 1e-5),
        biases=dict(attention=c.get("attention_bias", False), ffn=c.get("mlp_bias", False)),
        head_width=c.get("head_dim"),
    ) | {"heads": {}}


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    table = {True: "tied", False: "own"}[c.get("tie_word_embeddings", False)]
    return dict(kind="mlm", vocab=c["vocab_size"], table=table, bias=c.get("mlp_bias", False))


def classification(c: Settings) -> dict:
    """The spec of the classification head.

    "late" pooling takes the mean of the classes' scores. Since the last layer is linear, the mean is taken before it.
    """
    key, label = ("classifier_pooling", "clf_pooling"), dict(kind="classification", classes=len(c.labels))
    pool = c.choose(key, {"bos": "cls", "mean": "mean", "late": "late"}, "late")
    if pool == "late":
        return dict(kind="dense", activation="gelu", head=dict(label, pool=dict(kind="mean")))
    return dict(label, pool=dict(kind="dense", activation="gelu", pool=dict(kind=pool)))


KEYS = {
    "vocab_size": "embed/vocab",
    "hidden_size": "embed/width",
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "num_key_value_heads": "pattern/0/kv_heads",
    "head_dim": "pattern/0/width",
    "intermediate_size": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "rope_parameters": keys.rope,
    "rms_norm_eps": "norm/eps",
    "attention_bias": "pattern/0/bias",
    "mlp_bias": "pattern/1/bias",
    "tie_word_embeddings": keys.tied("heads/mlm"),
    "classifier_pooling": lambda spec: pooling(spec.get("heads", {}).get("label")),
}


def pooling(label) -> str | None:
    """The value of classifier_pooling for a classification head's spec; None if there is no such head."""
    if label is None or label["kind"] == "dense":
        return label and "late"
    return {"cls": "bos", "mean": "mean"}[label["pool"]["pool"]["kind"]]


NAMES = {
    "embed/word": "embed_tokens",
    "layer/0/in_norm": "layers.{}.input_layernorm",
    "layer/0/part/q": "layers.{}.self_attn.q_proj",
    "layer/0/part/k": "layers.{}.self_attn.k_proj",
    "layer/0/part/v": "layers.{}.self_attn.v_proj",
    "layer/0/part/o": "layers.{}.self_attn.o_proj",
    "layer/1/in_norm": "layers.{}.post_attention_layernorm",
    "layer/1/part/gate": "layers.{}.mlp.gate_proj",
    "layer/1/part/up": "layers.{}.mlp.up_proj",
    "layer/1/part/down": "layers.{}.mlp.down_proj",
    "norm": "norm",
    # The head masked_lm may have no tensors of its own; then only config.json shows that it is there.
    "head_mlm/table": "lm_head.weight",
    "head_mlm/bias": "lm_head.bias",
}
LATE = {"dense": "dense", "head/out": "classifier"}
POOLED = {"pool/dense": "dense", "out": "classifier"}

FAMILY = Family(
    model_type="eurobert",
    prefix="model.",
    keys=KEYS,
    classes="EuroBert",
    network=network,
    names=NAMES,
    heads={
        "masked_lm": Head("mlm", mlm, {}),
        "sequence_classification": Head("label", classification, LATE | POOLED),
        "token_classification": Head(
            "tags", lambda c: dict(kind="tagging", classes=len(c.labels)), {"out": "classifier"}
        ),
    },
    architectures={
        "Model": (),
        "ForMaskedLM": ("masked_lm",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForTokenClassification": ("token_classification",),
    },
    files=Files(
        buffers={r".*rotary_emb\.inv_freq": buffers.frequencies},
        ignored={
            r".*rotary_emb\.inv_freq": "it is computed from the base of rotary positions",
            r"lm_head\..*": "the head masked_lm is not loaded, or uses the embedding's table",
        },
    ),
)
