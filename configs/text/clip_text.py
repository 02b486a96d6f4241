"""The text towers of CLIP and SigLIP: pre-norm encoders of captions; CLIP's is causal.

Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever, "Learning Transferable
Visual Models From Natural Language Supervision", 2021; Zhai, Mustafa, Kolesnikov, Beyer, "Sigmoid Loss for Language
Image Pre-Training", 2023; Tschannen et al., "SigLIP 2", 2025 (the variants named siglip2: a vocabulary of 256,000).

Reproduced: the towers, parameter for parameter, with their final projection.
Different from the papers: there, both are trained against images, for which this file has no tower. Here, CLIP's tower
is trained as a causal language model (which its paper mentions in section 2.4) and SigLIP's as a masked one, each with
a head tied to its embedding; batches, steps and rates are those of the papers, but of captions instead of pairs.
Command: xfm train configs/text/clip_text.py:B --workdir runs/clip_text --config.data.path=FOLDER_OF_CAPTIONS
Cost: 400M captions, 32 times (CLIP); 40B captions (SigLIP).  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from ml_collections import ConfigDict

PAPER = "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision"
ORACLE = "transformers CLIPTextModelWithProjection and SiglipTextModel with copied weights (goldens); parameter counts"
MARGIN = 0.9  # nats

# layers, width, heads, hidden, projected width, vocab
CLIP = {
    "B": (12, 512, 8, 2048, 512, 49408), "L": (12, 768, 12, 3072, 768, 49408), "H": (24, 1024, 16, 4096, 1024, 49408),
    "bigG": (32, 1280, 20, 5120, 1280, 49408),
}  # fmt: skip
SIGLIP = {
    "siglip_B": (12, 768, 12, 3072, 768, 32000), "siglip_L": (24, 1024, 16, 4096, 1024, 32000),
    "siglip_so400m": (27, 1152, 16, 4304, 1152, 32000),
    "siglip2_B": (12, 768, 12, 3072, 768, 256_000), "siglip2_L": (24, 1024, 16, 4096, 1024, 256_000),
    "siglip2_so400m": (27, 1152, 16, 4304, 1152, 256_000),
}  # fmt: skip
VARIANTS = ("tiny", *CLIP, *SIGLIP)
# CLIP's paper prints 63M for B (section 2.4). "H" and "bigG" are OpenCLIP's (exact gelu).
PARAMETERS = {
    "B": 63_428_096, "L": 123_650_304, "H": 354_032_640, "bigG": 694_659_840,
    "siglip_B": 110_271_744, "siglip_L": 336_194_560, "siglip_so400m": 449_734_896,
    "siglip2_B": 282_303_744, "siglip2_L": 565_570_560, "siglip2_so400m": 707_782_896,
}  # fmt: skip


def network(
    layers, width, heads, hidden, vocab, length, project=None,
    kind="clip", end=None, activation="quick_gelu", eps=1e-5, drop=0.0,
):  # fmt: skip
    """The spec of a tower.

    kind: "clip" is causal and pools at the token `end` (the highest id if None), "siglip" pools at the last token.
    project: width of the final projection; None for none, which only CLIP's tower can have.
    """
    norm = dict(kind="layernorm", eps=eps)
    pool = {"clip": dict(kind="at_token", token=end), "siglip": dict(kind="last")}[kind]
    vector = dict(kind="dense", width=project, activation="identity")
    if kind == "siglip":
        answers = dict(pooled=dict(kind="vector", pool=dict(vector, pool=pool)))
    else:
        projected = dict(vector, bias=False, pool=dict(kind="of_head", head="pooled"))
        answers = dict(pooled=dict(kind="vector", pool=pool))
        answers |= dict(embeds=dict(kind="vector", pool=projected)) if project else {}
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=vocab, width=width, position=dict(kind="learned", length=length)),
        pattern=[
            dict(kind="attention", heads=heads, drop=drop),
            dict(kind="mlp", hidden=hidden, activation=activation),
        ],
        repeats=layers,
        norms={"in": norm},
        norm=norm,
        heads=answers,
        mask="causal" if kind == "clip" else "full",
    )


def get_config(arg="B"):
    siglip = arg.startswith("siglip")
    layers, width, heads, hidden, project, vocab = {**CLIP, **SIGLIP}.get(arg, CLIP["B"])
    c = ConfigDict()
    if siglip:
        c.model = network(
            layers, width, heads, hidden, vocab, 64, project, kind="siglip", activation="gelu_tanh", eps=1e-6
        )
        c.model.heads.mlm = dict(kind="mlm", vocab=vocab, bias=False)
        c.objective = dict(kind="masked_lm", rate=0.15)
        c.evals = [dict(kind="masked_words")]
        c.batch, c.steps = 32_768, 40_000_000_000 // 32_768
        c.optimiser = dict(kind="adamw", b1=0.9, b2=0.95, weight_decay=1e-4)
        c.schedule = dict(kind="cosine", peak=1e-3, warmup=20_000)  # the paper does not print the warm-up
    else:
        activation = "gelu" if arg in ("H", "bigG") else "quick_gelu"
        c.model = network(layers, width, heads, hidden, vocab, 77, project, activation=activation)
        c.model.heads.lm = dict(kind="mlm", vocab=vocab, bias=False)
        c.objective = dict(kind="causal_lm")
        c.evals = [dict(kind="continuations")]
        c.batch, c.steps = 32_768, 32 * 400_000_000 // 32_768
        c.optimiser = dict(kind="adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.2)
        c.schedule = dict(kind="cosine", peak=5e-4 if arg == "B" else 4e-4, warmup=2000)
    c.init = init(layers, width)
    c.data = dict(
        kind="text", path=None, length=64 if siglip else 77, packing="documents",
        tokenizer=dict(kind="bpe", size=vocab),
    )  # fmt: skip
    c.log_every, c.eval_every, c.save_every = 100, 10_000, 10_000
    return tiny(c) if arg == "tiny" else c


def init(layers, width):
    """The initial values of OpenAI's code: kernels whose outputs are added to the residual stream shrink with depth."""
    deviations = {
        r"(^|/)part/(q|k|v)/kernel$": width**-0.5,
        r"(^|/)part/(o|down)/kernel$": (2 * width * layers) ** -0.5,
        r"(^|/)part/up/kernel$": (2 * width) ** -0.5,
        r"embedding$": 0.02,
        r"embed/position/table$": 0.01,
    }
    return [(path, dict(kind="normal", std=std)) for path, std in deviations.items()]


def tiny(c):
    c.model = network(2, 128, 4, 256, vocab=2048, length=64)
    c.model.heads = dict(lm=dict(kind="mlm", vocab=2048, bias=False))
    c.init = init(2, 128)
    c.data.update(length=64, packing="stream", tokenizer=dict(kind="bpe", size=2048))
    c.batch, c.steps = 32, 300
    c.optimiser.update(weight_decay=0.01)
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=30)
    c.log_every, c.eval_every, c.save_every = 20, 100, 150
    return c
