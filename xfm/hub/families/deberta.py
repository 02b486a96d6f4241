"""DeBERTa; and DeBERTa-v2, with v3 and the multilingual mDeBERTa, which share a layout.

He et al. 2021; files as transformers' DebertaModel, DebertaV2Model and their heads write them, which are the oracle.
There are two heads that predict masked tokens, with different names in the files: `masked_lm` is the one that
transformers writes by default, and `lm_predictions` the one in the authors' files, whose last layer was part of the
enhanced mask decoder in training.
"""

import dataclasses

from xfm.configs.text import deberta
from xfm.errors import XfmError
from xfm.hub import buffers, keys
from xfm.hub.families.bert import MLM_NAMES, TASKS, activation
from xfm.hub.family import Family, Files, Head
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings


def whole(c: Settings, version: int, decoder: int | None = None) -> dict:
    """The spec of the network that config.json describes, with its head.

    version: 1 or 2.  decoder: number of positions of the enhanced mask decoder; None for a network without it.
    """
    width, length = c["hidden_size"], c["max_position_embeddings"]
    for name in ("legacy", "pooler_hidden_act", "padding_idx"):
        c.get(name)  # read by a head, or without effect
    c.only("pooler_hidden_size", width)
    return deberta.network(
        layers=c["num_hidden_layers"],
        width=width,
        heads=c["num_attention_heads"],
        embed=dict(
            vocab=c["vocab_size"],
            factor=c.get("embedding_size"),
            types=c.get("type_vocab_size", 0),
            length=length if c.get("position_biased_input", True) else None,
        ),
        attention=dict(
            relative(c, version),
            maps="fused" if version == 1 else "apart",
            width=c.get("attention_head_size") if version == 2 else None,
        ),
        hidden=c["intermediate_size"],
        activation=activation(c),
        eps=c.get("layer_norm_eps", 1e-7),
        decoder=decoder,
        **conv(c) if version == 2 else {},
    )


def network(version: int):
    """From config.json of a version to the spec of the network, without heads."""
    return lambda c: whole(c, version) | {"heads": {}}


def enhanced(version: int):
    """From config.json to the spec of the head whose enhanced mask decoder is the last layer, for `short` networks."""
    return lambda c: whole(c, version, c["max_position_embeddings"])["heads"]["mlm"]


def short(version: int):
    """From config.json to the spec of the network without its last layer, which is in the head of `enhanced`."""
    return lambda c: whole(c, version, c["max_position_embeddings"]) | {"heads": {}}


def relative(c: Settings, version: int) -> dict:
    """The settings of relative positions: the terms of the attention scores, the table and its buckets.

    Raises XfmError for settings that xfm does not have.
    """
    given = c.get("pos_att_type") or []
    given = given.split("|") if isinstance(given, str) else given
    given = {term.strip().lower() for term in given} - {""}
    terms = tuple(term for term in ("c2p", "p2c") if term in given)
    if not given <= set(terms):
        raise XfmError(f"{c.path} sets pos_att_type to {', '.join(sorted(given))}; xfm supports c2p and p2c")
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
            raise XfmError(f"{c.path} sets pos_att_type without relative_attention; xfm needs both or neither")
        return dict(terms=(), reach=None)
    keys = "shared" if version == 2 and c.get("share_att_key", False) else "own"
    return dict(terms=terms, reach=reach, buckets=buckets, keys=keys, norm_table=norm == "layer_norm")


