"""Longformer. Beltagy et al. 2020; files as transformers' LongformerModel and its heads write them, the oracle.

It also takes the Hub's global_attention_mask. If that is not given, three classes of the reference choose the global
tokens: the first token for text classification, the question for question answering, and the choice for multiple
choice.
"""

import dataclasses

import numpy as np

from xfm.configs.text import longformer
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.families import bert, roberta
from xfm.hub.family import Batch
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.only("attention_mode", "longformer")
    c.only("ignore_attention_mask", False)
    c.get(("onnx_export", "sep_token_id"))  # another implementation; `inputs` reads the separator
    layers, windows = c["num_hidden_layers"], c.get("attention_window", 512)
    windows = [windows] * layers if isinstance(windows, int) else list(windows)
    if len(windows) != layers:
        raise XfmError(f"{c.path} has {layers} layers, but attention_window for {len(windows)}; give one for each")
    return longformer.network(
        **bert.sizes(c),
        windows=windows,
        types=bert.types(c),
        first=roberta.padding(c) + 1,
    ) | {"heads": {}}


def inputs(c: Settings, input_ids, attention_mask, token_type_ids, position_ids, global_attention_mask=None) -> Batch:
    """RoBERTa's batch with "global", which marks the tokens with global attention."""
    batch = roberta.after_padding(c, input_ids, attention_mask, token_type_ids, position_ids)
    marks = chosen(c, input_ids) if global_attention_mask is None else global_attention_mask
    return batch if marks is None else batch | {"global": np.asarray(marks, np.int32)}


def chosen(c: Settings, ids):
    """The tokens with global attention if the caller gives none; None for classes in which the reference has none."""
    classes = c.get("architectures") or ()
    position = np.arange(ids.shape[1])[None]
    if any(name.endswith("ForSequenceClassification") for name in classes):
        return np.broadcast_to(position == 0, ids.shape)
    separator = ids == c.get("sep_token_id", 2)
    first = np.argmax(separator, axis=1)[:, None]
    some = separator.any(axis=1, keepdims=True)
    if any(name.endswith("ForQuestionAnswering") for name in classes):
        return some & (position < first)
    if any(name.endswith("ForMultipleChoice") for name in classes):
        return some & (position > first + 1)
    return None


KEYS = roberta.KEYS | {"attention_window": lambda spec: [part["sight"]["window"] for part in keys.parts(spec)[::2]]}
GLOBAL = {
    f"layer/0/part/{part}_global": f"encoder.layer.{{}}.attention.self.{name}_global"
    for part, name in (("q", "query"), ("k", "key"), ("v", "value"))
}

FAMILY = dataclasses.replace(
    roberta.FAMILY,
    model_type="longformer",
    prefix="longformer.",
    keys=KEYS,
    classes="Longformer",
    near={"everyone": "in training, the first token of a text had global attention; set it in global_attention_mask"},
    network=network,
    names=bert.NAMES | GLOBAL,
    calling=dataclasses.replace(roberta.FAMILY.calling, inputs=inputs, more=("global_attention_mask",)),
)
