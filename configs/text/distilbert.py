"""DistilBERT: half of BERT's layers, no token types, no pooler.

Sanh, Debut, Chaumond, Wolf, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", 2019.

Reproduced: the networks, parameter for parameter (base; its cased and multilingual relatives), and the batch size.
Different from the paper: the only objective is masked language modelling, from random weights; the paper also trains
against a teacher's logits and hidden states, and starts from every second layer of BERT.
Command: xfm train configs/text/distilbert.py:base --workdir runs/distilbert --config.data.path=FOLDER_OF_TEXT
Cost: the paper took 90 hours on 8 V100 of 16 GB.  Result: not run at scale.
`tiny` is for two CPU cores: less than a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Sanh et al. 2019, DistilBERT, a distilled version of BERT"
ORACLE = "transformers DistilBertForMaskedLM with copied weights (goldens); published size (66M)"
MARGIN = 0.3  # nats

VOCABULARIES = {"base": 30522, "cased": 28996, "multilingual": 119547}
VARIANTS = ("tiny", *VOCABULARIES)
# Counted in the transformers model with its head; the paper prints 66M, for the encoder alone (66,362,880).
PARAMETERS = {"base": 66_985_530, "cased": 65_812_036, "multilingual": 135_445_755}


def network(layers, width, heads, vocab, length=512, hidden=None, activation="gelu", drop=0.0):
    """The spec of the encoder with its head; norms have a fixed eps of 1e-12."""
    spec = bert.network(layers, width, heads, vocab, length, hidden, 0, activation, 1e-12, drop)
    spec["heads"] = dict(mlm=spec["heads"]["mlm"])
    return spec


def get_config(arg="base"):
    c = bert.get_config(arg)
    if arg == "tiny":
        return tiny(c)
    c.model = network(6, 768, 12, vocab=VOCABULARIES[arg], drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.objective.pairs = "none"
    c.data.tokenizer.size = VOCABULARIES[arg]
    c.batch, c.steps = 4096, 100_000
    c.optimiser.update(b2=0.98)
    c.schedule.update(peak=5e-4, warmup=5_000)
    return c


def tiny(c):
    c.model = network(layers=2, width=128, heads=4, vocab=2048, length=32)
    return bert.short(c)
