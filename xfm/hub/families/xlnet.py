"""XLNet. Yang et al. 2019; files as transformers' XLNetModel and its heads write them, which are the oracle.

Beside the ids it takes the Hub's perm_mask [B T T], target_mapping [B K T] (one place per row of it, none twice) and,
for the beam search over answers, p_mask [B T]. With target_mapping the outputs are those of the places it names, and
hidden_states hold both streams by turns, as there. A memory (`mems`, `use_mems`) is refused, and so are position_ids.

Where the reference reads padding, xfm does not: `summary_type` "last" takes the last real token and "first" the first
(which are the reference's where padding is left or right of the text), "mean" the mean over real tokens; answers are
sought among real tokens, as with a p_mask over padding there; a token to which perm_mask shows nothing, asked about,
gathers nothing where the reference has the mean of the row.
"""

from typing import Any

import numpy as np

from xfm.configs.text import xlnet
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.family import Batch, Calling, Family, Files, Head, counted
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

# Of memory, of a conversion that unties what some training tied, and of heads, which read theirs again.
ASIDE = """
    mem_len reuse_len use_mems use_mems_eval use_mems_train untie_r start_n_top end_n_top bi_data
    summary_type summary_use_proj summary_activation summary_last_dropout summary_first_dropout summary_proj_to_labels
""".split()


def network(c: Settings) -> dict:
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
    """The batch of a family that counts distances: with what is unseen, asked, barred and read backwards."""
    if position_ids is not None:
        raise XfmError("xlnet counts distances and takes no position_ids; leave them out")
    batch = counted(c, input_ids, attention_mask, token_type_ids, None)
    rows = len(input_ids)
    if c.get("bi_data", False):
        if rows > 1 and rows % 2:
            raise XfmError(f"{c.path} sets bi_data: half of the rows are read backwards, and {rows} have no half")
        batch["backward"] = np.arange(rows) * 2 >= max(rows, 2)
    if perm_mask is not None:
        batch["unseen"] = np.asarray(perm_mask) > 0
    if target_mapping is not None:
        batch["asked"] = places(np.asarray(target_mapping))
    if p_mask is not None:
        batch["barred"] = np.asarray(p_mask) > 0
    return {name: np.asarray(value, np.int32) for name, value in batch.items()}


def places(mapping: np.ndarray) -> np.ndarray:
    """The place [B K] that each row of a target_mapping [B K T] names; XfmError where it names none of its own."""
    taken = mapping.sum(axis=1) if mapping.size else np.zeros(1)
    if not (np.isin(mapping, (0, 1)).all() and (mapping.sum(axis=-1) == 1).all() and (taken <= 1).all()):
        raise XfmError("target_mapping is 1 at one token in each of its rows, at no token twice, and 0 elsewhere")
    return mapping.argmax(axis=-1)


def streams(batch: Batch, out: dict[str, Any]) -> dict[str, Any]:
    """With questions, the hidden states of the reference: theirs at the end, and both streams by turns on the way."""
    if "asked" not in batch:
        return out
    T = batch["tokens"].shape[1]
    turns = tuple(part for x in out.get("hidden_states", ()) for part in (x[:, :T], x[:, T:]))
    return {**out, "hidden": out["hidden"][:, T:], **({"hidden_states": turns} if turns else {})}


def lm(c: Settings) -> dict:
    c.only("tie_word_embeddings", True)
    return dict(kind="mlm", vocab=c[("vocab_size", "n_token")])


def summary(classes: int | None = None):
    """The spec of a head on one vector for the text, with so many classes or as many as config.json names."""

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
    """The keys of `summary` for the pool of a head on one vector; none where there is no such head."""
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
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    return dict(kind="span_beam", starts=c.get("start_n_top", 5), ends=c.get("end_n_top", 5), norm=norm)


def whole(name: str, *axes: int) -> At:
    """A tensor of the attention, which has its axes apart."""
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
