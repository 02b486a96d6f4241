"""XLNet: an encoder that predicts the last tokens of a random reading order (permutation language modelling).

Yang, Dai, Yang, Carbonell, Salakhutdinov, Le, "XLNet: Generalized Autoregressive Pretraining for Language
Understanding", 2019; its attention: Dai et al., "Transformer-XL", 2019.

Reproduced: the networks, parameter for parameter; permutation language modelling with two streams and partial
prediction (sections 2.2 to 2.4); pairs of segments with relative types (section 2.5); large's recipe (appendix A.4),
base with BERT's batch, rate and steps. Different from the paper: no memory of the preceding text (segment recurrence),
so the whole batch is read in one direction; A and B have the same length; [SEP] and [CLS] are first in the order;
WordPiece instead of SentencePiece; no dropout before the head.
Command: xfm train configs/text/xlnet.py:base --workdir runs/xlnet --config.data.path=FOLDER_OF_TEXT
Cost: the paper took 5.5 days on 512 TPU v3 chips for large.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Yang et al. 2019, XLNet: Generalized Autoregressive Pretraining for Language Understanding"
ORACLE = "transformers XLNetLMHeadModel and its other heads with copied weights (goldens); its parameter count"
MARGIN = 0.7  # nats

# layers, width, heads
SIZES = {"base": (12, 768, 12), "large": (24, 1024, 16)}
VARIANTS = ("tiny", *SIZES)
# Counted in the transformers model with its head. The paper only says that they are as large as BERT's.
PARAMETERS = {"base": 116_750_336, "large": 360_300_800}


def network(
    layers, width, heads, vocab, hidden=None, head_width=None, activation="gelu", eps=1e-12, reach=None, mask="full",
    drop=0.0,
):  # fmt: skip
    """The spec of the encoder with relative positions, and its head.  reach: larger distances are treated as equal."""
    return dict(
        kind="stack",
        embed=dict(kind="questions", vocab=vocab, width=width, drop=drop),
        pattern=[
            dict(
                kind="relative", heads=heads, width=None if head_width == width / heads else head_width,
                drop=drop, position_drop=drop,
                position=dict(kind="relative_sines", reach=reach),
            ),
            dict(kind="mlp", hidden=hidden or 4 * width, activation=activation),
        ],
        repeats=layers,
        norms={"out": dict(kind="layernorm", eps=eps)},
        residual=dict(kind="plain", drop=drop),
        heads=dict(lm=dict(kind="mlm", vocab=vocab)),
        mask=mask,
    )  # fmt: skip


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.init = [(r"(kernel|embedding|part/\w+|question)$", dict(kind="normal", std=0.02))]
    c.objective = dict(kind="permutation_lm", share=6, longest=5, pairs="typed")
    c.evals = [dict(kind="permuted_words")]
    if arg == "tiny":
        return tiny(c)
    c.model = network(*SIZES[arg], vocab=32000, drop=0.1)
    c.data.tokenizer.size = 32000
    if arg == "large":
        c.batch, c.steps = 8192, 500_000
        c.schedule.update(peak=4e-4, warmup=40_000)
    return c


def tiny(c):
    c.model = network(2, 128, 4, vocab=2048)
    c.init[0][1].update(std=0.08)
    c.data.update(length=64)
    c.data.tokenizer.size = 2048
    c.batch, c.steps = 32, 260
    c.schedule.update(peak=3e-3, warmup=40)
    c.log_every, c.eval_every, c.save_every = 20, 130, 130
    return c
