"""FNet: BERT with attention replaced by a Fourier transform.

Lee-Thorp, Ainslie, Eckstein, Ontanon, "FNet: Mixing Tokens with Fourier Transforms", 2021.

Reproduced: the networks of table 1, parameter for parameter (with both heads), and the recipe of section 4.1 with the
numbers of the authors' training file. Different from the paper: packed texts are transformed separately; A and B of a
pair have the same length; the tokeniser is byte-pair encoding instead of a unigram model.
Command: xfm train configs/text/fnet.py:base --workdir runs/fnet --config.data.path=FOLDER_OF_C4
Cost: 1M steps of 64 rows of 512 tokens.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library (masked language modelling alone).
"""

from xfm.configs.text import bert

PAPER = "Lee-Thorp et al. 2021, FNet: Mixing Tokens with Fourier Transforms"
ORACLE = "transformers FNetForPreTraining with copied weights (goldens); published sizes (83M base, 238M large)"
MARGIN = 0.3  # nats
SIZES = {"base": (12, 768), "large": (24, 1024)}  # layers, width
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"base": 83_486_722, "large": 238_031_106}  # counted in the transformers model


def network(layers, width, vocab, length, hidden=None, types=4, activation="gelu_tanh", eps=1e-12, drop=0.0):
    """The spec of the encoder with both heads: BERT's layout, with a linear layer after the embedding's norm."""
    model = bert.network(layers, width, 1, vocab, length, hidden, types, activation, eps, drop)
    model["embed"]["factor"] = width
    return model | {"pattern": [dict(kind="fourier"), model["pattern"][1]]}


def get_config(arg="base"):
    c = bert.get_config(arg)
    if arg == "tiny":
        c.model = network(2, 128, vocab=2048, length=64)
        del c.model.heads["pooled"], c.model.heads["nsp"]
        c.data.tokenizer.size = 2048
        c.steps, c.schedule = 400, dict(kind="linear", peak=6e-3, warmup=40)
        return c
    c.model = network(*SIZES.get(arg, SIZES["base"]), vocab=32_000, length=512, drop=0.1)
    c.data.tokenizer = dict(kind="bpe", size=32_000)
    c.batch, c.steps, c.clip = 64, 1_000_000, None
    return c
