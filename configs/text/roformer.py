"""RoFormer: BERT with rotary positions, for Chinese; the paper that introduced them.

Su, Lu, Pan, Murtadha, Wen, Liu, "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.

Reproduced: the published networks, parameter for parameter, and the first of the six pre-training stages of section
4.5: 200,000 steps of 256 rows of 512 tokens. Different from the paper: the later stages, with rows of 128 to 1,536, are
separate runs; learning rate and masking, which the paper does not give for this model, are BERT's.
Command: xfm train configs/text/roformer.py:base --workdir runs/roformer --config.data.path=FOLDER_OF_TEXT
Cost: 26 billion tokens.  Result: not run at scale.
`tiny` is for two CPU cores, on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Su et al. 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding"
ORACLE = "transformers RoFormerModel and its heads with copied weights (goldens), and its count without the sines"
MARGIN = 1.0  # nats
# layers, width, heads, rows of the table of sines in the files
SIZES = {"base": (12, 768, 12, 1536), "small": (6, 384, 6, 512)}
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"base": 124_197_968 - 1536 * 64, "small": 30_079_696 - 512 * 64}


def network(
    layers, width, heads, vocab, hidden=None, factor=None, types=2, activation="gelu", eps=1e-12, turns="qk", drop=0.0
):
    """The spec of BERT's encoder without its pooler, with rotations of neighbouring channels.

    factor: width of the embedding, if it differs from the model's.  turns: what is rotated, "qk" or "qkv".
    """
    net = bert.network(layers, width, heads, vocab, 0, hidden, types, activation, eps, drop)
    net["embed"].update(position=dict(kind="none"), factor=factor)
    net["pattern"][0]["position"] = dict(kind="rope", pairs="neighbours", turns=turns)
    return net | {"heads": dict(mlm=net["heads"]["mlm"])}


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.objective.pairs = "none"
    if arg == "tiny":
        c.model = network(layers=2, width=128, heads=4, vocab=1024)
        c.steps = 450
        c.schedule.update(warmup=45)
        return c
    layers, width, heads, _ = SIZES[arg]
    c.model = network(layers, width, heads, vocab=50_000, drop=0.1)
    c.data.tokenizer.size = 50_000
    c.steps = 200_000
    return c
