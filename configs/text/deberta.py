"""DeBERTa: attention with separate scores for content and relative position (disentangled attention).

He, Liu, Gao, Chen, "DeBERTa: Decoding-Enhanced BERT with Disentangled Attention", 2021 (base, large, xlarge, and v2);
He, Gao, Chen, "DeBERTaV3: Improving DeBERTa Using ELECTRA-Style Pre-Training with Gradient-Disentangled Embedding
Sharing", 2023 (v3).

Reproduced: the networks, parameter for parameter, with the enhanced mask decoder of section 3.2 as the head, whose
layer is the encoder's last one; the recipe of appendix A.2. Different from the papers: single tokens are masked instead
of spans of up to three words; the tokeniser is BPE instead of SentencePiece; v3's networks have v1's recipe instead of
replaced-token detection.
Command: xfm train configs/text/deberta.py:base --workdir runs/deberta --config.data.path=FOLDER_OF_TEXT
Cost: 1M steps of 2048 rows; the paper took 10 days on 64 V100 for base.  Result: not run at scale.
`tiny` is for two CPU cores: most of a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "He et al. 2021, DeBERTa: Decoding-Enhanced BERT with Disentangled Attention"
ORACLE = "transformers DebertaModel, DebertaV2Model and heads (goldens); published sizes; the mask decoder in loops"
MARGIN = 1.0  # nats

V1 = dict(embed=dict(vocab=50265), attention={})
V2 = dict(embed=dict(vocab=128100), attention=dict(maps="apart", keys="shared", buckets=256, norm_table=True))
CONV = dict(conv=dict(width=3, activation="gelu"))
SIZES = {
    "base": dict(V1, layers=12, width=768, heads=12),
    "large": dict(V1, layers=24, width=1024, heads=16),
    "xlarge": dict(V1, layers=48, width=1024, heads=16),
    "v2_xlarge": dict(V2, layers=24, width=1536, heads=24, **CONV),
    "v2_xxlarge": dict(V2, layers=48, width=1536, heads=24, **CONV),
    "v3_xsmall": dict(V2, layers=12, width=384, heads=6),
    "v3_small": dict(V2, layers=6, width=768, heads=12),
    "v3_base": dict(V2, layers=12, width=768, heads=12),
    "v3_large": dict(V2, layers=24, width=1024, heads=16),
    "v3_multilingual": dict(V2, layers=12, width=768, heads=12) | dict(embed=dict(vocab=251000)),
}
VARIANTS = ("tiny", *SIZES)
# Counted in transformers' masked language models, plus the mask decoder's 512 positions, which these do not have.
PARAMETERS = {
    "base": 139_244_121 + 512 * 768, "large": 406_264_921 + 512 * 1024, "xlarge": 758_905_945 + 512 * 1024,
    "v2_xlarge": 887_085_156 + 512 * 1536, "v2_xxlarge": 1_567_041_636 + 512 * 1536,
    "v3_xsmall": 70_958_820 + 512 * 384, "v3_small": 142_024_548 + 512 * 768, "v3_base": 184_551_780 + 512 * 768,
    "v3_large": 435_191_908 + 512 * 1024, "v3_multilingual": 279_061_880 + 512 * 768,
}  # fmt: skip
EMBED = dict(length=None, types=0, factor=None)
ATTENTION = dict(
    maps="fused", terms=("c2p", "p2c"), keys="own", width=None, reach=512, buckets=None, norm_table=False
)  # fmt: skip


def network(layers, width, heads, embed, attention, hidden=None, conv=None, decoder=None, activation="gelu", eps=1e-7,
            drop=0.0):  # fmt: skip
    """The spec of the encoder with its head for masked tokens: post-norm, relative positions in the attention.

    embed: vocab; length, the rows of a table of absolute positions at the input (None for no table); types, the number
    of token types; factor, the width of the embedding if it differs from the model's.
    attention: maps, terms, keys and width of the part `disentangled`; and for its table of distances reach, the largest
    distance (None for no table), buckets, those of a logarithmic table on either side, and norm_table.
    decoder: positions of the enhanced mask decoder, which then has the last layer; None for a plain head.
    """
    embed, attention = EMBED | embed, ATTENTION | attention
    vocab, factor, length = (embed.pop(name) for name in ("vocab", "factor", "length"))
    reach, buckets, norm_table = (attention.pop(name) for name in ("reach", "buckets", "norm_table"))
    norm = dict(kind="layernorm", eps=eps)
    position = dict(kind="none") if length is None else dict(kind="learned", length=length)
    embed |= dict(kind="tokens", vocab=vocab, width=width, position=position, norm=norm, drop=drop)
    if factor not in (None, width):
        embed |= dict(kind="projected", factor=factor)
    mixer = dict(attention, kind="disentangled", heads=heads, drop=drop, position_drop=drop)
    ffn = dict(kind="mlp", hidden=hidden or 4 * width, activation=activation)
    table = dict(
        kind="relative_table", span=buckets or reach, width=width, reach=reach if buckets else None,
        norm=norm if norm_table else None,
    )  # fmt: skip
    first = [] if conv is None else [
        mixer, dict(part=ffn, norms={}, residual=dict(kind="convolved", norm=norm, drop=drop, **conv)),
    ]  # fmt: skip
    head = dict(kind="mlm", vocab=vocab, activation=activation, norm=norm)
    if decoder is not None:
        memory = dict(mixer, memory="memory")
        head = dict(kind="enhanced_mlm", mixer=memory, ffn=ffn, norm=norm, drop=drop, length=decoder, head=head)
    return dict(
        kind="stack",
        embed=embed,
        position=None if reach is None else table,
        prologue=first,
        pattern=[mixer, ffn],
        repeats=layers - (conv is not None) - (decoder is not None),
        norms={"out": norm},
        residual=dict(kind="plain", drop=drop),
        heads=dict(mlm=head),
    )


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.objective.pairs = "none"
    if arg == "tiny":
        attention = dict(V2["attention"], buckets=16, reach=64)
        c.model = network(3, 64, 2, dict(vocab=2048), attention, **CONV, decoder=64)
        c.data.tokenizer.size = 2048
        c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.1))]
        c.batch, c.steps, c.schedule = 32, 300, dict(kind="linear", peak=6e-3, warmup=30)
        return c
    c.model = network(**SIZES[arg], decoder=512, drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.data.tokenizer = dict(kind="bpe", size=SIZES[arg]["embed"]["vocab"])
    c.batch, c.steps = 2048, 1_000_000
    c.schedule = dict(kind="linear", peak=1.5e-4 if SIZES[arg]["width"] > 1024 else 2e-4, warmup=10_000)
    return c
