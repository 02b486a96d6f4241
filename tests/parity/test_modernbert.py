"""Windows, two rotary bases, gated units and no biases, against transformers' ModernBERT."""

import numpy as np

from tests.parity.golden import check, heads_in, load, same, transposed

NORM = dict(kind="layernorm", eps=1e-5, bias=False)


def spec(c):
    def attention(i):
        full = i % 3 == 0
        return dict(
            kind="attention",
            heads=c["num_attention_heads"],
            bias=False,
            window=None if full else c["local_attention"],
            position=dict(kind="rope", theta=160_000.0 if full else 10_000.0),
        )

    glu = dict(kind="glu", hidden=c["intermediate_size"], bias=False)
    pattern = [part for i in range(c["num_hidden_layers"]) for part in (attention(i), glu)]
    pattern[0] = dict(part=pattern[0], norms={})  # the embedding's norm serves it
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=c["vocab_size"], width=c["hidden_size"], norm=NORM),
        pattern=pattern,
        norms={"in": NORM},
        norm=NORM,
        heads=dict(logits=dict(kind="mlm", vocab=c["vocab_size"], activation="gelu", norm=NORM)),
    )


def rules(c):
    N = c["num_attention_heads"]

    def qkv(a):
        """[(3, N, H), D] -> three of [D, N, H]."""
        return tuple(part.transpose(2, 0, 1) for part in a.reshape(3, N, -1, a.shape[1]))

    def gate_and_up(a):
        """[(2, F), D] -> two of [D, F]."""
        return tuple(np.split(a.T, 2, axis=1))

    table = [
        (r"model\.embeddings\.tok_embeddings\.weight", "embed/word/embedding", same),
        (r"model\.embeddings\.norm\.weight", "embed/norm/scale", same),
        (r"model\.final_norm\.weight", "norm/scale", same),
        (r"head\.dense\.(weight|bias)", "head_logits/dense/{0}", transposed),
        (r"head\.norm\.weight", "head_logits/norm/scale", same),
        (r"decoder\.bias", "head_logits/bias", same),
    ]
    for i in range(c["num_hidden_layers"]):
        layer = rf"model\.layers\.{i}\."
        mixer, ffn = f"layers/attention_{2 * i}", f"layers/glu_{2 * i + 1}"
        q_k_v = " ".join(f"{mixer}/part/{x}/kernel" for x in "qkv")
        halves = " ".join(f"{ffn}/part/{x}/kernel" for x in ("gate", "up"))
        table += [
            (layer + r"attn_norm\.weight", mixer + "/in_norm/scale", same),
            (layer + r"attn\.Wqkv\.weight", q_k_v, qkv),
            (layer + r"attn\.Wo\.weight", mixer + "/part/o/kernel", heads_in(N)),
            (layer + r"mlp_norm\.weight", ffn + "/in_norm/scale", same),
            (layer + r"mlp\.Wi\.weight", halves, gate_and_up),
            (layer + r"mlp\.Wo\.weight", ffn + "/part/down/kernel", transposed),
        ]
    return table


def test_modernbert_equals_transformers():
    golden = load("modernbert")
    c = golden.config
    golden.arrays["weight/head.dense.bias"] = np.zeros(c["hidden_size"])  # xfm always has one
    mask = golden["input/attention_mask"]
    check(
        golden,
        spec(c),
        dict(tokens=golden["input/input_ids"], segments=mask),
        rules(c),
        read=lambda answer: dict(logits=answer["logits"]),
        real=mask > 0,
    )
