"""MPNet (such as all-mpnet-base-v2): a relative bias shared by all layers, and positions counted from the padding id.

Song et al. 2020; files as transformers' MPNetModel and its heads write them, which are the oracle.
"""

from functools import partial

from xfm.configs.text import mpnet
from xfm.errors import XfmError
from xfm.hub.families import bert, roberta
from xfm.hub.family import Calling, Family, Files
from xfm.hub.settings import Settings

PADDING = 1  # the padding id from which positions are counted; the reference ignores pad_token_id
BUCKETS = 32  # of distances; the reference ignores relative_attention_num_buckets, except for the size of the table


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    if (rows := c.get("relative_attention_num_buckets", BUCKETS)) != BUCKETS:
        raise XfmError(
            f"{c.path} sets relative_attention_num_buckets to {rows!r}; this family always has {BUCKETS} buckets"
        )
    return mpnet.network(
        **bert.sizes(c),
    ) | {"heads": {}}


KEYS = {key: path for key, path in roberta.KEYS.items() if key != "type_vocab_size"} | {
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
