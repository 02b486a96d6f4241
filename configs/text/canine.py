"""CANINE: an encoder of characters without a vocabulary, whose deep layers work on a quarter of the positions.

Clark, Garrette, Turc, Wieting, "CANINE: Pre-training an Efficient Tokenization-Free Encoder for Language
Representation", 2021. CANINE-S and CANINE-C are the same network, trained differently.

Reproduced: the network, parameter for parameter. Rows, batch, steps, optimiser and rate are the paper's from memory;
check them before a long run.
Different from the paper: there, words are masked, and their characters are predicted one after the other (CANINE-C), or
their sub-words (CANINE-S); here, each masked character is predicted independently from both sides (masked_lm), with an
output table for the first 65,536 code points that published files do not have; one for all 1.1 million would be six
times as large as the network. All positions, not only masked ones, are upsampled; A and B of a pair are equally long.
Command: xfm train configs/text/canine.py:base --workdir runs/canine --config.data.path=FOLDER_OF_TEXT
Cost: 124,000 steps of 512 rows of 2048 characters.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library, with bytes instead of characters.
"""

from ml_collections import ConfigDict

PAPER = "Clark et al. 2021, CANINE: Pre-training an Efficient Tokenization-Free Encoder for Language Representation"
ORACLE = "transformers CanineModel and its heads with copied weights (goldens); its parameter count"
MARGIN = 1.0  # nats
VARIANTS = ("tiny", "base")
PARAMETERS = {"base": 183_073_794}  # 132,082,944 as counted in the transformers model, plus the heads mlm and nsp
EMBED = dict(vocab=0x110000, types=16, hashes=8, buckets=16384)
COARSE = dict(rate=4, width=4, cut="text")


def network(
    layers, width, heads, hidden=None, length=16384, embed=EMBED, coarse=COARSE, block=128, activation="gelu",
    eps=1e-12, drop=0.0, predicted=0x10000,
):  # fmt: skip
    """The spec of the encoder with its heads.

    length: rows of the table of positions.  embed: fields of the embedding `hashed`.  coarse: rate, width (of the
    convolution that upsamples) and cut of the structure `hourglass`.
    predicted: the number of ids, from 0, that can be predicted.
    """
    norm = dict(kind="layernorm", eps=eps)
    mlp = dict(kind="mlp", hidden=hidden or 4 * width, activation=activation)
    attention = dict(kind="attention", heads=heads, drop=drop)
    return dict(
        kind="hourglass",
        embed=dict(
            EMBED | embed, kind="hashed", width=width, norm=norm, drop=drop,
            position=dict(kind="learned", length=length),
        ),
        before=[dict(part=dict(attention, sight=dict(kind="block_local", block=block)), label="block_local"), mlp],
        pattern=[attention, mlp],
        repeats=layers,
        after=[attention, mlp],
        activation=activation,
        norm=norm,
        drop=drop,
        norms={"out": norm},
        residual=dict(kind="plain", drop=drop),
        heads=dict(
            mlm=dict(kind="mlm", vocab=predicted, table="own", activation=activation, norm=norm),
            pooled=dict(kind="vector", pool=dict(kind="dense")),
            nsp=dict(kind="classification", classes=2, pool=dict(kind="of_head", head="pooled")),
        ),
        coarse=["pooled"],
        **COARSE | coarse,
    )  # fmt: skip


def get_config(arg="base"):
    c = ConfigDict()
    c.model = network(layers=12, width=768, heads=12, drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.02))]
    c.objective = dict(kind="masked_lm", rate=0.15, split=(0.8, 0.1, 0.1), units=dict(kind="whole_word"), pairs="next")
    c.evals = [dict(kind="masked_words")]
    c.data = dict(kind="text", path=None, length=2048, packing="stream", tokenizer=dict(kind="characters"))
    c.batch, c.steps = 512, 124_000
    c.optimiser = dict(kind="lamb", weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=0.018, warmup=3100)
    c.clip = 1.0
    c.log_every, c.eval_every, c.save_every = 100, 10_000, 10_000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(
        layers=2, width=128, heads=4, hidden=256, length=512, embed=dict(types=1, hashes=4, buckets=512, vocab=261),
        block=32, predicted=261,
    )  # fmt: skip
    del c.model.heads["pooled"], c.model.heads["nsp"]
    c.init[0][1].update(std=0.08)
    c.objective.update(pairs="none", units=dict(kind="token"))
    c.data.update(length=128, tokenizer=dict(kind="bytes"))
    c.batch, c.steps = 16, 350
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=4e-3, warmup=50)
    c.log_every, c.eval_every, c.save_every = 20, 175, 175
    return c
