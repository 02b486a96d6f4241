"""EuroBERT: the layers of a modern decoder without the causal mask, for fifteen languages, mathematics and code.

Boizard, Gisserot-Boukhlef, Alves, Martins, Hammal, Corro, Hudelot, Malherbe, Malaboeuf, Jourdan, Hautreux, Alves,
El-Haddad, Faysse, Peyrard, Guerreiro, Fernandes, Rei, Colombo, "EuroBERT: Scaling Multilingual Encoders for European
Languages", 2025.

Reproduced: the networks, parameter for parameter, and the first phase of section 2: half of the tokens are masked,
always with the mask token, and the rate is constant after a warm-up. Different from the paper: the batch is that of the
published trainer, 12 rows for each of 192 devices; the annealing phase (8,192 tokens, a tenth masked, 369B tokens) is a
separate run.
Command: xfm train configs/text/eurobert.py:210m --workdir runs/eurobert --config.data.path=FOLDER_OF_TEXT
Cost: 4.8T tokens.  Result: not run at scale.
`tiny` is for two CPU cores, on the Python standard library.
"""

from ml_collections import ConfigDict

PAPER = "Boizard et al. 2025, EuroBERT: Scaling Multilingual Encoders for European Languages"
ORACLE = "transformers EuroBertModel and its heads with copied weights (goldens); 210M, 610M and 2.1B of the paper"
MARGIN = 1.0  # nats
# layers, width, heads, key-value heads, hidden
SIZES = {"210m": (12, 768, 12, 12, 3072), "610m": (26, 1152, 18, 6, 4096), "2.1b": (32, 2304, 18, 6, 6144)}
VARIANTS = ("tiny", *SIZES)
# The paper's figures do not include the output table, which has 98.5, 147.8 and 295.5 million of these.
PARAMETERS = {"210m": 310_266_624, "610m": 755_625_600, "2.1b": 2_403_092_736}
BIASES = dict(attention=False, ffn=False)


def network(
    layers, width, heads, kv_heads, hidden, vocab, theta=10_000.0, activation="silu", eps=1e-5, biases=BIASES,
    head_width=None, table="own",
):  # fmt: skip
    """The spec of the encoder with its head: pre-norm with RMSNorm, grouped queries, rotary positions, gated units.

    table: of the head, "own" or "tied" to the embedding.
    """
    norm = dict(kind="rmsnorm", eps=eps)
    attention = dict(kind="attention", heads=heads, kv_heads=kv_heads, width=head_width, bias=biases["attention"])
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=vocab, width=width),
        pattern=[
            attention | {"position": dict(kind="rope", theta=theta)},
            dict(kind="glu", hidden=hidden, activation=activation, bias=biases["ffn"]),
        ],
        repeats=layers,
        norms={"in": norm},
        norm=norm,
        heads=dict(mlm=dict(kind="mlm", vocab=vocab, table=table, bias=biases["ffn"])),
    )


def get_config(arg="210m"):
    c = ConfigDict()
    c.model = network(*SIZES.get(arg, SIZES["210m"]), vocab=128_256)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.objective = dict(kind="masked_lm", rate=0.5, split=(1.0, 0.0, 0.0), units=dict(kind="token"))
    c.evals = [dict(kind="masked_words")]
    c.data = dict(kind="text", path=None, length=2048, packing="stream", tokenizer=dict(kind="bpe", size=128_256))
    c.batch = 12 * 192
    c.steps = int(4.8e12) // (c.batch * c.data.length)
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.95, eps=1e-5, weight_decay=0.1)
    c.schedule = dict(kind="constant", peak=1e-4, warmup=2000)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 100, 5000, 5000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(2, 128, 4, 2, 256, vocab=4096)
    c.init[0][1].update(std=0.08)
    c.objective.rate = 0.3
    c.data.update(length=64, tokenizer=dict(kind="wordpiece", size=4096))
    c.batch, c.steps = 48, 400
    c.optimiser.update(b2=0.98, eps=1e-8, weight_decay=0.01)
    c.schedule = dict(kind="wsd", peak=4e-3, warmup=40, decay=200)
    c.log_every, c.eval_every, c.save_every = 20, 200, 200
    return c
