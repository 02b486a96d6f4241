"""ModernBERT and other models with its layout: Ettin, GTE-ModernBERT, modernbert-embed, Granite's R2.

Warner et al. 2024; files as transformers' ModernBertModel and its heads write them, which are the oracle. Two
generations of config.json are read: `global_attn_every_n_layers` with a rotary base for each kind of layer, and
`layer_types` with `rope_parameters`.
"""

from xfm.configs.text import modernbert
from xfm.errors import XfmError
from xfm.hub import keys, rotary
from xfm.hub.family import Family, Files, Head
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys that the encoder does not need: an epsilon (norm_eps is used), a length (there is no table of positions), and
# those of training and of the heads.
UNUSED = (
    "layer_norm_eps", "max_position_embeddings", "embedding_dropout", "mlp_dropout", "initializer_cutoff_factor",
    "sparse_prediction", "sparse_pred_ignore_index", "classifier_pooling", "classifier_activation",
)  # fmt: skip


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get(UNUSED)
    c.only("position_embedding_type", "absolute", "sans_pos", None)  # positions are rotary with any of these values
    return modernbert.network(
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        hidden=c["intermediate_size"],
        vocab=c["vocab_size"],
        windows=windows(c),
        thetas=thetas(c),
        activation=c.choose("hidden_activation", ACTIVATIONS, "gelu"),
        eps=c.get("norm_eps", 1e-5),
        biases=biases(c),
    ) | {"heads": {}}


def biases(c: Settings) -> dict:
    """Which kinds of layers have biases."""
    keys = dict(
        norm="norm_bias", attention="attention_bias", ffn="mlp_bias", head="classifier_bias", vocab="decoder_bias"
    )
    return {name: c.get(key, modernbert.BIASES[name]) for name, key in keys.items()}


def windows(c: Settings) -> list[int | None]:
    """The attention window of each layer in tokens; None for global attention."""
    layers, window = c["num_hidden_layers"], c.get("local_attention", 128)
    every, types = c.get("global_attn_every_n_layers", 3), c.get("layer_types")
    if types is None:
        return modernbert.windows(layers, every, window)
    known = {"full_attention": None, "sliding_attention": window}
    if len(types) != layers or not set(types) <= set(known):
        raise XfmError(
            f"{c.path} sets layer_types to {types!r}; it must have {' or '.join(map(repr, known))} for each of the "
            f"{layers} layers"
        )
    return [known[kind] for kind in types]


def thetas(c: Settings) -> tuple[float, float]:
    """The rotary bases of layers with global attention and of layers with a window."""
    full = c.get("global_rope_theta", modernbert.GLOBAL)
    old = {"full_attention": full, "sliding_attention": c.get("local_rope_theta", modernbert.LOCAL) or full}
    new = c.get("rope_parameters") or {}
    c.only("rope_scaling", None)
    return tuple(rotary.base(c, new.get(kind) or {}, old[kind]) for kind in old)


def layer_before(c: Settings) -> dict:
    """The fields of the dense layer before the last layer of each head."""
    norm = dict(kind="layernorm", eps=c.get("norm_eps", 1e-5), bias=biases(c)["norm"])
    return dict(activation=c.choose("classifier_activation", ACTIVATIONS, "gelu"), bias=biases(c)["head"], norm=norm)


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    table = {True: "tied", False: "own"}[c.get("tie_word_embeddings", True)]
    head = dict(kind="mlm", vocab=c["vocab_size"], table=table, bias=biases(c)["vocab"])
    return dict(kind="dense", head=head, **layer_before(c))


def classification(cls: str, classes: int | None = None):
    """From config.json to the spec of a classification head.

    cls: the kind of pool for the value "cls".  classes: their number; if None, that in config.json.
    """

    def spec(c: Settings) -> dict:
        pool = c.choose("classifier_pooling", {"cls": cls, "mean": "mean"}, "cls")
        dense = dict(kind="dense", pool=dict(kind=pool), **layer_before(c))
        return dict(kind="classification", classes=classes or len(c.labels), pool=dense)

    return spec


