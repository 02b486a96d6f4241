"""BERT: pre-training by masked language modelling and next-sentence prediction.

Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
2019; the 24 miniatures: Turc, Chang, Lee, Toutanova, "Well-Read Students Learn Better", 2019.

Reproduced: the networks, parameter for parameter (with both heads, as in the published figures), and the recipe of
section A.2. Different from the paper: A and B of a pair have the same length, and all rows have one length.
Command: xfm train configs/text/bert.py:base --workdir runs/bert --config.data.path=FOLDER_OF_TEXT
Cost: 1M steps of 256 rows; the paper took 4 days on 16 TPU chips for base.  Result: not run at scale.
`base_h128` and `large_h128` are variants of ours for TPUs, with half as many heads, of width 128, whose attention takes
at most about two thirds of the cycles (benchmarks/README.md). They have the same number of parameters and FLOPs, but
published weights do not fit them.
`tiny` is for two CPU cores: two minutes on the Python standard library (masked language modelling alone).
"""

from ml_collections import ConfigDict

PAPER = "Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers"
ORACLE = "transformers BertForPreTraining with copied weights (goldens); parameter counts of Turc et al. 2019"
MARGIN = 0.5  # nats

# layers, width, heads
SIZES = {
    f"L{layers}_H{width}": (layers, width, width // 64) for layers in range(2, 13, 2) for width in (128, 256, 512, 768)
}
SIZES |= {"base": (12, 768, 12), "large": (24, 1024, 16), "base_h128": (12, 768, 6), "large_h128": (24, 1024, 8)}
VARIANTS = ("tiny", *SIZES)
# Counted in the transformers model; the papers print 110M (base), 4.4, 11.3, 29.1, 41.7 and 110.1 million.
PARAMETERS = {
    "base": 110_106_428, "large": 336_226_108, "L2_H128": 4_433_468, "L4_H256": 11_267_900, "L4_H512": 29_058_876,
    "L8_H512": 41_668_412, "L2_H256": 9_688_380, "L2_H512": 22_754_108, "L2_H768": 39_227_708, "L4_H128": 4_830_012,
    "L4_H768": 53_403_452, "L6_H128": 5_226_556, "L6_H256": 12_847_420, "L6_H512": 35_363_644, "L6_H768": 67_579_196,
    "L8_H128": 5_623_100, "L8_H256": 14_426_940, "L8_H768": 81_754_940, "L10_H128": 6_019_644, "L10_H256": 16_006_460,
    "L10_H512": 47_973_180, "L10_H768": 95_930_684, "L12_H128": 6_416_188, "L12_H256": 17_585_980,
    "L12_H512": 54_277_948, "L12_H768": 110_106_428,
}  # fmt: skip
PARAMETERS |= {f"{size}_h128": PARAMETERS[size] for size in ("base", "large")}


def network(layers, width, heads, vocab, length, hidden=None, types=2, activation="gelu", eps=1e-12, drop=0.0):
    """The spec of the encoder with both heads: post-norm, learned positions."""
    norm = dict(kind="layernorm", eps=eps)
    return dict(
        kind="stack",
        embed=dict(
            kind="tokens", vocab=vocab, width=width, types=types, norm=norm, drop=drop,
            position=dict(kind="learned", length=length),
        ),
        pattern=[
            dict(kind="attention", heads=heads, drop=drop),
            dict(kind="mlp", hidden=hidden or 4 * width, activation=activation),
        ],
        repeats=layers,
        norms={"out": norm},
        residual=dict(kind="plain", drop=drop),
        heads=dict(
            mlm=dict(kind="mlm", vocab=vocab, activation=activation, norm=norm),
            pooled=dict(kind="vector", pool=dict(kind="dense")),
            nsp=dict(kind="classification", classes=2, pool=dict(kind="of_head", head="pooled")),
        ),
    )  # fmt: skip


def get_config(arg="base"):
    c = ConfigDict()
    c.model = network(*SIZES.get(arg, SIZES["base"]), vocab=30522, length=512, drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.02))]
    c.objective = dict(kind="masked_lm", rate=0.15, split=(0.8, 0.1, 0.1), units=dict(kind="token"), pairs="next")
    c.evals = [dict(kind="masked_words")]
    c.data = dict(kind="text", path=None, length=512, packing="stream", tokenizer=dict(kind="wordpiece", size=30522))
    c.batch, c.steps = 256, 1_000_000
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=1e-4, warmup=10_000)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 100, 10_000, 10_000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(layers=2, width=128, heads=4, vocab=1024, length=64, drop=0.0)
    del c.model.heads["pooled"], c.model.heads["nsp"]
    c.init[0][1].update(std=0.08)  # about 1 / sqrt(width); for the published widths that is close to 0.02
    c.objective.update(pairs="none", rate=0.3)
    c.evals = [dict(kind="masked_words", common=8, shown=5)]
    # Of so little text a model learns 1,024 word pieces much better than 4,096: 2 nats better than the unigram
    # baseline, not 0.9.
    c.data.update(length=64, tokenizer=dict(kind="wordpiece", size=1024))
    c.batch, c.steps = 48, 1000
    c.optimiser.update(b2=0.98)
    c.schedule = dict(kind="linear", peak=6e-3, warmup=80)
    c.log_every, c.eval_every, c.save_every = 20, 200, 400
    return c


def short(c):
    """Sets rows and steps of a `tiny` of BERT's relatives, which learns 2048 word pieces in less than a minute."""
    c.objective.rate = 0.3
    c.data.length = 32
    c.data.tokenizer.size = 2048
    c.batch, c.steps = 48, 320
    c.schedule.update(peak=3e-3, warmup=40)
    c.log_every, c.eval_every, c.save_every = 20, 160, 160
    return c
