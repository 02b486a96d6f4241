"""MPNet: BERT's network with one relative bias that all layers share.

Song, Tan, Qin, Lu, Liu, "MPNet: Masked and Permuted Pre-training for Language Understanding", 2020.

Reproduced: the network, parameter for parameter, and the sizes and schedule of section 3.1. Different from the paper:
the objective is masked language modelling; permuted modelling with position compensation needs two-stream attention,
which published checkpoints do not have.
Command: xfm train configs/text/mpnet.py:base --workdir runs/mpnet --config.data.path=FOLDER_OF_TEXT
Cost: 500k steps of 8192 rows; the paper took 35 days on 32 V100.  Result: not run at scale.
`tiny` is for two CPU cores: less than a minute on the Python standard library.
"""

from xfm.configs.text import bert, roberta

PAPER = "Song et al. 2020, MPNet: Masked and Permuted Pre-training for Language Understanding"
ORACLE = "transformers MPNetForMaskedLM with copied weights (goldens); published size (110M)"
MARGIN = 0.3  # nats

VARIANTS = ("tiny", "base")
# Counted in the transformers model with its head; the table of the relative bias is 32 x 12.
PARAMETERS = {"base": 109_518_527}


def network(layers, width, heads, vocab, length=514, hidden=None, activation="gelu", eps=1e-5, buckets=32, drop=0.0):
    """The spec of RoBERTa's encoder without token types, with a learned bias by distance that all layers share."""
    spec = roberta.network(layers, width, heads, vocab, length, hidden, 0, activation, eps, drop)
    spec["position"] = dict(kind="relative_buckets", buckets=buckets, reach=128, heads=heads)
    spec["pattern"][0]["position"] = dict(kind="shared")
    return spec


def get_config(arg="base"):
    c = bert.get_config(arg)
    if arg == "tiny":
        return tiny(c)
    c.model = network(12, 768, 12, vocab=30527, drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.objective.update(pairs="none", units=dict(kind="whole_word"))
    c.data.tokenizer.size = 30527
    c.batch, c.steps = 8192, 500_000
    c.optimiser.update(b2=0.98)
    c.schedule = dict(kind="linear", peak=6e-4, warmup=24_000)
    return c


def tiny(c):
    c.model = network(layers=2, width=128, heads=4, vocab=2048, length=34)
    return bert.short(c)
