"""DeBERTa, and DeBERTa-v2 with v3 and the multilingual mDeBERTa, which share a layout.

He et al. 2021; files as transformers' DebertaModel, DebertaV2Model and their heads write them, which are the oracle.
The two kinds of masked_lm differ in where files keep it: `masked_lm` is what transformers writes by default, and
`lm_predictions` what the authors' files hold, whose last layer stood in the enhanced mask decoder when it was trained.
"""

from xfm.configs.text import deberta
from xfm.errors import XfmError
from xfm.hub.families.bert import MLM_NAMES, TASKS, activation
from xfm.hub.family import Family, Head
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings


def network(version: int):
    """From config.json of that version to the stack."""

    def of(c: Settings) -> dict:
        width, length = c["hidden_size"], c["max_position_embeddings"]
        for name in ("legacy", "pooler_hidden_act", "padding_idx"):
            c.get(name)  # a head's, or without effect
        c.only("pooler_hidden_size", width)
        return deberta.network(
            version=version,
            layers=c["num_hidden_layers"],
            width=width,
            heads=c["num_attention_heads"],
            head_width=c.get("attention_head_size") if version == 2 else None,
            hidden=c["intermediate_size"],
            vocab=c["vocab_size"],
            factor=c.get("embedding_size"),
            types=c.get("type_vocab_size", 0),
            length=length if c.get("position_biased_input", True) else None,
            activation=activation(c),
            eps=c.get("layer_norm_eps", 1e-7),
            **relative(c, version),
            **conv(c) if version == 2 else {},
        ) | {"heads": {}}

    return of


def relative(c: Settings, version: int) -> dict:
    """How the attention takes distances: its terms, its table and its buckets."""
    given = c.get("pos_att_type") or []
    given = given.split("|") if isinstance(given, str) else given
    given = {term.strip().lower() for term in given} - {""}
    terms = tuple(term for term in ("c2p", "p2c") if term in given)
    if not given <= set(terms):
        raise XfmError(f"{c.path} sets pos_att_type to {', '.join(sorted(given))}; xfm has c2p and p2c")
    reach, buckets = c.get("max_relative_positions", -1), None
    if reach < 1:
        reach = c["max_position_embeddings"]
    norm = "none"
    if version == 2:
        buckets = c.get("position_buckets", -1)
        norm = "layer_norm" if "layer_norm" in c.get("norm_rel_ebd", "none").lower() else "none"
        buckets = buckets if buckets and buckets > 0 else None
    if not c.get("relative_attention", False):
        if terms:
            raise XfmError(f"{c.path} sets pos_att_type without relative_attention; xfm takes both or neither")
        return dict(terms=(), reach=None)
    keys = "shared" if version == 2 and c.get("share_att_key", False) else "own"
    return dict(terms=terms, reach=reach, buckets=buckets, keys=keys, norm_table=norm == "layer_norm")


def conv(c: Settings) -> dict:
    """The convolution behind the first layer, if there is one."""
    taps = c.get("conv_kernel_size", 0)
    kind = c.choose("conv_act", ACTIVATIONS, "tanh")
    return dict(conv=dict(width=taps, groups=c.get("conv_groups", 1), activation=kind) if taps > 0 else None)


def mlm(c: Settings) -> dict:
    c.only("tie_word_embeddings", True)
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-7))
    return dict(kind="mlm", vocab=c["vocab_size"], activation=activation(c), norm=norm)


def pooled(c: Settings) -> dict:
    return dict(kind="vector", pool=dict(kind="dense", activation=c.choose("pooler_hidden_act", ACTIVATIONS, "gelu")))


NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/position": "embeddings.position_embeddings",
    "embed/type": "embeddings.token_type_embeddings",
    "embed/tokens/word": "embeddings.word_embeddings",
    "embed/tokens/position": "embeddings.position_embeddings",
    "embed/tokens/type": "embeddings.token_type_embeddings",
    "embed/up": "embeddings.embed_proj",
    "embed/norm": "embeddings.LayerNorm",
    "position/table": "encoder.rel_embeddings.weight",
    "position/norm": "encoder.LayerNorm",
    "layer/0/part/o": "encoder.layer.{}.attention.output.dense",
    "layer/0/out_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "layer/1/part/up": "encoder.layer.{}.intermediate.dense",
    "layer/1/part/down": "encoder.layer.{}.output.dense",
    "layer/1/out_norm": "encoder.layer.{}.output.LayerNorm",
    "layer/1/skip/norm": "encoder.layer.{}.output.LayerNorm",
    "layer/1/skip/conv/kernel": At("encoder.conv.conv.weight", axes=(2, 1, 0)),
    "layer/1/skip/conv/bias": "encoder.conv.conv.bias",
    "layer/1/skip/conv_norm": "encoder.conv.LayerNorm",
}
SELF = "encoder.layer.{}.attention.self"
V1_NAMES = {
    **NAMES,
    "layer/0/part/qkv": f"{SELF}.in_proj",
    "layer/0/part/q_bias": f"{SELF}.q_bias",
    "layer/0/part/v_bias": f"{SELF}.v_bias",
    "layer/0/part/distance/k": f"{SELF}.pos_proj",
    "layer/0/part/distance/q": f"{SELF}.pos_q_proj",
}
V2_NAMES = {
    **NAMES,
    "layer/0/part/q": f"{SELF}.query_proj",
    "layer/0/part/k": f"{SELF}.key_proj",
    "layer/0/part/v": f"{SELF}.value_proj",
    "layer/0/part/distance/k": f"{SELF}.pos_key_proj",
    "layer/0/part/distance/q": f"{SELF}.pos_query_proj",
}
AUTHORS_MLM = {
    "dense": "lm_predictions.lm_head.dense",
    "norm": "lm_predictions.lm_head.LayerNorm",
    "bias": "lm_predictions.lm_head.bias",
}


def family(model_type: str, version: int, names: dict) -> Family:
    return Family(
        model_type=model_type,
        prefix="deberta.",
        network=network(version),
        names=names,
        heads={
            "pooled": Head("pooled", pooled, {"pool/dense": "pooler.dense"}),
            "masked_lm": Head("mlm", mlm, MLM_NAMES),
            "lm_predictions": Head("mlm", mlm, AUTHORS_MLM),
            **{task: head for task, head in TASKS.items() if version == 2 or task != "multiple_choice"},
        },
        architectures={
            "ForMaskedLM": ("masked_lm", "lm_predictions"),
            "ForSequenceClassification": ("sequence_classification",),
            "ForMultipleChoice": ("multiple_choice",) if version == 2 else (),
            "ForTokenClassification": ("token_classification",),
            "ForQuestionAnswering": ("question_answering",),
        },
        renames=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
        ignored={
            r"embeddings\.position_ids": "it only counts 0, 1, 2, …",
            r"embeddings\.position_embeddings\.weight": "the enhanced mask decoder's, where the encoder adds no places",
            r"mask_predictions\..*": "v3's replaced-token detection, which is of pre-training",
        },
        tied={
            "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    )


FAMILY = family("deberta", 1, V1_NAMES)
V2 = family("deberta-v2", 2, V2_NAMES)
