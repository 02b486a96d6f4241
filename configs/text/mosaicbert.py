"""MosaicBERT: an encoder designed to be trained in an hour, with ALiBi, gated feed-forward parts and 30% masking.

Portes, Trott, Havens, King, Venigalla, Nadeem, Sardana, Khudia, Frankle, "MosaicBERT: A Bidirectional Encoder
Optimized for Fast Pretraining", 2023.

Reproduced: the network and the recipe of section 3 and of the published training file.
Command: xfm train configs/text/mosaicbert.py:base --workdir runs/mosaicbert --config.data.path=FOLDER_OF_C4
Cost: 70,000 steps of 4096 rows of 128; the paper took 1.13 hours on 8 A100 for base.  Result: not run at scale.
`tiny` is for two CPU cores, on the Python standard library.
`base_h128` and `large_h128` are variants of ours for TPUs, with half as many heads, of width 128, and therefore half as
many slopes; see text/bert.
"""

from xfm.configs.text import bert

PAPER = "Portes et al. 2023, MosaicBERT: A Bidirectional Encoder Optimized for Fast Pretraining"
ORACLE = "published size (137M base, 434M large); ALiBi slopes against transformers (goldens)"
MARGIN = 0.4  # nats
VARIANTS = ("tiny", "base", "large", "base_h128", "large_h128")
PARAMETERS = {"base": 137_400_384, "large": 435_221_312}  # large: others print 434M; this is the published formula
PARAMETERS |= {f"{size}_h128": count for size, count in PARAMETERS.items()}


def get_config(arg="base"):
    c = bert.get_config(arg)
    tiny = arg == "tiny"
    vocab = 1024 if tiny else 30528  # 30522, rounded up to a multiple of 64
    width, heads = c.model.embed.width, c.model.pattern[0]["heads"]
    drop = 0.0 if tiny else 0.1

    attention = dict(kind="attention", heads=heads, position=dict(kind="alibi"))
    # Dropout is inside the gated part, so there is none after it.
    ffn = dict(kind="glu", hidden=4 * width, activation="gelu", bias=False, out_bias=True, drop=drop)
    c.model.pattern = [attention, dict(part=ffn, residual=dict(kind="plain"))]
    c.model.embed.vocab, c.model.embed.position = vocab, dict(kind="none")
    c.model.heads = dict(mlm=dict(c.model.heads.mlm, vocab=vocab))

    c.objective.update(rate=0.3, pairs="none")
    c.init = [(r"(kernel|embedding)$", dict(kind="normal", std=0.02))]
    if not tiny:
        c.data.length = 128
        c.batch, c.steps = 4096, 70_000
        # In the authors' code the weight decay, 1e-5 per step at the peak, is not multiplied by the learning rate.
        c.optimiser = dict(kind="adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=1e-5 / 5e-4)
        c.schedule = dict(kind="linear", peak=5e-4, end=1e-5, warmup=4200)
    return c