def conv(c: Settings) -> dict:
    """The settings of the convolution after the first layer; None in place of them if there is no convolution."""
    taps = c.get("conv_kernel_size", 0)
    kind = c.choose("conv_act", ACTIVATIONS, "tanh")
    return dict(conv=dict(width=taps, groups=c.get("conv_groups", 1), activation=kind) if taps > 0 else None)


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens, without a decoder."""
    c.only("tie_word_embeddings", True)
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-7))
    return dict(kind="mlm", vocab=c["vocab_size"], activation=activation(c), norm=norm)


def pooled(c: Settings) -> dict:
    """The spec of the pooler."""
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


def length(spec) -> int:
    """max_position_embeddings: the size of the table of positions, or of that of distances, or 512 without either."""
    table = keys.at(spec, "position/reach") or keys.at(spec, "position/span")
    return keys.at(spec, "embed/position/length") or keys.at(spec, "heads/mlm/length") or table or 512


KEYS = {
    "vocab_size": "embed/vocab",
    "hidden_size": "embed/width",
    "num_hidden_layers": lambda spec: keys.layers(spec) + (keys.at(spec, "heads/mlm/kind") == "enhanced_mlm"),
    "num_attention_heads": "pattern/0/heads",
    "attention_head_size": "pattern/0/width",
    "intermediate_size": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "hidden_dropout_prob": "embed/drop",
    "attention_probs_dropout_prob": "pattern/0/drop",
    "type_vocab_size": "embed/types",
    "embedding_size": keys.table_width,
    "layer_norm_eps": "embed/norm/eps",
    "max_position_embeddings": length,
    "position_biased_input": lambda spec: spec["embed"]["position"]["kind"] == "learned",
    "relative_attention": lambda spec: spec["position"] is not None,
    "pos_att_type": "pattern/0/terms",
    "max_relative_positions": lambda spec: keys.at(spec, "position/reach") or keys.at(spec, "position/span"),
    "position_buckets": lambda spec: keys.at(spec, "position/reach") and keys.at(spec, "position/span"),
    "share_att_key": lambda spec: spec["pattern"][0]["keys"] == "shared",
    "norm_rel_ebd": lambda spec: "layer_norm" if keys.at(spec, "position/norm") else None,
    "conv_kernel_size": "prologue/1/residual/width",
    "conv_groups": "prologue/1/residual/groups",
    "conv_act": "prologue/1/residual/activation",
    "pooler_hidden_act": "heads/pooled/pool/activation",
    "legacy": lambda spec: False if keys.at(spec, "heads/mlm/kind") == "enhanced_mlm" else None,
}
AUTHORS_MLM = {
    "dense": "lm_predictions.lm_head.dense",
    "norm": "lm_predictions.lm_head.LayerNorm",
    "bias": "lm_predictions.lm_head.bias",
}


# Path in the decoder -> row of the layer that it has in place of the encoder's last one.
LAST = {
    "mixer/": "layer/0/part/", "mixer_norm": "layer/0/out_norm",
    "ffn/": "layer/1/part/", "ffn_norm": "layer/1/out_norm",
}  # fmt: skip


def decoder_names(names: dict) -> dict:
    """The table of names of the enhanced mask decoder in the authors' files.  names: the encoder's table."""
    rows = {"position/table": "deberta.embeddings.position_embeddings.weight"}
    rows |= {f"words/{path}": name for path, name in AUTHORS_MLM.items()}
    for path, layer in LAST.items():
        found = {row.removeprefix(layer): name for row, name in names.items() if row.startswith(layer)}
        rows |= {f"{path}{row}": f"deberta.{name}" for row, name in found.items()}
    return rows


def family(model_type: str, version: int, names: dict, classes: str) -> Family:
    """The family of one version.  names: its table of names.  classes: the prefix of its classes."""
    return Family(
        model_type=model_type,
        prefix="deberta.",
        keys=KEYS,
        classes=classes,
        network=network(version),
        names=names,
        heads={
            "pooled": Head("pooled", pooled, {"pool/dense": "pooler.dense"}),
            "masked_lm": Head("mlm", mlm, MLM_NAMES),
            "lm_predictions": Head("mlm", mlm, AUTHORS_MLM),
            **{task: head for task, head in TASKS.items() if version == 2 or task != "multiple_choice"},
        },
        architectures={
            "Model": (),
            "ForMaskedLM": ("masked_lm", "lm_predictions"),
            "ForSequenceClassification": ("sequence_classification",),
            "ForMultipleChoice": ("multiple_choice",) if version == 2 else (),
            "ForTokenClassification": ("token_classification",),
            "ForQuestionAnswering": ("question_answering",),
        },
        files=Files(
            renames=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
            ignored={
                r"embeddings\.position_ids": "it only counts 0, 1, 2, …",
                r"embeddings\.position_embeddings\.weight": "only the decoder adds these positions",
                r"mask_predictions\..*": "it detects replaced tokens, which v3 does in pre-training only",
            },
            buffers={r"embeddings\.position_ids": buffers.COUNTED},
            tied={
                "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
                "cls.predictions.decoder.bias": "cls.predictions.bias",
            },
        ),
    )


def with_decoder(family: Family, version: int) -> Family:
    """A variant of a family for networks with the enhanced mask decoder, as xfm's configs pre-train them.

    Its files are the same, but its network has one layer less, and that layer is in the head.
    """
    head = Head("mlm", enhanced(version), decoder_names(family.names))
    return dataclasses.replace(family, network=short(version), heads={"lm_predictions": head})


FAMILY = family("deberta", 1, V1_NAMES, "Deberta")
V2 = family("deberta-v2", 2, V2_NAMES, "DebertaV2")
DECODER, V2_DECODER = with_decoder(FAMILY, 1), with_decoder(V2, 2)
