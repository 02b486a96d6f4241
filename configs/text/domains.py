"""Encoders of languages and domains: published sizes and recipes over a corpus that you name.

greek_bert: Koutsikakis, Chalkidis, Malakasiotis, Androutsopoulos, "GREEK-BERT: The Greeks visiting Sesame Street",
2020.  bioformer_*: Fang, Chen, Wei, Lu, Wang, "Bioformer: an efficient transformer language model for biomedical text
mining", 2023.  fernet_c5: Lehečka, Švec, "Comparison of Czech Transformers on Text Classification Tasks", 2021.
gottbert: Scheible, Thomczyk, Tippmann, Jaravine, Boeker, "GottBERT: a pure German Language Model", 2020.

Reproduced: networks, vocabulary sizes and pre-training settings, as far as the papers and model cards print them; what
they leave open is BERT's or RoBERTa's own. Not reproduced: their corpora and tokenisers, which `data` names or trains.
Command: xfm train configs/text/domains.py:greek_bert --workdir runs/greek --config.data.path=FOLDER_OF_TEXT
Cost: greek_bert one TPU v3-8; gottbert 1.2 days on 256 TPU v3 cores (the authors).  Result: not run at scale.
`tiny` is BERT's, for two CPU cores: about a minute on the Python standard library.
"""

from xfm.configs.text import bert, roberta

PAPER = "Koutsikakis et al. 2020, GREEK-BERT; Fang et al. 2023, Bioformer; Lehečka, Švec 2021, FERNET; GottBERT 2020"
ORACLE = "published parameter counts: Bioformer-8L 42,820,610 to the last digit"
# layers, width, heads, vocabulary, units that are masked together
BERTS = {
    "greek_bert": (12, 768, 12, 35_000, "token"),
    "bioformer_8L": (8, 512, 8, 32_768, "whole_word"),
    "bioformer_16L": (16, 384, 8, 32_768, "whole_word"),
    "fernet_c5": (12, 768, 12, 100_000, "token"),
}
ROBERTAS = {"gottbert": 52_000}
VARIANTS = ("tiny", *BERTS, *ROBERTAS)
# The papers and cards print 110M for greek_bert ("similar to BERT-base", whose vocabulary is smaller), 42,820,610 and
# "about 42 million" for the two Bioformers.
PARAMETERS = {"bioformer_8L": 42_820_610, "bioformer_16L": 41_502_466}


def get_config(arg="bioformer_8L"):
    if arg == "tiny":
        return bert.get_config(arg)
    return of_roberta(ROBERTAS[arg]) if arg in ROBERTAS else of_bert(*BERTS[arg])


def of_bert(layers, width, heads, vocab, units):
    """BERT's recipe, which all of these follow, next sentences included."""
    c = bert.get_config("base")
    c.model = bert.network(layers, width, heads, vocab, length=512, drop=0.1)
    c.objective.units = dict(kind=units)
    c.data.tokenizer.size = vocab
    if units == "whole_word":  # both Bioformers
        c.steps = 2_000_000
    return c


def of_roberta(vocab):
    """RoBERTa's network with the schedule that GottBERT prints: 100k steps of 8k rows, peak 4e-4 after 10k."""
    c = roberta.get_config("base")
    c.model = roberta.network(12, 768, 12, vocab, drop=0.1)
    c.data.tokenizer.size = vocab
    c.batch, c.steps = 8192, 100_000
    c.schedule = dict(kind="linear", peak=4e-4, warmup=10_000)
    return c
