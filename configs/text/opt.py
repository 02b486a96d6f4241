"""OPT: open causal language models from 125M to 175B parameters.

Zhang, Roller, Goyal, Artetxe, Chen, Chen, Dewan, Diab, Li, Lin, Mihaylov, Ott, Shleifer, Shuster, Simig, Koura,
Sridhar, Wang, Zettlemoyer, "OPT: Open Pre-trained Transformer Language Models", 2022.

Reproduced: the networks of table 1, parameter for parameter (350M as released: post-norm, and tables of half the
width), with its rates and batches, and the recipe of section 2: 300B tokens in rows of 2048.
Different from the paper: there the rate of 175B was changed by hand several times (figure 1); here it is as planned.
Command: xfm train configs/text/opt.py:125m --workdir runs/opt --config.data.path=FOLDER_OF_TEXT
Cost: 300B tokens; 992 A100 for two months (175B).  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from ml_collections import ConfigDict

from xfm.configs.text import gpt2

PAPER = "Zhang et al. 2022, OPT: Open Pre-trained Transformer Language Models"
ORACLE = "transformers OPTForCausalLM and its other heads with copied weights (goldens); its parameter count"
MARGIN = 1.0  # nats

# layers, width, heads, the rate's peak, tokens in a batch
SIZES = {
    "125m": (12, 768, 12, 6e-4, 2**19), "350m": (24, 1024, 16, 3e-4, 2**19), "1.3b": (24, 2048, 32, 2e-4, 2**20),
    "2.7b": (32, 2560, 32, 1.6e-4, 2**20), "6.7b": (32, 4096, 32, 1.2e-4, 2**21), "13b": (40, 5120, 40, 1e-4, 2**22),
    "30b": (48, 7168, 56, 1e-4, 2**22), "66b": (64, 9216, 72, 0.8e-4, 2**21), "175b": (96, 12288, 96, 1.2e-4, 2**21),
}  # fmt: skip
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {
    "125m": 125_239_296, "350m": 331_196_416, "1.3b": 1_315_758_080, "2.7b": 2_651_596_800, "6.7b": 6_658_473_984,
    "13b": 12_853_473_280, "30b": 29_974_540_288, "66b": 65_719_701_504, "175b": 174_604_468_224,
}  # fmt: skip


def network(
    layers, width, heads, vocab, length, hidden=None, table=None, norms="in", last="layernorm",
    activation="relu", bias=True, drop=0.0,
):  # fmt: skip
    """The spec of a causal stack whose head is tied to its embedding.

    table: width of the embedding, if it differs from the model's.  norms: of sublayers, "in" or "out".
    last: kind of the final norm, None for none.
    """
    norm = dict(kind="layernorm", eps=1e-5)
    # Rows 0 and 1 of the table are not used by any position.
    position = dict(kind="learned", length=length + 2, first=2)
    embed = dict(kind="tokens", vocab=vocab, width=width, position=position)
    if table is not None:
        embed = dict(kind="projected", vocab=vocab, width=width, factor=table, places=position)
    return dict(
        kind="stack",
        embed=embed,
        pattern=[
            dict(kind="attention", heads=heads, bias=bias, drop=drop),
            dict(kind="mlp", hidden=hidden or 4 * width, activation=activation, bias=bias),
        ],
        repeats=layers,
        norms={norms: norm},
        residual=dict(kind="plain", drop=drop),
        norm=norm if last else None,
        out=table,
        heads=dict(lm=dict(kind="mlm", vocab=vocab, bias=False)),
        mask="causal",
    )


def get_config(arg="125m"):
    layers, width, heads, peak, tokens = SIZES.get(arg, SIZES["125m"])
    released = dict(table=512, norms="out", last=None) if arg == "350m" else {}
    c = ConfigDict()
    c.model = network(layers, width, heads, vocab=50_272, length=2048, drop=0.1, **released)
    c.init = gpt2.init(layers, std=0.006, positions=0.006)
    c.objective = dict(kind="causal_lm")
    c.evals = [dict(kind="continuations")]
    c.data = dict(kind="text", path=None, length=2048, packing="stream", tokenizer=dict(kind="bpe", size=50_272))
    c.batch, c.steps = tokens // 2048, 300_000_000_000 // tokens
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.95, weight_decay=0.1)
    c.schedule = dict(kind="linear", peak=peak, end=0.1 * peak, warmup=2000)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 100, 2000, 2000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(2, 128, 4, vocab=2048, length=64, hidden=256)
    c.init = gpt2.init(2, std=0.08, positions=0.04)
    c.data.update(length=64, tokenizer=dict(kind="bpe", size=2048))
    c.batch, c.steps = 32, 300
    c.optimiser.update(weight_decay=0.01)
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=30)
    c.log_every, c.eval_every, c.save_every = 20, 100, 150
    return c
