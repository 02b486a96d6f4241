"""RoBERTa: BERT's network, trained longer on more text, by masked language modelling alone.

Liu, Ott, Goyal, Du, Joshi, Chen, Levy, Lewis, Zettlemoyer, Stoyanov, "RoBERTa: A Robustly Optimized BERT Pretraining
Approach", 2019. With the same layout: Conneau et al., "Unsupervised Cross-lingual Representation Learning at Scale"
(XLM-R), 2020; Martin et al., "CamemBERT: a Tasty French Language Model", 2020; DistilRoBERTa (Sanh et al. 2019).

Reproduced: the networks, parameter for parameter, and the recipe of table 9; for CamemBERT that of its section 4.2.
Different from the papers: the tokeniser of XLM-R and CamemBERT is not SentencePiece; XLM-R's languages are not sampled
by their sizes, and its learning rate, which the paper does not give, is RoBERTa's; DistilRoBERTa has no teacher.
Command: xfm train configs/text/roberta.py:base --workdir runs/roberta --config.data.path=FOLDER_OF_TEXT
Cost: 500k steps of 8192 rows of 512; the paper took a day on 1024 V100 for 100k of them.  Result: not run at scale.
`tiny` is for two CPU cores: less than a minute on the Python standard library.
`base_h128` and `large_h128` are variants of ours for TPUs, with half as many heads, of width 128; see text/bert.
"""

from xfm.configs.text import bert

PAPER = "Liu et al. 2019, RoBERTa: A Robustly Optimized BERT Pretraining Approach"
ORACLE = "transformers RobertaForMaskedLM with copied weights (goldens); published sizes (125M base, 355M large)"
MARGIN = 0.4  # nats

# layers, width, heads, vocabulary
SIZES = {
    "base": (12, 768, 12, 50265), "large": (24, 1024, 16, 50265), "distil": (6, 768, 12, 50265),
    "xlmr_base": (12, 768, 12, 250002), "xlmr_large": (24, 1024, 16, 250002),
    "camembert": (12, 768, 12, 32005), "camembert_large": (24, 1024, 16, 32005),
    "base_h128": (12, 768, 6, 50265), "large_h128": (24, 1024, 8, 50265),
}  # fmt: skip
VARIANTS = ("tiny", *SIZES)
# Counted in the transformers models with the head for masked language modelling.
PARAMETERS = {
    "base": 124_697_433, "large": 355_412_057, "distil": 82_170_201, "xlmr_base": 278_295_186,
    "xlmr_large": 560_142_482, "camembert": 110_655_493, "camembert_large": 336_695_557,
}  # fmt: skip
PARAMETERS |= {f"{size}_h128": PARAMETERS[size] for size in ("base", "large")}


def network(layers, width, heads, vocab, length=514, hidden=None, types=1, activation="gelu", eps=1e-5, drop=0.0,
            first=2):  # fmt: skip
    """The spec of the encoder with its head; the first two rows of the table of positions are not used by tokens."""
    spec = bert.network(layers, width, heads, vocab, length, hidden, types, activation, eps, drop)
    spec["embed"]["position"]["first"] = first
    spec["heads"] = dict(mlm=dict(spec["heads"]["mlm"], activation="gelu"))
    return spec


def get_config(arg="base"):
    c = bert.get_config(arg)
    if arg == "tiny":
        return tiny(c)
    c.model = network(*SIZES[arg], drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.objective.pairs = "none"
    c.data.tokenizer = dict(kind="bpe", size=SIZES[arg][3])
    c.batch, c.steps, c.clip = 8192, 500_000, None
    c.optimiser.update(b2=0.98)
    large = "large" in arg
    c.schedule = dict(kind="linear", peak=4e-4 if large else 6e-4, warmup=30_000 if large else 24_000)
    if arg.startswith("xlmr"):
        c.steps = 1_500_000
    if arg.startswith("camembert"):
        c.objective.units = dict(kind="whole_word")
        c.steps, c.schedule = 100_000, dict(kind="linear", peak=7e-4, warmup=10_000)
    return c


def tiny(c):
    c.model = network(layers=2, width=128, heads=4, vocab=2048, length=34)
    c.data.tokenizer = dict(kind="bpe", size=2048)
    return bert.short(c)
