"""CANINE. Clark et al. 2021; files as transformers' CanineModel and its heads write them, which are the oracle.

The reference reads padding: as characters of a window and as neighbours in convolutions, and whether a window may be
attended to depends on the next window. So the result for a text depends a little on the padding of its row. It does so
here as well (Hourglass with cut="row"), and each row has one text. The network of `configs/text/canine.py`, with
cut="text", does not read padding and allows packed rows; without padding its results are the same.
If a block of the first layer is padding alone, gradients differ from the reference's, which come from a softmax that is
uniform because of limited precision.
"""

from xfm.configs.text import canine
from xfm.hub.families import bert
from xfm.hub.family import Calling, Family
from xfm.hub.naming import At
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get("max_position_embeddings")  # the table of positions has as many rows as each table of hashes
    return canine.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        hidden=c["intermediate_size"],
        length=c.get("num_hash_buckets", 16384),
        embed=dict(
            types=c.get("type_vocab_size", 16),
            hashes=c.get("num_hash_functions", 8),
            buckets=c.get("num_hash_buckets", 16384),
        ),
        coarse=dict(rate=c.get("downsampling_rate", 4), width=c.get("upsampling_kernel_size", 4), cut="row"),
        block=c.get("local_transformer_stride", 128),
        activation=bert.activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
    ) | {"heads": {}}


KEYS = {key: path for key, path in bert.KEYS.items() if key != "vocab_size"} | {
    "num_hidden_layers": "repeats",
    "num_hash_functions": "embed/hashes",
    "num_hash_buckets": "embed/buckets",
    "downsampling_rate": "rate",
    "upsampling_kernel_size": "width",
    "local_transformer_stride": "before/0/sight/block",
}


def layer(path: str, name: str, mixer: str) -> dict[str, str]:
    """The table of names of a layer of attention and MLP, from its path in xfm and its name in the file."""
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
    return {f"{path}/{ours}": f"{name}.{theirs}" for ours, theirs in names.items()}


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
        "cut": "in training, padding was not read; in the Hub's network it affects the characters next to it",
        "vocab": "in training, ids were not all 1,114,112 code points; for bytes the Hub has no tokeniser",
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
