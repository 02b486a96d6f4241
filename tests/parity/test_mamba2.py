"""xfm's Mamba-2, alone and in a hybrid, against transformers' Mamba2 and NemotronH."""

import pytest

from tests.parity.golden import check, heads_in, heads_out, load, same, transposed

KINDS = {"linear_attention": "mamba2", "full_attention": "attention", "mlp": "mlp"}


def spec(c, pattern, repeats=1):
    """A causal stack with RMS norms before each layer and after the last."""
    norm = dict(kind="rmsnorm", eps=c["layer_norm_epsilon"])
    return dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=c["vocab_size"], width=c["hidden_size"]),
        pattern=pattern,
        repeats=repeats,
        norms={"in": norm},
        norm=norm,
        mask="causal",
        heads=dict(
            logits=dict(
                kind="mlm",
                vocab=c["vocab_size"],
                table="tied" if c["tie_word_embeddings"] else "own",
                bias=False,
            )
        ),
    )


def mamba(c, head_width, state):
    return dict(
        kind="mamba2",
        expand=2,
        heads=c.get("num_heads") or c["mamba_num_heads"],
        head_width=head_width,
        state=state,
        groups=c["n_groups"],
        norm_groups=c["n_groups"],
        conv=c["conv_kernel"],
        epsilon=c["layer_norm_epsilon"],
        chunk=c["chunk_size"],
    )


def filters(a):
    """[E, 1, W] -> [W, E]."""
    return a[:, 0].T


def mamba_rules(layer, to):
    return [
        (layer + r"norm\.weight", to + "/in_norm/scale", same),
        (layer + r"mixer\.A_log", to + "/part/a_log", same),
        (layer + r"mixer\.D", to + "/part/d", same),
        (layer + r"mixer\.dt_bias", to + "/part/dt_bias", same),
        (layer + r"mixer\.conv1d\.weight", to + "/part/conv/kernel", filters),
        (layer + r"mixer\.conv1d\.bias", to + "/part/conv/bias", same),
        (layer + r"mixer\.in_proj\.weight", to + "/part/in/kernel", transposed),
        (layer + r"mixer\.out_proj\.weight", to + "/part/out/kernel", transposed),
        (layer + r"mixer\.norm\.weight", to + "/part/norm/scale", same),
    ]


ENDS = [
    (r"backbone\.embeddings\.weight", "embed/word/embedding", same),
    (r"backbone\.norm_f\.weight", "norm/scale", same),
    (r"lm_head\.weight", "head_logits/table", same),
]


@pytest.mark.parametrize("name", ["mamba2", "mamba2_one_group"])
def test_mamba2_equals_transformers(name):
    golden = load(name)
    c = golden.config
    check(
        golden,
        spec(c, [mamba(c, c["head_dim"], c["state_size"])], c["num_hidden_layers"]),
        dict(tokens=golden["input/input_ids"]),
        ENDS + mamba_rules(r"backbone\.layers\.(\d+)\.", "layers/mamba2_0"),
        read=lambda answer: dict(logits=answer["logits"]),
        per_layer=1,
    )


def test_hybrid_equals_transformers():
    golden = load("hybrid")
    c = golden.config
    N, K = c["num_attention_heads"], c["num_key_value_heads"]
    parts = dict(
        mamba2=mamba(c, c["mamba_head_dim"], c["ssm_state_size"]),
        attention=dict(
            kind="attention",
            heads=N,
            kv_heads=K,
            width=c["head_dim"],
            bias=False,
        ),
        mlp=dict(kind="mlp", hidden=c["intermediate_size"], activation="relu_squared", bias=False),
    )
    kinds = [KINDS[kind] for kind in c["layers_block_type"]]
    rules = list(ENDS)
    for i, kind in enumerate(kinds):
        layer, to = rf"backbone\.layers\.{i}\.", f"layers/{kind}_{i}"
        if kind == "mamba2":
            rules += mamba_rules(layer, to)
        rules += [
            (layer + r"norm\.weight", to + "/in_norm/scale", same),
            (layer + r"mixer\.(up|down)_proj\.weight", to + "/part/{0}/kernel", transposed),
            (layer + r"mixer\.(q)_proj\.weight", to + "/part/{0}/kernel", heads_out(N)),
            (layer + r"mixer\.([kv])_proj\.weight", to + "/part/{0}/kernel", heads_out(K)),
            (layer + r"mixer\.o_proj\.weight", to + "/part/o/kernel", heads_in(N)),
        ]
    check(
        golden,
        spec(c, [parts[kind] for kind in kinds]),
        dict(tokens=golden["input/input_ids"]),
        rules,
        read=lambda answer: dict(logits=answer["logits"]),
        per_layer=1,
    )