def tagging(c: Settings) -> dict:
    """The spec of the head that classifies tokens."""
    return dict(kind="dense", head=dict(kind="tagging", classes=len(c.labels)), **layer_before(c))


def span(c: Settings) -> dict:
    """The spec of the head that finds answer spans."""
    return dict(kind="dense", head=dict(kind="span"), **layer_before(c))


def kinds(spec) -> list:
    """For each layer, the name in config.json of its kind of attention, and the spec of the attention."""
    mixers = keys.parts(spec)[::2]
    return [("full_attention" if mixer["window"] is None else "sliding_attention", mixer) for mixer in mixers]


def of_head(spec, field: str):
    """A field of the dense layer before the last layer of the first head; None if there is no head."""
    before = [head if head["kind"] == "dense" else head["pool"] for head in spec.get("heads", {}).values()]
    return next((one[field] for one in before), None)


def pooling(spec) -> str | None:
    """The value of classifier_pooling; None if there is no classification head."""
    found = (keys.at(spec, f"heads/{head}/pool/pool/kind") for head in ("label", "choice"))
    return next(({"mean": "mean"}.get(kind, "cls") for kind in found if kind), None)


KEYS = {
    "vocab_size": "embed/vocab",
    "hidden_size": "embed/width",
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "intermediate_size": "pattern/1/hidden",
    "hidden_activation": "pattern/1/activation",
    "local_attention": lambda spec: next((m["window"] for _, m in kinds(spec) if m["window"] is not None), None),
    "layer_types": lambda spec: [kind for kind, _ in kinds(spec)],
    "rope_parameters": lambda spec: {
        kind: {"rope_type": "default", "rope_theta": mixer["position"]["theta"]} for kind, mixer in kinds(spec)
    },
    "norm_eps": "norm/eps",
    "norm_bias": "norm/bias",
    "attention_bias": "pattern/0/bias",
    "mlp_bias": "pattern/1/bias",
    "classifier_bias": lambda spec: of_head(spec, "bias"),
    "classifier_activation": lambda spec: keys.HUB_ACTIVATIONS.get(of_head(spec, "activation")),
    "classifier_pooling": pooling,
    "decoder_bias": "heads/mlm/head/bias",
    "tie_word_embeddings": keys.tied("heads/mlm/head"),
}
NAMES = {
    "embed/word": "embeddings.tok_embeddings",
    "embed/norm": "embeddings.norm",
    "layer/0/in_norm": "layers.{}.attn_norm",
    "layer/0/part/q": At("layers.{}.attn.Wqkv", part=(0, 3)),
    "layer/0/part/k": At("layers.{}.attn.Wqkv", part=(1, 3)),
    "layer/0/part/v": At("layers.{}.attn.Wqkv", part=(2, 3)),
    "layer/0/part/o": "layers.{}.attn.Wo",
    "layer/1/in_norm": "layers.{}.mlp_norm",
    "layer/1/part/gate": At("layers.{}.mlp.Wi", part=(0, 2)),
    "layer/1/part/up": At("layers.{}.mlp.Wi", part=(1, 2)),
    "layer/1/part/down": "layers.{}.mlp.Wo",
    "norm": "final_norm",
}
POOLED = {"pool/dense": "head.dense", "pool/norm": "head.norm", "out": "classifier"}
EACH = {"dense": "head.dense", "norm": "head.norm"}

FAMILY = Family(
    model_type="modernbert",
    prefix="model.",
    keys=KEYS,
    classes="ModernBert",
    network=network,
    names=NAMES,
    heads={
        "masked_lm": Head("mlm", mlm, EACH | {"head/table": "decoder.weight", "head/bias": "decoder.bias"}),
        "sequence_classification": Head("label", classification("cls"), POOLED),
        "multiple_choice": Head("choice", classification("first", 1), POOLED),
        "token_classification": Head("tags", tagging, EACH | {"head/out": "classifier"}),
        "question_answering": Head("span", span, EACH | {"head/out": "classifier"}),
    },
    architectures={
        "Model": (),
        "ForMaskedLM": ("masked_lm",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(tied={"decoder.weight": "embeddings.tok_embeddings.weight"}),
)
