"""ModernBERT: rotary positions, attention windows in two of three layers, gated units, no biases, 8,192 tokens.

Warner, Chaffin, Clavié, Weller, Hallström, Taghadouini, Gallagher, Biswas, Ladhak, Aarsen, Cooper, Adams, Howard, Poli,
"Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder …", 2024.

Reproduced: the networks of table 4, parameter for parameter, and the training of section 2.2 and table 3: `base` and
`large` are the phase at 1,024 tokens, `base_8192` and `large_8192` the extension to 8,192 with its decay of 50B tokens.
Different from the paper: AdamW and clipping instead of StableAdamW; a constant batch size; large starts from random
weights instead of base's, and its rate does not return to 5e-5 after 900B tokens; rows are cut from running text.
Command: xfm train configs/text/modernbert.py:base --workdir runs/modernbert --config.data.path=FOLDER_OF_TEXT
Cost: 1.72T tokens, then 300B; the paper took 194 hours on 8 H100 for base's first.  Result: not run at scale.
`tiny` is for two CPU cores, on the Python standard library.
`…_h128` are variants of ours for TPUs, with half as many heads, of width 128; see text/bert. The rotary frequencies,
from 1 to about one over the base, are then distributed over 64 pairs of channels instead of 32.
"""

from ml_collections import ConfigDict

PAPER = "Warner et al. 2024, Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder (ModernBERT)"
ORACLE = "transformers ModernBertModel and all its heads with copied weights (goldens); 149M and 395M of the paper"
MARGIN = 1.0  # nats
# width, heads, hidden, layers; rows of a batch and learning rate at 1,024 tokens and at 8,192
SIZES = {
    "base": ((768, 12, 1152, 22), (4608, 8e-4), (72, 3e-4)),
    "large": ((1024, 16, 2624, 28), (4928, 5e-4), (77, 5e-5)),
}
VARIANTS = ("tiny", "base", "large", "base_8192", "large_8192")
VARIANTS += tuple(f"{size}_h128" for size in VARIANTS[1:])
PARAMETERS = {"base": 149_655_232, "large": 395_881_664}
PARAMETERS |= {f"{size}_8192": count for size, count in PARAMETERS.items()}
PARAMETERS |= {f"{size}_h128": count for size, count in PARAMETERS.items()}

GLOBAL, LOCAL = 160_000.0, 10_000.0  # rotary bases of layers with global attention and with a window
BIASES = dict(norm=False, attention=False, ffn=False, head=False, vocab=True)


def windows(layers, every=3, window=128):
    """The window of each layer; None, for global attention, in the first of every `every` layers."""
    return [None if i % every == 0 else window for i in range(layers)]


def network(
    width, heads, hidden, vocab, windows, thetas=(GLOBAL, LOCAL), activation="gelu", eps=1e-5, biases=BIASES, drop=0.0
):
    """The spec of the pre-norm encoder with its head; the embedding's norm is also that of the first attention.

    windows: of each layer, None for global attention.  thetas: rotary bases of layers without and with a window.
    biases: which layers have them.  drop: after attention.
    """
    norm = dict(kind="layernorm", eps=eps, bias=biases["norm"])

    def layer(window, **other):
        position = dict(kind="rope", theta=thetas[window is not None])
        part = dict(kind="attention", heads=heads, window=window, bias=biases["attention"], position=position)
        ffn = dict(kind="glu", hidden=hidden, activation=activation, bias=biases["ffn"])
        return [dict(part=part, residual=dict(kind="plain", drop=drop), **other), ffn]

    prologue, rest = layer(windows[0], norms={}), [layer(window) for window in windows[1:]]
    period, repeats, epilogue = folded(rest) if rest else ([prologue], 1, [])
    mlm = dict(kind="mlm", vocab=vocab, bias=biases["vocab"])
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=vocab, width=width, norm=norm),
        prologue=prologue if rest else [],
        pattern=sum(period, []),
        repeats=repeats,
        epilogue=sum(epilogue, []),
        norms={"in": norm},
        norm=norm,
        heads=dict(mlm=dict(kind="dense", activation="gelu", bias=biases["head"], norm=norm, head=mlm)),
    )


def folded(layers):
    """The shortest period of a list, the number of its complete repetitions, and the remaining items."""
    n = len(layers)
    period = next(p for p in range(1, n + 1) if layers[p:] == layers[: n - p])
    return layers[:period], n // period, layers[n // period * period :]


def get_config(arg="base"):
    size, *more = ("base" if arg == "tiny" else arg).split("_")
    extended = "8192" in more
    (width, heads, hidden, layers), *phases = SIZES[size]
    heads = width // 128 if "h128" in more else heads
    (batch, rate), length = phases[extended], 8192 if extended else 1024
    tokens = batch * length
    thetas = (GLOBAL if extended else LOCAL, LOCAL)  # the extension raises the base of global layers
    c = ConfigDict()
    c.model = network(width, heads, hidden, 50368, windows(layers), thetas, drop=0.1)
    c.init = [
        (r"(/o|/down|head_mlm/dense)/kernel$", dict(kind="normal", std=0.02 / (2 * layers) ** 0.5)),
        (r"(kernel|embedding)$", dict(kind="normal", std=0.02)),
    ]
    c.objective = dict(kind="masked_lm", rate=0.3, split=(0.8, 0.1, 0.1), units=dict(kind="token"))
    c.evals = [dict(kind="masked_words")]
    c.data = dict(kind="text", path=None, length=length, packing="stream", tokenizer=dict(kind="bpe", size=50368))
    # In the authors' code the weight decay, 1e-5 per step at the peak, is not multiplied by the learning rate.
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=1e-5 / rate)
    if extended:
        c.batch, c.steps = batch, int(300e9) // tokens
        c.schedule = dict(kind="wsd", peak=rate, decay=int(50e9) // tokens, shape="sqrt")
    else:
        c.batch, c.steps = batch, int(1.719e12) // tokens
        c.schedule = dict(kind="constant", peak=rate, warmup=int(3e9 if size == "base" else 2e9) // tokens)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 100, 4000, 4000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(128, 4, 192, 4096, windows(3, window=16))
    c.init = [(r"(kernel|embedding)$", dict(kind="normal", std=0.08))]
    c.data.update(length=64, tokenizer=dict(kind="wordpiece", size=4096))
    c.batch, c.steps = 48, 400
    c.optimiser.update(weight_decay=0.01)
    c.schedule = dict(kind="wsd", peak=4e-3, warmup=40, decay=200, shape="sqrt")
    c.log_every, c.eval_every, c.save_every = 20, 200, 200
    return c
