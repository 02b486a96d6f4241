"""MPNet, all-mpnet-base-v2 among its checkpoints: a relative bias shared by all layers, positions after the padding.

Song et al. 2020; files as transformers' MPNetModel and its heads write them, which are the oracle.
"""

from functools import partial

from xfm.configs.text import mpnet
from xfm.errors import XfmError
from xfm.hub.families import bert, roberta
from xfm.hub.family import Calling, Family, Files
from xfm.hub.settings import Settings

PADDING = 1  # whatever pad_token_id says
BUCKETS = 32  # that distances fall into, whatever rows the table has


def network(c: Settings) -> dict:
    if (rows := c.get("relative_attention_num_buckets", BUCKETS)) != BUCKETS:
        raise XfmError(
            f"{c.path} sets relative_attention_num_buckets to {rows!r}; distances fall into {BUCKETS} always"
        )
    return mpnet.network(
        **bert.sizes(c),
    ) | {"heads": {}}


KEYS = {key: place for key, place in roberta.KEYS.items() if key != "type_vocab_size"} | {
    "relative_attention_num_buckets": "position/buckets"
}
NAMES = {
    "embed/word": "embeddings.word_embeddings",
    "embed/position": "embeddings.position_embeddings",
    "embed/norm": "embeddings.LayerNorm",
    "position": "encoder.relative_attention_bias",
    "layer/0/part/q": "encoder.layer.{}.attention.attn.q",
    "layer/0/part/k": "encoder.layer.{}.attention.attn.k",
    "layer/0/part/v": "encoder.layer.{}.attention.attn.v",
    "layer/0/part/o": "encoder.layer.{}.attention.attn.o",
    "layer/0/out_norm": "encoder.layer.{}.attention.LayerNorm",
    "layer/1/part/up": "encoder.layer.{}.intermediate.dense",
    "layer/1/part/down": "encoder.layer.{}.output.dense",
    "layer/1/out_norm": "encoder.layer.{}.output.LayerNorm",
}

FAMILY = Family(
    model_type="mpnet",
    prefix="mpnet.",
    keys=KEYS,
    classes="MPNet",
    network=network,
    names=NAMES,
    heads={"pooled": bert.POOLER, "masked_lm": roberta.FAMILY.heads["masked_lm"], **roberta.TASKS},
    architectures=roberta.FAMILY.architectures,
    files=Files(ignored=bert.FAMILY.files.ignored, buffers=bert.FAMILY.files.buffers, tied=roberta.FAMILY.files.tied),
    calling=Calling(inputs=partial(roberta.after_padding, pad=PADDING)),
)
