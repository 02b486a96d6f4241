"""Longformer. Beltagy et al. 2020; files as transformers' LongformerModel and its heads write them, the oracle.

It takes the Hub's global_attention_mask as well. Where that is not given, three classes of the reference choose it:
the first token for classes of texts, the question for answers, the choice for multiple choice.
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
    c.only("attention_mode", "longformer")
    c.only("ignore_attention_mask", False)
    c.get(("onnx_export", "sep_token_id"))  # another way to the same numbers; read with the inputs
    layers, windows = c["num_hidden_layers"], c.get("attention_window", 512)
    windows = [windows] * layers if isinstance(windows, int) else list(windows)
    if len(windows) != layers:
        raise XfmError(f"{c.path} has {layers} layers and an attention_window for {len(windows)}; each layer has one")
    return longformer.network(
        **bert.sizes(c),
        windows=windows,
        types=bert.types(c),
        first=roberta.padding(c) + 1,
    ) | {"heads": {}}


def inputs(c: Settings, input_ids, attention_mask, token_type_ids, position_ids, global_attention_mask=None) -> Batch:
    """RoBERTa's batch, and "global"."""
    batch = roberta.after_padding(c, input_ids, attention_mask, token_type_ids, position_ids)
    marks = chosen(c, input_ids) if global_attention_mask is None else global_attention_mask
    return batch if marks is None else batch | {"global": np.asarray(marks, np.int32)}


def chosen(c: Settings, ids):
    """Which tokens are global where the caller does not say; None where the reference has none either."""
    classes = c.get("architectures") or ()
    place = np.arange(ids.shape[1])[None]
    if any(name.endswith("ForSequenceClassification") for name in classes):
        return np.broadcast_to(place == 0, ids.shape)
    separator = ids == c.get("sep_token_id", 2)
    first = np.argmax(separator, axis=1)[:, None]
    some = separator.any(axis=1, keepdims=True)
    if any(name.endswith("ForQuestionAnswering") for name in classes):
        return some & (place < first)
    if any(name.endswith("ForMultipleChoice") for name in classes):
        return some & (place > first + 1)
    return None


KEYS = roberta.KEYS | {"attention_window": lambda spec: [part["sight"]["window"] for part in keys.parts(spec)[::2]]}
GLOBAL = {
    f"layer/0/part/{place}_global": f"encoder.layer.{{}}.attention.self.{name}_global"
    for place, name in (("q", "query"), ("k", "key"), ("v", "value"))
}

FAMILY = dataclasses.replace(
    roberta.FAMILY,
    model_type="longformer",
    prefix="longformer.",
    keys=KEYS,
    classes="Longformer",
    near={"everyone": "the first token of a text was global in training: say so in global_attention_mask"},
    network=network,
    names=bert.NAMES | GLOBAL,
    calling=dataclasses.replace(roberta.FAMILY.calling, inputs=inputs, more=("global_attention_mask",)),
)
