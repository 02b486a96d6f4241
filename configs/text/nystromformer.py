"""Nyströmformer: attention approximated from 64 landmarks, in time linear in the length of a text.

Xiong, Zeng, Chakraborty, Tan, Fung, Li, Singh, "Nyströmformer: A Nyström-based Algorithm for Approximating
Self-Attention", 2021.

Reproduced: the base network of section 4.1, parameter for parameter, with its head for masked language modelling, and
the recipe of that section. Different from the paper: its second objective, sentence-order prediction, is left out; the
tokeniser is byte-pair encoding instead of a unigram model.
Command: xfm train configs/text/nystromformer.py:base --workdir runs/nystromformer --config.data.path=FOLDER_OF_TEXT
Cost: 500k steps of 256 rows of 512 tokens.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Xiong et al. 2021, Nyströmformer: A Nyström-based Algorithm for Approximating Self-Attention"
ORACLE = "transformers NystromformerForMaskedLM with copied weights (goldens)"
MARGIN = 0.8  # nats
VARIANTS = ("tiny", "base", "base_4096")
# Counted in the transformers model; for the longer network, with the table of positions for its length.
PARAMETERS = {"base": 109_122_240, "base_4096": 111_876_288}
MIXER = dict(landmarks=64, conv=65, start="matrix", texts=None)


def network(layers, width, heads, vocab, length, mixer=MIXER, hidden=None, types=2, activation="gelu_tanh", eps=1e-5,
            drop=0.0):  # fmt: skip
    """The spec of the encoder with its head, in BERT's layout.

    length: of a text. The table of positions has two unused rows before that of position 0.
    mixer: the fields of `nystrom` beside its heads.
    """
    model = bert.network(layers, width, heads, vocab, length + 2, hidden, types, activation, eps, drop)
    model["embed"]["position"]["first"] = 2
    mixer = dict(MIXER | mixer, kind="nystrom", heads=heads)
    return model | {"pattern": [mixer, model["pattern"][1]], "heads": {"mlm": model["heads"]["mlm"]}}


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.objective.pairs = "none"
    if arg == "tiny":
        c.model = network(2, 128, 4, vocab=2048, length=64, mixer=dict(landmarks=16, conv=9))
        c.data.tokenizer.size = 2048
        c.init.append((r"conv$", dict(kind="normal", std=0.3)))  # about 1 / sqrt(9)
        c.steps, c.schedule = 300, dict(kind="linear", peak=4e-3, warmup=30)
        return c
    length = 4096 if arg == "base_4096" else 510
    c.model = network(12, 768, 12, vocab=30_000, length=length, drop=0.1)
    c.data.update(length=length, tokenizer=dict(kind="bpe", size=30_000))
    c.steps, c.clip = 500_000, None
    return c
