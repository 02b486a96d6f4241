"""The encoders of T5, mT5 and ByT5: relative positions shared by all layers, RMSNorm, unscaled attention.

Raffel, Shazeer, Roberts, Lee, Narang, Matena, Zhou, Li, Liu, "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer", 2020; Xue et al., "mT5: A Massively Multilingual Pre-trained Text-to-Text Transformer", 2021;
Xue et al., "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models", 2022.

Reproduced: the encoders, parameter for parameter, with the papers' rows, steps, optimiser, rate and length of spans.
Different from the papers: there, a decoder generates the text of each masked span. Here, the encoder predicts every
masked token at its position (masked_lm) with its own embedding table, whose initial deviation is therefore 1 / sqrt(D)
instead of 1; and the rate rises to its peak in the first 10,000 steps, where theirs is constant.
Command: xfm train configs/text/t5_encoder.py:base --workdir runs/t5 --config.data.path=FOLDER_OF_C4
Cost: 2^19 steps of 128 rows of 512 (T5), 1M steps of 1024 rows of 1024 (mT5, ByT5).  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from ml_collections import ConfigDict

PAPER = "Raffel et al. 2020, Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"
ORACLE = "transformers T5EncoderModel with copied weights (goldens); its parameter count"
MARGIN = 0.25  # nats

# layers, width, heads, hidden, width of a head
SIZES = {
    "small": (6, 512, 8, 2048, 64), "base": (12, 768, 12, 3072, 64), "large": (24, 1024, 16, 4096, 64),
    "3B": (24, 1024, 32, 16384, 128), "11B": (24, 1024, 128, 65536, 128),
    "v1_1_small": (8, 512, 6, 1024, 64), "v1_1_base": (12, 768, 12, 2048, 64), "v1_1_large": (24, 1024, 16, 2816, 64),
    "v1_1_xl": (24, 2048, 32, 5120, 64), "v1_1_xxl": (24, 4096, 64, 10240, 64),
}  # fmt: skip
SIZES |= {name.replace("v1_1", "mt5"): size for name, size in SIZES.items() if name.startswith("v1_1")}
SIZES |= {
    "byt5_small": (12, 1472, 6, 3584, 64), "byt5_base": (18, 1536, 12, 3968, 64),
    "byt5_large": (36, 1536, 16, 3840, 64), "byt5_xl": (36, 2560, 32, 6720, 64), "byt5_xxl": (36, 4672, 64, 12352, 64),
}  # fmt: skip
VARIANTS = ("tiny", *SIZES)
# The encoders alone. With their decoders the models have the sizes that the papers print: 60M (small), 220M (base), 3B,
# 11B; 300M, 580M, 1.2B, 3.7B, 13B (mT5); 300M, 582M, 1.23B, 3.74B, 12.9B (ByT5).
PARAMETERS = {
    "small": 35_330_816, "base": 109_628_544, "large": 334_939_648, "3B": 1_240_909_824, "11B": 4_864_791_552,
    "v1_1_small": 35_332_800, "v1_1_base": 109_628_544, "v1_1_large": 341_231_104, "v1_1_xl": 1_223_527_424,
    "v1_1_xxl": 4_762_310_656, "mt5_small": 146_940_608, "mt5_base": 277_040_256, "mt5_large": 564_446_720,
    "mt5_xl": 1_669_958_656, "mt5_xxl": 5_655_173_120, "byt5_small": 217_657_472, "byt5_base": 414_703_488,
    "byt5_large": 864_204_800, "byt5_xl": 2_614_091_264, "byt5_xxl": 8_990_317_632,
}  # fmt: skip
DISTANCES = dict(buckets=32, reach=128)


def network(
    layers, width, heads, hidden, head_width, vocab, ffn, activation,
    distances=DISTANCES, table="one", eps=1e-6, drop=0.0,
):  # fmt: skip
    """The spec of the encoder with a head tied to its embedding.

    ffn: "mlp" or "glu".  distances: buckets and reach of a table of distances.  table: "one" of them for all layers, or
    one for "each".
    """
    norm = dict(kind="rmsnorm", eps=eps)
    distances = dict(distances, kind="relative_buckets")
    position = {"one": dict(kind="shared"), "each": distances}[table]
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=vocab, width=width, drop=drop),
        pattern=[
            dict(kind="attention", heads=heads, width=head_width, bias=False, scale=1.0, position=position, drop=drop),
            dict(kind=ffn, hidden=hidden, activation=activation, bias=False, drop=drop),
        ],
        repeats=layers,
        position=dict(distances, heads=heads) if table == "one" else None,
        norms={"in": norm},
        residual=dict(kind="plain", drop=drop),
        norm=norm,
        heads=dict(mlm=dict(kind="mlm", vocab=vocab, bias=False)),
    )


def get_config(arg="base"):
    family = arg.split("_")[0]
    first = family not in ("v1", "mt5", "byt5")
    vocab = {"mt5": 250_112, "byt5": 384}.get(family, 32_128)
    layers, width, heads, hidden, head_width = SIZES.get(arg, SIZES["base"])

    c = ConfigDict()
    c.model = network(
        layers, width, heads, hidden, head_width, vocab, *(("mlp", "relu") if first else ("glu", "gelu_tanh")),
        drop=0.1 if first else 0.0,
    )  # fmt: skip
    c.init = init(width, heads * head_width, hidden, head_width)
    span = dict(kind="span", end=1 / 20, longest=60) if family == "byt5" else dict(kind="span", end=1 / 3)
    c.objective = dict(kind="masked_lm", rate=0.15, split=(1.0, 0.0, 0.0), units=span)
    c.evals = [dict(kind="masked_words")]
    tokenizer = dict(kind="bytes") if family == "byt5" else dict(kind="bpe", size=vocab)
    c.data = dict(kind="text", path=None, length=512, packing="stream", tokenizer=tokenizer)
    c.batch, c.steps = 128, 2**19
    if family in ("mt5", "byt5"):
        c.data.length, c.batch, c.steps = 1024, 1024, 1_000_000
    c.optimiser = dict(kind="adafactor")
    c.schedule = dict(kind="rsqrt", peak=0.01, warmup=10_000)
    c.log_every, c.eval_every, c.save_every = 100, 10_000, 10_000
    return tiny(c) if arg == "tiny" else c


def init(width, inner, hidden, head_width):
    """The initial values. The queries' kernels are smaller, since the attention scores are not scaled."""
    deviations = {
        r"(^|/)q/kernel$": (width * head_width) ** -0.5,
        r"(^|/)(k|v|up|gate)/kernel$": width**-0.5,
        r"(^|/)o/kernel$": inner**-0.5,
        r"(^|/)down/kernel$": hidden**-0.5,
        r"(embedding|table)$": width**-0.5,
    }
    return [(path, dict(kind="normal", std=std)) for path, std in deviations.items()]


def tiny(c):
    c.model = network(
        2, 128, 4, 256, 32, vocab=2048, ffn="glu", activation="gelu_tanh", distances=dict(buckets=32, reach=64)
    )
    # From the start each head prefers other distances, which saves most of the steps.
    c.init = [(r"position/table$", dict(kind="normal", std=1.0)), *init(128, 128, 256, 32)]
    c.objective.units, c.objective.rate = dict(kind="token"), 0.3
    c.data.update(length=64, tokenizer=dict(kind="wordpiece", size=2048))
    c.batch, c.steps = 32, 600
    c.optimiser = dict(kind="adamw", b2=0.98, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=4e-3, warmup=60)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 20, 250, 250
    return c
