"""JinaBERT, of Jina Embeddings 2: BERT with ALiBi and gated units, trained on 512 tokens and used with up to 8,192.

Günther, Ong, Mohr, Abdessalem, Abel, Akram, Guzman, Mastrapas, Sturua, Wang, Werk, Wang, Xiao, "Jina Embeddings 2:
8192-Token General-Purpose Text Embeddings for Long Documents", 2023.

Reproduced: the networks and the masked language modelling of section 4.1, with 30% of the tokens, in whole words.
Different from the paper: the contrastive training of the embedding model is a separate run.
Command: xfm train configs/text/jina_bert.py:base --workdir runs/jina --config.data.path=FOLDER_OF_C4
Cost: 100,000 steps of 4,096 rows of 512.  Result: not run at scale.
`tiny` is for two CPU cores, on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Günther et al. 2023, Jina Embeddings 2: 8192-Token General-Purpose Text Embeddings for Long Documents"
ORACLE = "transformers' BertModel with ALiBi as its mask and gated units (goldens); 33M, 137M and 435M of the paper"
MARGIN = 1.0  # nats
# layers, width, heads, activation
SIZES = {"small": (4, 512, 8, "gelu"), "base": (12, 768, 12, "gelu"), "large": (24, 1024, 16, "relu")}
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"small": 32_722_240, "base": 137_400_384, "large": 435_221_312}


def network(layers, width, heads, vocab, activation="gelu", hidden=None, types=2, act="gelu", eps=1e-12, drop=0.0):
    """The spec of the post-norm encoder with its head.  activation: of the gate.  act: of the head's dense layer."""
    net = bert.network(layers, width, heads, vocab, 0, hidden, types, act, eps, drop)
    net["embed"]["position"] = dict(kind="none")
    attention, mlp = net["pattern"]
    glu = dict(kind="glu", hidden=mlp["hidden"], activation=activation, bias=False, out_bias=True)
    net["pattern"] = [attention | {"position": dict(kind="alibi")}, glu]
    return net | {"heads": dict(mlm=net["heads"]["mlm"])}


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.objective.update(rate=0.3, pairs="none")
    if arg == "tiny":
        c.model = network(layers=2, width=128, heads=4, vocab=1024, hidden=256)
        c.steps = 450
        c.schedule.update(warmup=45)
        return c
    layers, width, heads, activation = SIZES[arg]
    c.model = network(layers, width, heads, 30_528, activation, drop=0.1)
    c.objective.units.kind = "whole_word"
    c.data.tokenizer.size = 30_528
    c.batch, c.steps = 4096, 100_000
    c.optimiser.update(b2=0.98, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=1e-3, warmup=10_000)
    return c
