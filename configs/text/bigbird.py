"""BigBird: attention between neighbouring blocks of 64 tokens, with global first and last blocks.

Zaheer, Guruganesh, Dubey, Ainslie, Alberti, Ontanon, Pham, Ravula, Wang, Yang, Ahmed, "Big Bird: Transformers for
Longer Sequences", 2020.

Reproduced: the networks of internal construction, parameter for parameter, with their head for masked language
modelling, and the sizes and rate of table 8; whole words are masked, as in the published code. Different from the
paper: there are no random blocks, and training starts from random weights instead of RoBERTa's; the number of steps,
which the paper does not give, is our choice.
Command: xfm train configs/text/bigbird.py:base --workdir runs/bigbird --config.data.path=FOLDER_OF_TEXT
Cost: 500k steps of 256 rows of 4096 tokens.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Zaheer et al. 2020, Big Bird: Transformers for Longer Sequences"
ORACLE = "transformers BigBirdForMaskedLM with copied weights, in evaluation (goldens)"
MARGIN = 0.15  # nats
SIZES = {"base": (12, 768, 12), "large": (24, 1024, 16)}  # layers, width, heads
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"base": 127_520_694, "large": 359_176_374}  # counted in the transformers model, without its pooler
SPARSE = dict(block=64, again=0, dense=704)


def network(layers, width, heads, vocab=50358, length=4096, hidden=None, types=2, activation="gelu_tanh", eps=1e-12,
            drop=0.0, sight=SPARSE):  # fmt: skip
    """The spec of the encoder with both heads, in BERT's layout.

    sight: the fields of the sight `block_sparse`; None for full attention.
    """
    model = bert.network(layers, width, heads, vocab, length, hidden, types, activation, eps, drop)
    if sight is not None:
        mixer = dict(kind="attention", heads=heads, sight=dict(sight, kind="block_sparse"), drop=drop)
        model["pattern"][0] = dict(part=mixer, label="block_sparse")
    return model


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.objective.pairs = "none"
    if arg == "tiny":
        c.model = network(2, 128, 4, vocab=2048, length=64, sight=dict(block=4))
        c.data.tokenizer.size = 2048
        c.steps, c.schedule = 400, dict(kind="linear", peak=5e-3, warmup=40)
    else:
        c.model = network(*SIZES[arg], drop=0.1)
        c.data.update(length=4096, tokenizer=dict(kind="bpe", size=50358))
        c.objective.units = dict(kind="whole_word")
        c.steps = 500_000
    del c.model.heads["pooled"], c.model.heads["nsp"]
    return c
