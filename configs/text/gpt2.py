"""GPT-2: a causal language model.

Radford, Wu, Child, Luan, Amodei, Sutskever, "Language Models are Unsupervised Multitask Learners", 2019.

Reproduced: the four networks of table 2, parameter for parameter, rows of 1024 tokens and batches of 512 (section 2.3).
Different from the paper: it does not give steps, rate and optimiser. Optimiser and rate are those of its predecessor
(Radford et al. 2018, section 4.1: Adam, 2.5e-4 after 2,000 steps, then a cosine); the number of steps is our choice.
Command: xfm train configs/text/gpt2.py:small --workdir runs/gpt2 --config.data.path=FOLDER_OF_TEXT
Cost: 200,000 steps of 512 rows of 1024 tokens, 10 epochs of the paper's 40 GB.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from ml_collections import ConfigDict

PAPER = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners"
ORACLE = "transformers GPT2LMHeadModel and its other heads with copied weights (goldens); its parameter count"
MARGIN = 1.0  # nats

# layers, width, heads
SIZES = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (36, 1280, 20), "xl": (48, 1600, 25)}
VARIANTS = ("tiny", *SIZES)
# The paper prints 117M, 345M, 762M and 1542M; the authors have since said that these counts were wrong.
PARAMETERS = {"small": 124_439_808, "medium": 354_823_168, "large": 774_030_080, "xl": 1_557_611_200}


def network(
    layers, width, heads, vocab, length, hidden=None, activation="gelu_tanh", eps=1e-5, scales=None, drop=0.0
):  # fmt: skip
    """The spec of a causal pre-norm stack whose head is tied to its embedding.

    scales: of the attention scores, one for each layer; None for 1 / sqrt(head width).  hidden: 4 · width if None.
    """
    norm = dict(kind="layernorm", eps=eps)
    attention = dict(kind="attention", heads=heads, drop=drop)
    mlp = dict(kind="mlp", hidden=hidden or 4 * width, activation=activation)
    return dict(
        kind="stack",
        embed=dict(
            kind="tokens", vocab=vocab, width=width, position=dict(kind="learned", length=length), drop=drop
        ),
        pattern=[attention, mlp] if scales is None else [p for s in scales for p in (dict(attention, scale=s), mlp)],
        repeats=layers if scales is None else 1,
        norms={"in": norm},
        residual=dict(kind="plain", drop=drop),
        norm=norm,
        heads=dict(lm=dict(kind="mlm", vocab=vocab, bias=False)),
        mask="causal",
    )  # fmt: skip


def get_config(arg="small"):
    layers, width, heads = SIZES.get(arg, SIZES["small"])
    c = ConfigDict()
    c.model = network(layers, width, heads, vocab=50_257, length=1024, drop=0.1)
    c.init = init(layers)
    c.objective = dict(kind="causal_lm")
    c.evals = [dict(kind="continuations")]
    c.data = dict(kind="text", path=None, length=1024, packing="stream", tokenizer=dict(kind="bpe", size=50_257))
    c.batch, c.steps = 512, 200_000
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.01)
    c.schedule = dict(kind="cosine", peak=2.5e-4, warmup=2000)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 100, 5000, 5000
    return tiny(c) if arg == "tiny" else c


def init(layers, std=0.02, positions=0.01):
    """The initial values. Kernels whose outputs are added to the residual stream shrink with depth (section 2.3)."""
    return [
        (r"part/(o|down)/kernel$", dict(kind="normal", std=std * (2 * layers) ** -0.5)),
        (r"(kernel|embedding)$", dict(kind="normal", std=std)),
        (r"table$", dict(kind="normal", std=positions)),
    ]


def tiny(c):
    c.model = network(2, 128, 4, vocab=2048, length=64, hidden=256)
    c.init = init(2, std=0.08, positions=0.04)
    c.data.update(length=64, tokenizer=dict(kind="bpe", size=2048))
    c.batch, c.steps = 32, 300
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=30)
    c.log_every, c.eval_every, c.save_every = 20, 100, 150
    return c
