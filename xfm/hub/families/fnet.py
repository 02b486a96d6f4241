"""FNet. Lee-Thorp et al. 2021; files as transformers' FNetModel and its heads write them, which are the oracle.

The reference has no attention mask and mixes padding into every token. Without attention_mask, which its tokeniser does
not make, results are the same here; with one, each text is transformed as if it were in a row of its own length.
"""

from xfm.configs.text import fnet
from xfm.hub.families import bert
from xfm.hub.family import Family, Files, Head
from xfm.hub.settings import ACTIVATIONS, Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get(("use_tpu_fourier_optimizations", "tpu_short_seq_length"))  # other algorithms with the same result
    return fnet.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        vocab=c["vocab_size"],
        length=c["max_position_embeddings"],
        hidden=c["intermediate_size"],
        types=c.get("type_vocab_size", 4),
        activation=activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
    ) | {"heads": {}}


def activation(c: Settings) -> str:
    """xfm's name of the activation."""
    return c.choose("hidden_act", ACTIVATIONS, "gelu_new")


def mlm(c: Settings) -> dict:
    """The spec of the head that predicts masked tokens."""
    return bert.mlm(c) | {"activation": activation(c)}


KEYS = {key: path for key, path in bert.KEYS.items() if "attention" not in key}
FAMILY = Family(
    model_type="fnet",
    prefix="fnet.",
    keys=KEYS,
    classes="FNet",
    network=network,
    names={path: name for path, name in bert.NAMES.items() if "attention" not in name}
    | {"embed/up": "embeddings.projection", "layer/0/out_norm": "encoder.layer.{}.fourier.output.LayerNorm"},
    heads=bert.FAMILY.heads | {"masked_lm": Head("mlm", mlm, bert.MLM_NAMES, apart=bert.UNTIED)},
    architectures=bert.FAMILY.architectures,
    files=Files(
        ignored=bert.FAMILY.files.ignored
        | {r"encoder\.layer\.\d+\.fourier\.self\.dft_mat_\w+": "it is a table of sines and cosines"},
        buffers=bert.FAMILY.files.buffers,
        tied=bert.FAMILY.files.tied,
    ),
)
