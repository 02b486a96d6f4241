"""GPT-2 and other models with its layout: DistilGPT-2, DialoGPT, BioMedLM, Mistral's GPT-2.

Radford et al. 2019; files as transformers' GPT2Model and its heads write them, which are the oracle. Matrices in the
files are [in, out], and q, k and v are fused.
"""

from xfm.configs.text import gpt2
from xfm.errors import XfmError
from xfm.hub import buffers, keys
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys that only matter in training, to the order of float32 products, or to the head of multiple choice.
ASIDE = """
    attn_pdrop embd_pdrop resid_pdrop n_ctx reorder_and_upcast_attn output_past
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
""".split()


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in ASIDE:
        c.get(key)
    layers, width, heads = c["n_layer"], c["n_embd"], c["n_head"]
    spec = gpt2.network(
        layers=layers,
        width=width,
        heads=heads,
        vocab=c["vocab_size"],
        length=c["n_positions"],
        hidden=c.get("n_inner"),
        activation=c.choose("activation_function", ACTIVATIONS, "gelu_new"),
        eps=c.get("layer_norm_epsilon", 1e-5),
        scales=scales(c, layers, width // heads),
    )
    return spec | {"heads": {}}


def scales(c: Settings, layers: int, width: int) -> list[float] | None:
    """The scale of each layer's attention scores; None if it is 1 / sqrt(width) in all.  width: of a head."""
    scaled, by_layer = c.get("scale_attn_weights", True), c.get("scale_attn_by_inverse_layer_idx", False)
    if scaled and not by_layer:
        return None
    scale = width**-0.5 if scaled else 1.0
    return [scale / (i + 1 if by_layer else 1) for i in range(layers)]


def causal_lm(c: Settings) -> dict:
    """The spec of the head that predicts the next token."""
    table = {True: "tied", False: "own"}[c.get("tie_word_embeddings", True)]
    return dict(kind="mlm", vocab=c["vocab_size"], table=table, bias=False)


def labels(c: Settings) -> dict:
    """The spec of the classification head, which reads the last token."""
    return dict(kind="classification", classes=len(c.labels), pool=dict(kind="last"), bias=False)


def choice(c: Settings) -> dict:
    """The spec of the head of multiple choice: one score per text, from its last token.

    The reference does the same if its caller gives no mc_token_ids.
    """
    c.only("summary_type", "cls_index", "last")
    c.only("summary_use_proj", True)
    c.only("summary_activation", None)
    return dict(kind="classification", classes=1, pool=dict(kind="last"))


def untyped(c: Settings, input_ids, attention_mask, token_type_ids, position_ids) -> Batch:
    """The batch of a family without token types.

    Raises XfmError for token_type_ids; the reference would add the word embedding of the token with that number.
    """
    if token_type_ids is not None:
        raise XfmError("gpt2 has no token_type_ids in xfm; leave them out")
    return counted(c, input_ids, attention_mask, None, position_ids)


def base(spec) -> float:
    """The scale of the first layer's attention scores times the square root of the head width."""
    mixer = spec["pattern"][0]
    return 1.0 if mixer["scale"] is None else mixer["scale"] * (spec["embed"]["width"] // mixer["heads"]) ** 0.5


def by_layer(spec) -> bool:
    """Whether the scale of the attention scores differs between layers."""
    scales = [part["scale"] for part in keys.parts(spec)[::2]]
    return scales[-1] != scales[0]


KEYS = {
    "vocab_size": "embed/vocab",
    "n_embd": "embed/width",
    "n_layer": keys.layers,
    "n_head": "pattern/0/heads",
    "n_inner": "pattern/1/hidden",
    "n_positions": "embed/position/length",
    "activation_function": "pattern/1/activation",
    "layer_norm_epsilon": "norm/eps",
    "embd_pdrop": "embed/drop",
    "attn_pdrop": "pattern/0/drop",
    "resid_pdrop": "residual/drop",
    "scale_attn_weights": lambda spec: abs(base(spec) - 1) < 1e-9,
    "scale_attn_by_inverse_layer_idx": by_layer,
    "tie_word_embeddings": keys.tied("heads/lm"),
}


def fused(i: int) -> At:
    """The row of q, k or v (i = 0, 1, 2) in the fused tensor."""
    return At("h.{}.attn.c_attn", part=(i, 3), layout="in_out")


NAMES = {
    "embed/word": "wte",
    "embed/position": "wpe",
    "layer/0/in_norm": "h.{}.ln_1",
    "layer/0/part/q": fused(0),
    "layer/0/part/k": fused(1),
    "layer/0/part/v": fused(2),
    "layer/0/part/o": At("h.{}.attn.c_proj", layout="in_out"),
    "layer/1/in_norm": "h.{}.ln_2",
    "layer/1/part/up": At("h.{}.mlp.c_fc", layout="in_out"),
    "layer/1/part/down": At("h.{}.mlp.c_proj", layout="in_out"),
    "norm": "ln_f",
    "head_lm/table": "lm_head.weight",
}

FAMILY = Family(
    model_type="gpt2",
    prefix="transformer.",
    keys=KEYS,
    classes="GPT2",
    network=network,
    names=NAMES,
    heads={
        "causal_lm": Head("lm", causal_lm, {}),
        "multiple_choice": Head("choice", choice, {"out": "multiple_choice_head.summary"}),
        "sequence_classification": Head("label", labels, {"out": "score"}),
        "token_classification": Head(
            "tags", lambda c: dict(kind="tagging", classes=len(c.labels)), {"out": "classifier"}
        ),
        "question_answering": Head("span", lambda c: dict(kind="span"), {"out": "qa_outputs"}),
    },
    architectures={
        "LMHeadModel": ("causal_lm",),
        "DoubleHeadsModel": ("causal_lm", "multiple_choice"),
        "Model": (),
        "ForSequenceClassification": ("sequence_classification",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    files=Files(
        ignored={r"h\.\d+\.attn\.(bias|masked_bias)": "it is only the causal mask"},
        buffers={r"h\.\d+\.attn\.bias": buffers.causal, r"h\.\d+\.attn\.masked_bias": buffers.far_below},
        tied={"lm_head.weight": "wte.weight"},
    ),
    calling=Calling(inputs=untyped),
)
