"""ELECTRA: a small generator replaces tokens of a text, and the network detects which tokens were replaced.

Clark, Luong, Le, Manning, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", 2020.

Reproduced: discriminators and generators, parameter for parameter, with the embedding shared between the two, and the
recipe of table 6: 15 or 25 % of tokens replaced, for 85 % of which the generator's input is the mask (as in the
authors' code), and weight 50 of the detection loss. Different from the paper: learning rates in fine-tuning do not
decrease with depth; all rows have one length.
Command: xfm train configs/text/electra.py:small --workdir runs/electra --config.data.path=FOLDER_OF_TEXT
Cost: 1M steps of 128 rows; the paper took 4 days on one V100 for small.  Result: not run at scale.
`tiny` is for two CPU cores: about a minute on the bytes of the Python standard library.
`small_h128`, `base_h128` and `large_h128` are variants of ours for TPUs, with half as many heads, of width 128, also in
the generator (except small's, which has one of 64); see text/bert.
"""

from xfm.configs.text import bert

PAPER = "Clark et al. 2020, ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators"
ORACLE = "transformers ElectraForPreTraining and ElectraForMaskedLM (goldens); published sizes (14M, 110M, 335M)"
MARGIN = 0.04  # nats; predicting the final share of replaced tokens everywhere is 0.028 below the baseline

# layers, width, heads, width of the embedding; width and heads of the generator
SIZES = {"small": (12, 256, 4, 128, 64, 1), "base": (12, 768, 12, 768, 256, 4), "large": (24, 1024, 16, 1024, 256, 4)}
SIZES |= {
    "small_h128": (12, 256, 2, 128, 64, 1),
    "base_h128": (12, 768, 6, 768, 256, 2),
    "large_h128": (24, 1024, 8, 1024, 256, 2),
}
VARIANTS = ("tiny", *SIZES)
# Counted in the transformers model of the discriminator with its head.
PARAMETERS = {"small": 13_549_057, "base": 109_483_009, "large": 335_142_913}
PARAMETERS |= {f"{size}_h128": count for size, count in PARAMETERS.items()}


def network(layers, width, heads, vocab, length=512, factor=None, hidden=None, types=2, activation="gelu", eps=1e-12,
            drop=0.0):  # fmt: skip
    """The spec of an encoder with both heads: the discriminator's "replaced" and the generator's "mlm"."""
    spec = bert.network(layers, width, heads, vocab, length, hidden, types, activation, eps, drop)
    spec["embed"]["factor"] = None if factor == width else factor
    mlm = dict(spec["heads"]["mlm"], activation="gelu")
    spec["heads"] = dict(mlm=mlm, replaced=dict(kind="detection", activation=activation))
    return spec


def pair(layers, width, heads, factor, small_width, small_heads, **shared):
    """The specs of the discriminator and its generator, each with its own head."""
    large = network(layers, width, heads, factor=factor, **shared)
    small = network(layers, small_width, small_heads, factor=factor, **shared)
    del large["heads"]["mlm"], small["heads"]["replaced"]
    return large, small


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    if arg == "tiny":
        return tiny(c)
    c.model, generator = pair(*SIZES[arg], vocab=30522, drop=0.1)
    size = arg.removesuffix("_h128")
    rate = 0.25 if size == "large" else 0.15
    c.objective = dict(kind="replaced_token", generator=generator, rate=rate, split=(0.85, 0.0, 0.15), weight=50.0)
    c.evals = [dict(kind="replaced_words")]
    c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.02))]
    batch, steps, peak = {
        "small": (128, 1_000_000, 5e-4),
        "base": (256, 766_000, 2e-4),
        "large": (2048, 400_000, 2e-4),
    }[size]
    c.data.length = 128 if size == "small" else 512
    c.batch, c.steps = batch, steps
    c.schedule = dict(kind="linear", peak=peak, warmup=10_000)
    return c


def tiny(c):
    """Sets `tiny` to bytes, since wrong letters are easier to detect than wrong words, and the generator stays weak."""
    c.model, generator = pair(2, 128, 4, 128, 32, 1, vocab=264, length=64)
    c.objective = dict(kind="replaced_token", generator=generator, rate=0.2, weight=5.0)
    c.evals = [dict(kind="replaced_words")]
    c.data.length, c.data.tokenizer = 64, dict(kind="bytes")
    c.batch, c.steps = 24, 700
    c.schedule.update(peak=3e-3, warmup=40)
    c.log_every, c.eval_every, c.save_every = 20, 350, 350
    return c
