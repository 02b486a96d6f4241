"""CANINE. Clark et al. 2021; files as transformers' CanineModel and its heads write them, which are the oracle.

The reference reads padding: as characters of a window, as neighbours of the convolutions, and it tells whether a window
may be attended to by what the window after it holds. So a text's answer depends a little on whether its row is padded
behind it, and where else padding stands; it is the same here (Hourglass, cut="row"). Rows hold one text each; a network
that packs them is `configs/text/canine.py`, cut by "text", which without padding is the same.
Where a block of the first layer is padding alone, the reference's gradient differs, going through a softmax that is
flat for want of digits.
"""

from xfm.configs.text import canine
from xfm.hub.families import bert
from xfm.hub.family import Calling, Family
from xfm.hub.naming import At
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    c.get("max_position_embeddings")  # the table of places has as many rows as one of hashes
    return canine.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        hidden=c["intermediate_size"],
        length=c.get("num_hash_buckets", 16384),
        types=c.get("type_vocab_size", 16),
        hashes=c.get("num_hash_functions", 8),
        buckets=c.get("num_hash_buckets", 16384),
        rate=c.get("downsampling_rate", 4),
        taps=c.get("upsampling_kernel_size", 4),
        block=c.get("local_transformer_stride", 128),
        activation=bert.activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
        cut="row",
    ) | {"heads": {}}


KEYS = {key: place for key, place in bert.KEYS.items() if key != "vocab_size"} | {
    "num_hidden_layers": "repeats",
    "num_hash_functions": "embed/hashes",
    "num_hash_buckets": "embed/buckets",
    "downsampling_rate": "rate",
    "upsampling_kernel_size": "width",
    "local_transformer_stride": "before/0/sight/block",
}


def layer(place: str, name: str, mixer: str) -> dict[str, str]:
    """The rows of a layer of attention and its MLP."""
    names = {
        f"{mixer}_0/part/q": "attention.self.query",
        f"{mixer}_0/part/k": "attention.self.key",
        f"{mixer}_0/part/v": "attention.self.value",
        f"{mixer}_0/part/o": "attention.output.dense",
        f"{mixer}_0/out_norm": "attention.output.LayerNorm",
        "mlp_1/part/up": "intermediate.dense",
        "mlp_1/part/down": "output.dense",
        "mlp_1/out_norm": "output.LayerNorm",
    }
    return {f"{place}/{ours}": f"{name}.{theirs}" for ours, theirs in names.items()}


NAMES = {
    **{f"embed/hash_{i}": f"char_embeddings.HashBucketCodepointEmbedder_{i}" for i in range(16)},
    "embed/position": "char_embeddings.char_position_embeddings",
    "embed/type": "char_embeddings.token_type_embeddings",
    "embed/norm": "char_embeddings.LayerNorm",
    **layer("before", "initial_char_encoder.layer.0", "block_local"),
    "down/conv": "chars_to_molecules.conv",
    "down/conv/kernel": At("chars_to_molecules.conv.weight", axes=(2, 1, 0)),
    "down/norm": "chars_to_molecules.LayerNorm",
    **layer("layer", "encoder.layer.{}", "attention"),
    "up/conv": "projection.conv",
    "up/conv/kernel": At("projection.conv.weight", axes=(2, 1, 0)),
    "up/norm": "projection.LayerNorm",
    **layer("after", "final_char_encoder.layer.0", "attention"),
}

FAMILY = Family(
    model_type="canine",
    prefix="canine.",
    keys=KEYS,
    classes="Canine",
    near={
        "cut": "texts were read without their padding; in the Hub's network it reaches the characters next to it",
        "vocab": "other ids were read than all 1,114,112 code points; where they were bytes, no tokeniser there fits",
    },
    network=network,
    names=NAMES,
    heads={"pooled": bert.POOLER, **bert.TASKS},
    architectures={
        "Model": ("pooled",),
        "ForSequenceClassification": ("sequence_classification",),
        "ForMultipleChoice": ("multiple_choice",),
        "ForTokenClassification": ("token_classification",),
        "ForQuestionAnswering": ("question_answering",),
    },
    calling=Calling(streams=("embed", "before/mlp_1", "down", "layers/mlp_1", "up", "after/mlp_1")),
)
