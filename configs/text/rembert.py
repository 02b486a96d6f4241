"""RemBERT: an encoder with a small input embedding and a separate large output embedding.

Chung, Fevry, Tsai, Johnson, Ruder, "Rethinking Embedding Coupling in Pre-trained Language Models", 2021.

Reproduced: the network of section 6, parameter for parameter, with its output embedding, and its recipe of masked
language modelling. Different from the paper: the languages are those in the folder, without resampling; the tokeniser
is byte-pair encoding instead of SentencePiece's unigram model.
Command: xfm train configs/text/rembert.py:base --workdir runs/rembert --config.data.path=FOLDER_OF_TEXT
Cost: 1.76M steps of 2048 rows of 512 tokens.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Chung et al. 2021, Rethinking Embedding Coupling in Pre-trained Language Models"
ORACLE = "transformers RemBertForMaskedLM with copied weights (goldens); published size (995M, 575M without its head)"
MARGIN = 0.3  # nats
VARIANTS = ("tiny", "base")
# Counted in the transformers model without its pooler; the paper prints 995M, and 575M without the output embedding.
PARAMETERS = {"base": 993_263_548}


def network(
    layers, width, heads, hidden, vocab, length, inputs, outputs, types=2, activation="gelu", eps=1e-12, drop=0.0
):
    """The spec of BERT's encoder with other widths of the embedding (`inputs`) and of the head's table (`outputs`)."""
    model = bert.network(layers, width, heads, vocab, length, hidden, types, activation, eps, drop)
    model["embed"]["factor"] = inputs
    head = dict(model["heads"]["mlm"], table="own", width=outputs)
    return model | {"heads": {"mlm": head}}


def get_config(arg="base"):
    c = bert.get_config(arg)
    c.objective.pairs = "none"
    if arg == "tiny":
        c.model = network(2, 64, 2, 256, vocab=2048, length=64, inputs=32, outputs=96)
        c.data.tokenizer.size = 2048
        c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.1))]
        c.steps, c.schedule = 450, dict(kind="linear", peak=6e-3, warmup=45)
        return c
    c.model = network(32, 1152, 18, 4608, vocab=250_300, length=512, inputs=256, outputs=1664)
    c.data.tokenizer = dict(kind="bpe", size=250_300)
    c.batch, c.steps = 2048, 1_760_000
    c.schedule = dict(kind="linear", peak=2e-4, warmup=15_000)
    return c
