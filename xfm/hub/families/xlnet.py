"""XLNet. Yang et al. 2019; files as transformers' XLNetModel and its heads write them, which are the oracle.

In addition to the usual inputs it takes the Hub's perm_mask [B T T], target_mapping [B K T] (each row of it is one
position, and no position occurs twice) and, for the beam search over answers, p_mask [B T]. With target_mapping the
outputs are those at its positions, and hidden_states alternate between the two streams, as in the reference. A memory
(`mems`, `use_mems`) and position_ids are refused.

Unlike the reference, xfm never reads padding. `summary_type` "last" pools the last real token and "first" the first
(the same as in the reference if padding is only on the left or on the right, respectively), and "mean" averages real
tokens. Answers are searched among real tokens, as with a p_mask over padding in the reference. If perm_mask hides every
token from a predicted position, attention returns zeros there; in the reference it returns the mean of the row.
"""

from typing import Any

import numpy as np

from xfm.configs.text import xlnet
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

# Keys of the memory, of a conversion from tied to untied biases, and of heads, which check them.
ASIDE = """
    mem_len reuse_len use_mems use_mems_eval use_mems_train untie_r start_n_top end_n_top bi_data
    summary_type summary_use_proj summary_activation summary_last_dropout summary_first_dropout summary_proj_to_labels
""".split()


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in ASIDE:
        c.get(key)
    mask = c.choose("attn_type", {"bi": "full", "uni": "causal"}, "bi")
    if mask == "causal":
        c.only("same_length", False, None)
    c.get("same_length")
    reach = c.get("clamp_len", -1)
    return xlnet.network(
        layers=c[("n_layer", "num_hidden_layers")],
        width=c[("d_model", "hidden_size")],
        heads=c[("n_head", "num_attention_heads")],
        hidden=c["d_inner"],
        head_width=c.get("d_head"),
        vocab=c[("vocab_size", "n_token")],
        activation=c.choose("ff_activation", ACTIVATIONS, "gelu"),
        eps=c.get("layer_norm_eps", 1e-12),
        reach=reach if reach and reach > 0 else None,
        mask=mask,
    ) | {"heads": {}}


def inputs(
    c: Settings,
    input_ids,
    attention_mask,
    token_type_ids,
    position_ids,
    perm_mask=None,
    target_mapping=None,
    p_mask=None,
) -> Batch:
    """The batch of a family with relative positions.

    Beside the usual arrays it has `unseen` (perm_mask), `asked` (the positions of target_mapping), `barred` (p_mask)
    and `backward` (which rows are read backwards), if they are given.
    Raises XfmError for position_ids, and for an odd number of rows if half of them are read backwards.
    """
    if position_ids is not None:
        raise XfmError("xlnet has relative positions and takes no position_ids; leave them out")
    batch = counted(c, input_ids, attention_mask, token_type_ids, None)
    rows = len(input_ids)
    if c.get("bi_data", False):
        if rows > 1 and rows % 2:
            raise XfmError(
                f"{c.path} sets bi_data, with which half of the rows are read backwards; {rows} rows have no half"
            )
        batch["backward"] = np.arange(rows) * 2 >= max(rows, 2)
    if perm_mask is not None:
        batch["unseen"] = np.asarray(perm_mask) > 0
    if target_mapping is not None:
        batch["asked"] = positions_of(np.asarray(target_mapping))
    if p_mask is not None:
        batch["barred"] = np.asarray(p_mask) > 0
    return {name: np.asarray(value, np.int32) for name, value in batch.items()}


def positions_of(mapping: np.ndarray) -> np.ndarray:
    """The position [B K] that each row of a target_mapping [B K T] selects.

    Raises XfmError if a row does not select exactly one, or if two rows select the same.
    """
    taken = mapping.sum(axis=1) if mapping.size else np.zeros(1)
    if not (np.isin(mapping, (0, 1)).all() and (mapping.sum(axis=-1) == 1).all() and (taken <= 1).all()):
        raise XfmError("target_mapping must be 1 at one token in each row, another token in each, and 0 elsewhere")
    return mapping.argmax(axis=-1)


def streams(batch: Batch, out: dict[str, Any]) -> dict[str, Any]:
    """The network's outputs as the reference returns them.

    If the batch has positions to predict, the last hidden state is that of these positions, and hidden_states alternate
    between the two streams.
    """
    if "asked" not in batch:
        return out
    T = batch["tokens"].shape[1]
    turns = tuple(part for x in out.get("hidden_states", ()) for part in (x[:, :T], x[:, T:]))
    return {**out, "hidden": out["hidden"][:, T:], **({"hidden_states": turns} if turns else {})}


def lm(c: Settings) -> dict:
    """The spec of the head that predicts tokens."""
    c.only("tie_word_embeddings", True)
    return dict(kind="mlm", vocab=c[("vocab_size", "n_token")])


