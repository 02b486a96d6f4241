"""EncT5: T5's encoder fine-tuned for classification, with a learned query and one light decoder layer.

Liu, Huang, Lyu, Shakeri, Yu, Li, "EncT5: A Framework for Fine-tuning T5 as Non-autoregressive Models", 2021.

Reproduced: the unchanged encoder; a decoder of one layer with cross-attention only; latent queries (one for a single
label; with several labels per text, heads.label.queries is their number); a linear layer. The recipe is T5's for
fine-tuning (Raffel et al. 2020, section 3.1.3): Adafactor at a constant 1e-3, 2^18 steps of 128 rows of 512.
Different from the paper: the new layer starts from random weights instead of the first layer of T5's decoder.
Command: xfm train configs/text/enct5.py:base --workdir runs/enct5 --config.data.path=FILE \
  --config.start.source=google-t5/t5-base
Own data as in text/finetune_classification.  Cost: hours on one accelerator.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: which module a paragraph of a docstring comes from.
"""

from xfm.configs.text import finetune_classification, t5_encoder

PAPER = "Liu et al. 2021, EncT5: A Framework for Fine-tuning T5 as Non-autoregressive Models"
ORACLE = "the encoder: transformers T5EncoderModel (goldens); the head: its formula in float64, its size in closed form"
MARGIN = 0.7  # nats
SIZES = {name: t5_encoder.SIZES[name] for name in ("small", "base", "large", "3B", "11B")}
VARIANTS = ("tiny", *SIZES)


def added(width, heads, hidden, head_width, classes=2):
    """The number of new parameters: a query, cross-attention, the feed-forward part, three norms, the last layer."""
    return width * (1 + 4 * heads * head_width + 2 * hidden + 3) + (width + 1) * classes


PARAMETERS = {
    name: t5_encoder.PARAMETERS[name] + added(width, heads, hidden, head_width)
    for name, (_, width, heads, hidden, head_width) in SIZES.items()
}


def label(heads, hidden, head_width, classes, ffn="mlp", activation="relu", drop=0.1):
    inner = dict(kind=ffn, hidden=hidden, activation=activation, bias=False)
    return dict(kind="latent_queries", classes=classes, heads=heads, width=head_width, ffn=inner, drop=drop)


def get_config(arg="base"):
    c = finetune_classification.get_config("tiny" if arg == "tiny" else "base")
    t5 = t5_encoder.get_config(arg if arg in SIZES or arg == "tiny" else "base")
    classes = c.objective.classes
    c.model, c.init, c.data.tokenizer = t5.model, t5.init, t5.data.tokenizer
    if arg == "tiny":
        c.model.heads = dict(label=label(4, 256, 32, classes, "glu", "gelu_tanh", drop=0.0))
        c.schedule.peak = 2e-3
        return c
    c.start.update(fresh=("^head_label/",), export="none")  # the Hub's T5 has no such head
    _, _, heads, hidden, head_width = SIZES.get(arg, SIZES["base"])
    c.model.heads = dict(label=label(heads, hidden, head_width, classes))
    c.data.length, c.batch, c.steps = 512, 128, 2**18
    c.optimiser = dict(kind="adafactor")
    c.schedule = dict(kind="constant", peak=1e-3)
    c.eval_every = c.save_every = 5_000  # as T5's
    return c
