"""Longformer: attention within windows of 512 tokens, and a few tokens with global attention.

Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020.

Reproduced: the networks of section 5, parameter for parameter, and its recipe of masked language modelling on rows of
4096 tokens. Different from the paper: training starts from random weights, where the paper continues RoBERTa, with its
positions copied eight times; the learning rate decays linearly instead of cubically.
Command: xfm train configs/text/longformer.py:base --workdir runs/longformer --config.data.path=FOLDER_OF_TEXT
Cost: 65k steps of 64 rows; the paper took 2 days on 8 RTX8000 for base.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library; the first token of a row is global.
"""

from xfm.configs.text import roberta

PAPER = "Beltagy et al. 2020, Longformer: The Long-Document Transformer"
ORACLE = "transformers LongformerForMaskedLM with copied weights (goldens)"
MARGIN = 0.3  # nats
SIZES = {"base": (12, 768, 12), "large": (24, 1024, 16)}  # layers, width, heads
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"base": 148_711_257, "large": 434_653_273}  # counted in the transformers model


def network(layers, width, heads, windows, vocab=50265, length=4098, hidden=None, types=1, activation="gelu",
            eps=1e-5, drop=0.0, first=2):  # fmt: skip
    """The spec of the encoder with its head, in RoBERTa's layout.

    windows: W of each layer; if all are equal, the layers are one scanned loop.
    """
    model = roberta.network(layers, width, heads, vocab, length, hidden, types, activation, eps, drop, first)
    ffn = model["pattern"][1]
    period = 1 if len(set(windows)) == 1 else layers
    sights = [dict(kind="global_window", window=window) for window in windows]
    mixers = [dict(kind="attention", heads=heads, sight=sight, drop=drop) for sight in sights]
    pattern = [one for mixer in mixers[:period] for one in (dict(part=mixer, label="global_window"), ffn)]
    return model | {"pattern": pattern, "repeats": layers // period}


def get_config(arg="base"):
    c = roberta.get_config(arg)
    if arg == "tiny":
        c.model = network(2, 128, 4, [16, 16], vocab=2048, length=66)
        c.model.pattern[0]["part"]["sight"]["everyone"] = "first"
        c.steps = 250
        return c
    layers = SIZES[arg][0]
    c.model = network(*SIZES[arg], [512] * layers, drop=0.1)
    c.data.length = 4096
    c.batch, c.steps = 64, 65_000
    c.schedule = dict(kind="linear", peak=3e-5, warmup=500)
    return c
