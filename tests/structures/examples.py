"""A small network of every structure: the suites run over the table and look here, so nothing new escapes."""

import jax.numpy as jnp

MLP, ATTENTION = dict(kind="mlp", hidden=8), dict(kind="attention", heads=2)
TOKENS = {"tokens": jnp.zeros((1, 8), jnp.int32)}
EMBED = dict(kind="tokens", vocab=7, width=8, types=3, position=dict(kind="learned", length=12, first=2))

# A network of each kind; what its layers are called, in the order of the run.
NETWORKS = {
    "stack": (
        dict(prologue=[MLP], pattern=[ATTENTION, MLP], repeats=2, epilogue=[MLP]),
        "prologue/mlp_0 layers/attention_0:0 layers/mlp_1:0 layers/attention_0:1 layers/mlp_1:1 epilogue/mlp_0",
    ),
    "funnel": (
        dict(blocks=[1, 2], decoder=1, pattern=[MLP]),
        "block_0/layers/mlp_0:0 block_1/first/mlp_0 block_1/layers/mlp_0:0 decoder/layers/mlp_0:0",
    ),
    "hourglass": (
        dict(before=[MLP], pattern=[dict(part=[ATTENTION, MLP])], repeats=2, after=[MLP]),
        "before/mlp_0 layers/attention_mlp_0:0 layers/attention_mlp_0:1 after/mlp_0",
    ),
    "nested": (
        dict(words=4, width=8, inner=[MLP], pattern=[ATTENTION, MLP], repeats=2),
        "layers/inner/mlp_0:0 layers/outer/attention_0:0 layers/outer/mlp_1:0 "
        "layers/inner/mlp_0:1 layers/outer/attention_0:1 layers/outer/mlp_1:1",
    ),
    "interleaved": (
        dict(
            group=4,
            latents=2,
            width=6,
            inner=[ATTENTION, MLP],
            read=[dict(ATTENTION, memory="tokens")],
            pattern=[ATTENTION],
            write=[dict(ATTENTION, memory="latents")],
            repeats=2,
        ),
        "layers/inner_layers/attention_0:0 layers/inner_layers/mlp_1:0 layers/read_layers/attention_0:0 "
        "layers/pattern_layers/attention_0:0 layers/write_layers/attention_0:0 "
        "last/inner_layers/attention_0 last/inner_layers/mlp_1 last/read_layers/attention_0 "
        "last/pattern_layers/attention_0",
    ),
    "autoencoder": (
        dict(
            embed=dict(kind="patches", patch=2, width=8, position=dict(kind="sinusoidal_2d")),
            pattern=[ATTENTION, MLP],
            repeats=2,
            decoder=dict(
                embed=dict(kind="latents", patch=2, width=12, position=dict(kind="sinusoidal_2d")),
                pattern=[MLP, ATTENTION],
                heads=dict(patches=dict(kind="values", width=3)),
                taps=(0,),
            ),
            taps=(1,),
            beside=dict(
                inner_0=dict(
                    embed=dict(kind="stream", width=12),
                    pattern=[ATTENTION],
                    heads=dict(losses=dict(kind="values", width=2)),
                ),
                layer_1=dict(
                    embed=dict(kind="latents", patch=2, width=4, norm=dict(kind="layernorm")),
                    pattern=[MLP],
                    heads=dict(finer=dict(kind="tiles", width=2)),
                ),
            ),
        ),
        "layers/attention_0:0 layers/mlp_1:0 layers/attention_0:1 layers/mlp_1:1 "
        "decoder/layers/mlp_0:0 decoder/layers/attention_1:0 decoder_inner_0/layers/attention_0:0 "
        "decoder_layer_1/layers/mlp_0:0",
    ),
    "pyramid_autoencoder": (
        dict(
            embed=dict(kind="patches", patch=1, unit=(2, 2), width=8, cls=0, position=dict(kind="sinusoidal_2d")),
            stages=[
                dict(pattern=[MLP], repeats=2),
                dict(down=dict(kind="patch_merging", width=12), pattern=[ATTENTION]),
            ],
            decoder=dict(
                embed=dict(kind="latents", patch=2, width=16, position=dict(kind="sinusoidal_2d")),
                pattern=[ATTENTION, MLP],
                heads=dict(patches=dict(kind="values", width=3)),
            ),
        ),
        "stage_0/layers/mlp_0:0 stage_0/layers/mlp_0:1 stage_1/layers/attention_0:0 "
        "decoder/layers/attention_0:0 decoder/layers/mlp_1:0",
    ),
    "unet": (
        dict(
            embed=dict(kind="patches", patch=2, width=8, cls=0),
            levels=[
                dict(pattern=[ATTENTION, MLP], back=[MLP], skip=[MLP], skips=2),
                dict(down=dict(kind="patch_merging"), pattern=[MLP], repeats=2),
            ],
            norms={"residual": dict(kind="timed")},
            up_norm=dict(kind="timed"),
        ),
        "encode_0/layers/attention_0:0 encode_0/layers/mlp_1:0 encode_1/layers/mlp_0:0 encode_1/layers/mlp_0:1 "
        "decode_1/layers/mlp_0:0 decode_1/layers/mlp_0:1 skip_0/layers/mlp_0:0 skip_0/layers/mlp_0:1 "
        "decode_0/layers/mlp_0:0",
    ),
    "pyramid": (
        dict(stages=[dict(pattern=[MLP], repeats=2), dict(pattern=[ATTENTION, MLP])]),
        "stage_0/layers/mlp_0:0 stage_0/layers/mlp_0:1 stage_1/layers/attention_0:0 stage_1/layers/mlp_1:0",
    ),
    "towers": (
        dict(
            towers=dict(
                target=dict(kind="stack", pattern=[MLP], repeats=2), own=dict(kind="stack", pattern=[ATTENTION])
            ),
            vectors=dict(own="label", target="label"),
        ),
        "own/layers/attention_0:0 target/layers/mlp_0:0 target/layers/mlp_0:1",
    ),
}

# What networks read that are not of texts, by kind.
PICTURES = {
    "unet": {
        "images": jnp.cos(jnp.arange(2 * 4 * 8 * 3.0)).reshape(2, 4, 8, 3),
        "times": jnp.array([0.5, 2.0]),
    },
    **dict.fromkeys(
        ("autoencoder", "pyramid_autoencoder"),
        {
            "images": jnp.cos(jnp.arange(2 * 4 * 6 * 3.0)).reshape(2, 4, 6, 3),
            "visible": jnp.array([[0, 3, 4, 5], [1, 2, 3, 5]]),
            "predicted": jnp.array([[1, 2], [0, 4]]),
        },
    ),
}


def spec_of(kind, **fields):
    """The example of a kind with these fields too, which in towers are those of each tower."""
    spec = dict(kind=kind) | NETWORKS[kind][0]
    if "towers" in spec:
        return spec | dict(towers={name: fields | tower for name, tower in spec["towers"].items()})
    return fields | spec


def batch_of(kind, batch):
    """The batch as that structure reads it, in which each tower has one of its own, or the pictures that it reads."""
    if kind in PICTURES:
        return PICTURES[kind]
    prefixes = [f"{name}/" for name in NETWORKS[kind][0].get("towers", {})] or [""]
    return {f"{prefix}{name}": array for prefix in prefixes for name, array in batch.items()}


def outputs(out, *names):
    """The outputs of these names, of every tower where there are several."""
    return [out[path] for path in sorted(out) if path.rpartition("/")[2] in names]
