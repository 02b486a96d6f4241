"""Mamba-2-Hybrid: a language model of state-space layers and a few attention layers.

Waleffe et al., "An Empirical Study of Mamba-based Language Models", 2024; Mamba-2: Dao, Gu, 2024.

Reproduced: the 8B network of section 4 (43% Mamba-2, 7% attention, 50% feed-forward parts, in the published order)
and its recipe, as far as the authors' training script has it. As there, feed-forward parts use the exact GELU.
Command: xfm train configs/sequence/mamba2_hybrid.py:8B --workdir runs/hybrid --config.data.path=FOLDER_OF_TEXT
Cost: 3.5T tokens; 1,024 H100 in the paper.  Result: not run at scale.
`tiny` is for two CPU cores: a minute on the Python standard library.
"""

from ml_collections import ConfigDict

PAPER = "Waleffe et al. 2024, An Empirical Study of Mamba-based Language Models"
ORACLE = "transformers Mamba2ForCausalLM and a hybrid of it with copied weights (goldens); the published layer order"
MARGIN = 1.0  # nats
VARIANTS = ("tiny", "8B")
PARAMETERS = {"8B": 8_654_517_248}  # published as 8B

# M is Mamba-2 (24 of 56), * attention (4), - a feed-forward part (28)
LAYERS = "M-M-M--M-M*-M-M-M-M--M*-M-M-M-M-M*--M-M-M-M-M*-M--M-M-M-"


def network(layers, width, heads, kv_heads, vocab, mamba):
    """The spec of a pre-norm stack whose pattern is the whole network, since it has no period."""
    norm = dict(kind="rmsnorm", eps=1e-5)
    parts = {
        "M": dict(kind="mamba2", **mamba),
        "*": dict(kind="attention", heads=heads, kv_heads=kv_heads, bias=False),
        "-": dict(kind="mlp", hidden=4 * width, activation="gelu", bias=False),
    }
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=vocab, width=width),
        pattern=[parts[layer] for layer in layers],
        norms={"in": norm},
        norm=norm,
        heads=dict(lm=dict(kind="mlm", vocab=vocab, table="own", bias=False)),
        mask="causal",
        remat="dots",
    )


def get_config(arg="8B"):
    c = ConfigDict()
    mamba = dict(expand=2, head_width=64, state=128, groups=8, norm_groups=8, conv=4, chunk=128)
    c.model = network(LAYERS, 4096, heads=32, kv_heads=8, vocab=256_000, mamba=mamba)
    c.init = [(r"(part/(q|k|v|o|up|down|in|out)/kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.objective = dict(kind="causal_lm")
    c.evals = [dict(kind="continuations")]
    c.data = dict(kind="text", path=None, length=4096, packing="documents", tokenizer=dict(kind="bpe", size=256_000))
    c.batch, c.steps = 1024, 835_000
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.95, weight_decay=0.1)
    c.schedule = dict(kind="cosine", peak=2.5e-4, end=2.5e-5, warmup=2000)
    c.clip, c.sharding = 1.0, "fsdp"
    c.log_every, c.eval_every, c.save_every = 10, 1000, 1000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    mamba = dict(expand=2, head_width=32, state=16, conv=4, chunk=64)
    c.model = network("M-*-M-", 96, heads=3, kv_heads=1, vocab=2048, mamba=mamba)
    c.model.remat = "none"
    c.data.update(length=128, tokenizer=dict(kind="bpe", size=2048), max_bytes=4_000_000)
    c.batch, c.steps = 16, 240
    c.schedule = dict(kind="cosine", peak=3e-3, warmup=30)
    c.sharding = "replicated"
    c.log_every, c.eval_every, c.save_every = 20, 80, 120
    return c