def summary(classes: int | None = None):
    """From config.json to the spec of a classification head on one pooled vector.

    classes: their number; if None, that in config.json.
    """

    def of(c: Settings) -> dict:
        kinds = {"last": "last", "cls_index": "last", "first": "first", "mean": "mean"}
        pool = dict(kind=c.choose("summary_type", kinds, "last"))
        name = c.get("summary_activation", "tanh")
        kind = c.choose("summary_activation", ACTIVATIONS, "tanh") if name else "identity"
        c.only("summary_proj_to_labels", False, None)
        if c.get("summary_use_proj", True):
            pool = dict(kind="dense", pool=pool, activation=kind)
        elif kind != "identity":
            pool = dict(kind="activated", pool=pool, activation=kind)
        return dict(kind="classification", classes=classes or len(c.labels), pool=pool)

    return of


def summary_of(spec) -> dict[str, Any]:
    """The keys of config.json that `summary` reads, for the classification head of a spec; empty if it has none."""
    pool = keys.at(spec, "heads/label/pool") or keys.at(spec, "heads/choice/pool")
    if pool is None:
        return {}
    kind = pool.get("activation", "identity")
    return {
        "summary_type": pool["pool"]["kind"] if "pool" in pool else pool["kind"],
        "summary_use_proj": pool["kind"] == "dense",
        "summary_activation": "" if kind == "identity" else keys.HUB_ACTIVATIONS[kind],
    }


SUMMARY = ("summary_type", "summary_use_proj", "summary_activation")
KEYS = {
    "vocab_size": "embed/vocab",
    "d_model": "embed/width",
    "n_layer": keys.layers,
    "n_head": "pattern/0/heads",
    "d_head": keys.head_width,
    "d_inner": "pattern/1/hidden",
    "ff_activation": "pattern/1/activation",
    "dropout": "embed/drop",
    "attn_type": lambda spec: {"full": "bi", "causal": "uni"}[spec["mask"]],
    "clamp_len": "pattern/0/position/reach",
    "layer_norm_eps": "norms/out/eps",
    "start_n_top": "heads/beam/starts",
    "end_n_top": "heads/beam/ends",
    **{key: (lambda spec, key=key: summary_of(spec).get(key)) for key in SUMMARY},
}


def beam(c: Settings) -> dict:
    """The spec of the head that finds answer spans by beam search."""
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    return dict(kind="span_beam", starts=c.get("start_n_top", 5), ends=c.get("end_n_top", 5), norm=norm)


def whole(name: str, *axes: int) -> At:
    """A row for a tensor of the attention, whose head axis is not flattened.  axes: the file's axes in xfm's order."""
    return At(f"layer.{{}}.rel_attn.{name}", axes=axes)


NAMES = {
    "embed/word": "word_embedding",
    "embed/question": At("mask_emb", axes=(0, 1, 2)),
    **{f"layer/0/part/{name}/kernel": whole(name, 0, 1, 2) for name in "qkvr"},
    "layer/0/part/o/kernel": whole("o", 1, 2, 0),
    "layer/0/part/key_bias": whole("r_w_bias", 0, 1),
    "layer/0/part/distance_bias": whole("r_r_bias", 0, 1),
    "layer/0/part/type_bias": whole("r_s_bias", 0, 1),
    "layer/0/part/types": whole("seg_embed", 0, 1, 2),
    "layer/0/out_norm": "layer.{}.rel_attn.layer_norm",
    "layer/1/part/up": "layer.{}.ff.layer_1",
    "layer/1/part/down": "layer.{}.ff.layer_2",
    "layer/1/out_norm": "layer.{}.ff.layer_norm",
}
SUMMARY_NAMES = {"pool/dense": "sequence_summary.summary", "out": "logits_proj"}
BEAM_NAMES = {
    "start": "start_logits.dense",
    "end_dense": "end_logits.dense_0",
    "end_norm": "end_logits.LayerNorm",
    "end": "end_logits.dense_1",
    "none_dense": "answer_class.dense_0",
    "none": "answer_class.dense_1",
}

FAMILY = Family(
    model_type="xlnet",
    prefix="transformer.",
    keys=KEYS,
    classes="XLNet",
    network=network,
    names=NAMES,
    heads={
        "causal_lm": Head("lm", lm, {"bias": "lm_loss.bias"}),
        "sequence_classification": Head("label", summary(), SUMMARY_NAMES),
        "multiple_choice": Head("choice", summary(1), SUMMARY_NAMES),
        "token_classification": Head(
            "tags", lambda c: dict(kind="tagging", classes=len(c.labels)), {"out": "classifier"}
        ),
        "question_answering": Head("span", lambda c: dict(kind="span"), {"out": "qa_outputs"}),
        "question_answering_beam": Head("beam", beam, BEAM_NAMES),
    },
    architectures={
        "LMHeadModel": ("causal_lm",),
        "Model": (),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnsweringSimple": ("question_answering",),
        "ForQuestionAnswering": ("question_answering_beam",),
    },
    files=Files(tied={"lm_loss.weight": "word_embedding.weight"}),
    calling=Calling(inputs=inputs, more=("p_mask",), pairs=("perm_mask", "target_mapping"), outputs=streams),
)
