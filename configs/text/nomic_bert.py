"""nomic-bert-2048: BERT with rotary positions and SwiGLU, for 2,048 tokens and, with other rotary bases, 8,192.

Nussbaum, Morris, Duderstadt, Mulyar, "Nomic Embed: Training a Reproducible Long Context Text Embedder", 2024.

Reproduced: the network, parameter for parameter, and the masked language modelling of section 3.1, with the five epochs
of the published training file. Different from the paper: the epochs are those of a corpus of four billion tokens, since
the paper does not give the size of its own; the contrastive training of the embedding model is a separate run.
Command: xfm train configs/text/nomic_bert.py:base --workdir runs/nomic --config.data.path=FOLDER_OF_TEXT
Cost: 2,384 steps of 4,096 rows of 2,048 tokens.  Result: not run at scale.
`tiny` is for two CPU cores, on the Python standard library.
"""

from ml_collections import ConfigDict

PAPER = "Nussbaum et al. 2024, Nomic Embed: Training a Reproducible Long Context Text Embedder"
ORACLE = "transformers NomicBertModel and its heads with copied weights (goldens); 137M of the paper"
MARGIN = 1.0  # nats
VARIANTS = ("tiny", "base")
# transformers' model has 137,354,304, because of two biases in the head that the published files do not have.
PARAMETERS = {"base": 137_354_304 - 768 - 30_528}
BIASES = dict(attention=False, up=False, down=False, head=False)


def network(
    layers, width, heads, hidden, vocab, types=2, activation="silu", eps=1e-12, position=None, biases=BIASES,
    head_width=None,
):  # fmt: skip
    """The spec of the post-norm encoder with its head.  position: its spec; None for rotary with base 1,000."""
    norm = dict(kind="layernorm", eps=eps)
    attention = dict(kind="attention", heads=heads, width=head_width, bias=biases["attention"])
    ffn = dict(kind="glu", hidden=hidden, activation=activation, bias=biases["up"], out_bias=biases["down"])
    mlm = dict(kind="mlm", vocab=vocab, bias=biases["head"])
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=vocab, width=width, types=types, norm=norm),
        pattern=[attention | {"position": position or dict(kind="rope", theta=1000.0)}, ffn],
        repeats=layers,
        norms={"out": norm},
        heads=dict(mlm=dict(kind="dense", activation=activation, bias=biases["head"], norm=norm, head=mlm)),
    )


def get_config(arg="base"):
    c = ConfigDict()
    c.model = network(layers=12, width=768, heads=12, hidden=3072, vocab=30528)
    c.init = [(r"(kernel|embedding)$", dict(kind="normal", std=0.02))]
    c.objective = dict(kind="masked_lm", rate=0.3, split=(0.8, 0.1, 0.1), units=dict(kind="token"))
    c.evals = [dict(kind="masked_words")]
    c.data = dict(kind="text", path=None, length=2048, packing="stream", tokenizer=dict(kind="wordpiece", size=30528))
    c.batch, c.steps = 4096, 2384
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=1e-5)
    c.schedule = dict(kind="linear", peak=5e-4, warmup=143)
    c.log_every, c.eval_every, c.save_every = 100, 500, 500
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(layers=2, width=128, heads=4, hidden=256, vocab=4096)
    c.init[0][1].update(std=0.08)
    c.data.update(length=64, tokenizer=dict(kind="wordpiece", size=4096))
    c.batch, c.steps = 48, 400
    c.optimiser.update(weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=4e-3, warmup=40)
    c.log_every, c.eval_every, c.save_every = 20, 200, 200
    return c
