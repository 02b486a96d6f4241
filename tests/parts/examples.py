"""One small example, or several, of every part: the suites run over the tables and look here, so nothing new escapes.

Width 16, heads of 8, states of 4; a part with settings that change its arithmetic has an example for each.
"""

from xfm.parts import SLOTS

ATTENTION = dict(kind="attention", heads=2)
MAMBA = dict(kind="mamba2", heads=4, head_width=8, state=4, chunk=4)
TABLE = dict(kind="relative_table", span=6, width=16)

EXAMPLES = {
    "embed": {
        "tokens": [
            dict(vocab=11, width=16),
            dict(vocab=11, width=16, types=2, norm=dict(kind="layernorm"), position=dict(kind="learned", length=32)),
            dict(vocab=11, width=16, factor=8, norm=dict(kind="layernorm"), position=dict(kind="sinusoidal")),
        ],
        "projected": [
            dict(vocab=11, width=16, factor=8, types=2, norm=dict(kind="layernorm"), position=dict(kind="sinusoidal")),
            dict(vocab=11, width=16, factor=8, norm=dict(kind="rmsnorm"), places=dict(kind="learned", length=32)),
        ],
        "questions": [dict(vocab=11, width=16)],
        "hashed": [
            dict(width=16, buckets=32),
            dict(width=16, hashes=4, buckets=7, types=2, norm=dict(kind="layernorm"), position=dict(kind="sinusoidal")),
        ],
        "bytes": [
            dict(width=16),
            dict(width=16, ngrams=(2, 3), buckets=32, norm=dict(kind="rmsnorm"), position=dict(kind="sinusoidal")),
        ],
        "latents": [
            dict(patch=2, width=16, position=dict(kind="sinusoidal_2d")),
            dict(patch=(2, 4), width=12, norm=dict(kind="layernorm"), position=dict(kind="learned", length=9)),
            dict(patch=(2, 1, 4), width=12, bias=False, position=dict(kind="sinusoidal", channels="interleaved")),
        ],
        "stream": [dict(width=16)],
        "naflex": [dict(width=16, patch=2, size=3), dict(width=16, patch=1, size=2, channels=12)],
        "tubelets": [
            dict(width=16, tubelet=(2, 3, 2), position=dict(kind="learned_video", size=(2, 2, 4))),
            dict(
                width=16,
                tubelet=(1, 2, 4),
                cls=0,
                channels=3,
                position=dict(kind="space_time", size=(3, 2), time=4, first=0),
            ),
        ],
        "spectrogram": [
            dict(width=16, image=dict(kind="patches", cls=0, stem=dict(kind="conv", size=3, stride=2, margin=0))),
            dict(width=16, image=dict(kind="patches", patch=2, cls=2), time=6, bands=8),
        ],
        "clicked": [dict(embed=dict(kind="patches", patch=2, width=16, cls=1, registers=1), radius=2)],
        "patches": [
            dict(patch=2, width=16, position=dict(kind="learned", length=13)),
            dict(patch=(2, 4), width=16, cls=0, channels=3, bias=False, position=dict(kind="sinusoidal_2d")),
            dict(
                patch=2, width=16, cls=2, registers=3, norm=dict(kind="layernorm"), position=dict(kind="sinusoidal_2d")
            ),
            dict(stem=dict(kind="normed_patches", patch=2), width=16, cls=0),
            dict(patch=2, width=16, mask="token", position=dict(kind="learned", length=13)),
            dict(
                patch=2, width=16, cls=0, unit=(1, 2)
            ),  # read where a batch has visible units: tests/hub/test_hiera.py
        ],
        "words": [
            dict(width=6, patch=2, size=2, stride=1, margin=1, position=dict(kind="learned_grid", size=3, first=0)),
            dict(width=4, patch=2, size=2, stride=2, margin=0, channels=3),
        ],
    },
    "stem": {
        "convs": [
            dict(width=8, widths=(6,), strides=(2, 1)),
            dict(width=8, widths=(), strides=(2,), bias=True),
            dict(width=8, widths=(5,), strides=(1, 2), size=5, activation="relu", norm=dict(kind="rmsnorm"), bias=True),
        ],
        "cross_scale": [
            dict(width=16, sizes=(2, 4, 6), stride=2),
            dict(width=6, sizes=(2,), stride=2, norm=dict(kind="rmsnorm")),
        ],
        "residual_convs": [
            dict(width=16, patch=2, inner=6, norm=dict(kind="rmsnorm")),
            dict(width=12, patch=2, inner=5, activation="silu", norm=dict(kind="layernorm")),
        ],
        "hmlp": [
            dict(width=16, sides=(2,)),
            dict(width=12, sides=(1, 2), inner=8, activation="relu", norm=dict(kind="rmsnorm")),
        ],
        "linear_convs": [
            dict(width=8, widths=(6, 4), patch=2, norm=dict(kind="layernorm")),
            dict(width=6, widths=(4,), patch=1, size=1, activation="silu", norm=dict(kind="rmsnorm")),
        ],
        "max_pooled": [
            dict(width=8, stem=dict(kind="convs", widths=(6,), strides=(1, 1))),
            dict(
                width=6,
                stem=dict(kind="conv", size=1, stride=1, margin=0),
                activation="silu",
                size=2,
                stride=1,
                margin=0,
            ),
        ],
        "normed": [
            dict(width=8, stem=dict(kind="convs", widths=(6,), strides=(2, 1))),
            dict(
                width=8,
                stem=dict(kind="conv", size=2, stride=2, margin=0),
                in_norm=dict(kind="affine"),
                out_norm=dict(kind="rmsnorm"),
                activation="relu",
            ),
        ],
        "normed_patches": [
            dict(width=16, patch=2),
            dict(width=12, patch=1, in_norm=None, out_norm=dict(kind="rmsnorm")),
            dict(width=12, patch=(4, 3), uneven="padded"),
        ],
        "tokens_to_token": [
            dict(width=16, splits=((3, 2, 1), (3, 1, 1), (2, 1, 0)), inner=8),
            dict(width=16, splits=((2, 1, 0), (3, 2, 1)), inner=6, encoder="transformer", norm=dict(kind="rmsnorm")),
        ],
        "conv": [
            dict(width=16, stride=2, size=3, margin=1, norm=dict(kind="layernorm")),
            dict(width=12, stride=(2, 3), size=(3, 4), margin=(1, 0)),
        ],
    },
    "position": {
        "none": [dict()],
        "learned": [dict(length=32), dict(length=34, first=2)],
        "learned_grid": [
            dict(size=(3, 4)),
            dict(size=(2, 3), first=1),
            dict(size=(5, 4), resize="bilinear_antialiased"),
            dict(size=(3, 4), start="sines", width=16),
        ],
        "learned_video": [dict(size=(2, 2, 3)), dict(size=(2, 2, 3), first=1, resize="bilinear")],
        "space_time": [dict(size=(2, 3), time=2), dict(size=(2, 3), time=2, first=1, resize="bilinear")],
        "sinusoidal": [dict(base=100.0), dict(base=100.0, channels="interleaved")],
        "sinusoidal_2d": [dict(base=100.0)],
        "rope": [dict(), dict(theta=100.0, share=0.5), dict(theta=100.0, share=0.8, pairs="neighbours", turns="qkv")],
        "rope_2d": [dict(theta=50.0), dict(pairs="neighbours", first="row", size=(2, 7))],
        "rope_centres": [dict(), dict(theta=7.0)],
        "alibi": [dict()],
        "grid_decay": [dict(), dict(first=1.0, spread=3.0)],
        "grid_distances": [dict(size=(2, 7)), dict(size=8)],
        "relative_buckets": [dict(buckets=8, reach=16), dict(buckets=8, reach=16, sides=1)],
        "relative_table": [dict(span=8, width=16), dict(span=8, width=16, reach=12, norm=dict(kind="layernorm"))],
        "relative_grid": [dict(size=(3, 5))],
        "continuous_grid": [dict(hidden=24), dict(hidden=16, reach=(2, 9), bound=2.0)],
        "dynamic_grid": [dict(hidden=6), dict(hidden=8, norm=dict(kind="rmsnorm"))],
        "joined": [
            dict(positions=[dict(kind="rope", theta=50.0), dict(kind="alibi")]),
            dict(positions=[dict(kind="learned", length=32), dict(kind="rope", turns="qkv")]),
        ],
        "relative_patches": [dict(size=(3, 4)), dict(size=2), dict(size=(2, 3), first=1, resize="bicubic")],
        "relative_sines": [dict(reach=5)],
        "shared": [dict()],
    },
    "mixer": {
        "attention": [
            dict(heads=2),
            dict(heads=4, kv_heads=2, width=8, bias=False, qk_norm=dict(kind="rmsnorm")),
            dict(heads=2, window=5, position=dict(kind="rope")),
            dict(heads=2, position=dict(kind="rope", pairs="neighbours", turns="qkv")),
            dict(heads=2, position=dict(kind="alibi")),
            dict(heads=2, position=dict(kind="relative_buckets", buckets=8, reach=16)),
            dict(heads=3, width=4, scale=1.0, bias=False),
            dict(heads=2, bias=("q", "v", "o")),
            dict(heads=2, bias=("q", "v", "o"), qk_norm=dict(kind="unit"), scale="learned"),
            dict(heads=2, softmax=dict(kind="softmax", temperature="learned", cap=5.0, sink="learned")),
            dict(heads=2, softmax=dict(kind="softmax", temperature=2.0, clip=(-0.03, 1.1))),
            dict(heads=2, softmax=dict(kind="softmax", sink=0.0), position=dict(kind="alibi")),
            dict(heads=2, softmax=dict(kind="sigmoid", temperature="learned", shift="learned")),
        ],
        "disentangled": [
            dict(heads=2, position=TABLE),
            dict(heads=2, keys="shared", position=dict(TABLE, reach=10, norm=dict(kind="layernorm"))),
            dict(heads=4, width=8, maps="fused", terms=("p2c",), position=TABLE),
            dict(heads=2, maps="fused", terms=()),
        ],
        "collapsed_attention": [
            dict(heads=2),
            dict(heads=2, similarity="symmetric", values="none"),
        ],
        "subspace_attention": [dict(heads=2), dict(heads=3, width=4)],
        "mamba2": [
            dict(heads=4, head_width=8, state=4, chunk=4),
            dict(heads=4, head_width=8, state=4, groups=2, norm_groups=2, conv=3, chunk=8),
        ],
        "bidirectional": [dict(mixer=MAMBA), dict(mixer=MAMBA, share="all", merge="mean")],
        "fourier": [dict()],
        "mixed_attention": [dict(heads=2, conv=3), dict(heads=1, conv=7)],
        "nystrom": [
            dict(heads=2, landmarks=3, conv=5),
            dict(heads=2, landmarks=2, conv=None, texts=2),
            dict(heads=4, landmarks=None, conv=3),
        ],
        "relative": [dict(heads=2, types="none", position=dict(kind="relative_sines", reach=5))],
        "pooled_relative": [dict(heads=2), dict(heads=4, width=8, cls="counted")],
        "focal_modulation": [
            dict(levels=2),
            dict(levels=1, window=5, total="mean", norm=dict(kind="layernorm"), activation="relu"),
        ],
        "fused_attention": [
            dict(heads=3, width=3, values=5, norm=dict(kind="rmsnorm")),
            dict(heads=2, width=4, values=4, norm=None, position=dict(kind="alibi")),
            dict(heads=2, width=5, values=3, norm=dict(kind="layernorm"), activation="gelu"),
        ],
        "relu_attention": [
            dict(heads=2, position=dict(kind="learned", length=32)),
            dict(heads=4, size=(1, 3), bias=False),
        ],
        "conv_gate": [dict(inner=5), dict(inner=4, hidden=20, size=5, activation="relu")],
        "extended": [dict(mixer=ATTENTION, tokens=3)],
        "positioned": [
            dict(mixer=ATTENTION, position=dict(kind="sinusoidal"), norm=dict(kind="rmsnorm")),
            dict(mixer=ATTENTION, position=dict(kind="learned", length=32)),
        ],
        "normed": [dict(mixer=ATTENTION, norm=dict(kind="rmsnorm"))],
        "along": [
            dict(mixer=ATTENTION, axis="space"),
            dict(mixer=ATTENTION, axis="time", out="linear"),
        ],
        "windowed": [
            dict(mixer=ATTENTION, window=5),
            dict(mixer=dict(ATTENTION, position=dict(kind="relative_grid", size=6)), window=6, shift=2),
        ],
        "manhattan": [
            dict(heads=2, along="axes"),
            dict(heads=2, size=(1, 3), position=dict(kind="joined", positions=[dict(kind="rope"), dict(kind="alibi")])),
        ],
        "strided": [
            dict(mixer=ATTENTION, size=6, interval=2),
            dict(mixer=dict(ATTENTION, position=dict(kind="relative_grid", size=7)), size=(1, 7), interval=(4, 2)),
        ],
        "reduced": [
            dict(
                mixer=dict(ATTENTION, memory="reduced"),
                down=dict(kind="strided_conv", width=16, stride=(1, 3), rest="drop", out_norm=dict(kind="layernorm")),
            ),
            dict(mixer=dict(ATTENTION, memory="reduced"), down=dict(kind="pool_to", size=(1, 5), activation="gelu")),
        ],
        "overlapping": [
            dict(heads=2, window=5, reach=(0, 2)),
            dict(heads=4, window=(1, 4), reach=(1, 3), bias=False),
        ],
        "channel_attention": [
            dict(hidden=6, inner=3),
            dict(hidden=5, inner=4, size=(1, 5), activation="relu", scale=0.5),
        ],
        "pooling": [dict(), dict(size=(1, 5))],
        "conv_mlp": [dict(hidden=24), dict(hidden=24, size=(1, 5), before="relu", activation="silu")],
        "aggregated_mlp": [
            dict(hidden=24, inner=4, norm=dict(kind="layernorm")),
            dict(hidden=12, inner=5, size=(1, 5), activation="relu", norm=dict(kind="rmsnorm")),
        ],
        "head_tokens": [
            dict(mixer=ATTENTION, heads=2),
            dict(mixer=ATTENTION, heads=4, activation="relu", norm=dict(kind="rmsnorm")),
        ],
        "local_mlp": [dict(hidden=24), dict(hidden=12, size=(1, 5), activation="silu")],
        "depthwise": [dict(), dict(size=(1, 5), bias=False)],
        "token_mlp": [dict(hidden=24), dict(hidden=8, activation="relu")],
        "convnext": [
            dict(hidden=24),
            dict(hidden=24, size=(1, 5), activation="relu", norm=dict(kind="rmsnorm"), response=1e-6),
        ],
        "conv": [dict(), dict(size=(1, 5), bias=True)],
        "bottleneck": [
            dict(inner=6, mixer=dict(kind="pooling"), norm=dict(kind="layernorm")),
            dict(inner=8, mixer=ATTENTION, activation="silu", norm=dict(kind="rmsnorm")),
        ],
        "fused_mbconv": [
            dict(hidden=12, inner=3, norm=dict(kind="layernorm")),
            dict(hidden=8, inner=5, size=(1, 5), activation="relu", norm=dict(kind="rmsnorm")),
        ],
        "state_space_2d": [
            dict(states=3, systems=4),
            dict(states=2, systems=2, directions=2, norm=dict(kind="rmsnorm")),
        ],
        "in_turn": [dict(mixers=[ATTENTION, dict(ATTENTION, heads=4)])],
        "wavemix": [
            dict(hidden=10, inner=6, norm=dict(kind="layernorm")),
            dict(hidden=8, inner=12, levels=3, activation="silu", norm=dict(kind="rmsnorm")),
        ],
        "lambda_layer": [
            dict(heads=2, keys=3, depth=2, size=(1, 5), bias=True, norm=dict(kind="layernorm")),
            dict(heads=4, keys=5, size=(3, 27), norm=dict(kind="rmsnorm")),
        ],
    },
    "sight": {
        "global_window": [dict(window=4, everyone="first"), dict(window=2, everyone="first", most=1)],
        "block_local": [dict(block=3), dict(block=128)],
        "block_sparse": [dict(block=1, dense=4), dict(block=2, again=3, dense=0)],
    },
    "ffn": {
        "mlp": [dict(hidden=24), dict(hidden=24, activation="relu_squared", bias=False)],
        "glu": [dict(hidden=24, activation="silu", bias=False), dict(hidden=24, bias=False, out_bias=True)],
        "normed_glu": [dict(hidden=24), dict(hidden=24, activation="gelu", bias=False, norm=dict(kind="rmsnorm"))],
        "ista": [dict(), dict(step=0.3, sparsity=0.7)],
        "token_boosting": [dict(hidden=24), dict(hidden=12, activation="relu", noise=0.5)],
        "normed_mlp": [
            dict(hidden=24, norm=dict(kind="layernorm")),
            dict(hidden=12, norm=None, activation="relu"),
        ],
        "identity": [dict()],
        "linear_map": [dict()],
        "grouped_mlp": [dict(hidden=24, groups=4), dict(hidden=24, groups=2, activation="relu")],
    },
    "norm": {
        "layernorm": [dict(eps=1e-5), dict(bias=False)],
        "rmsnorm": [dict(), dict(eps=0.1)],
        "unit": [dict(), dict(eps=0.1)],
        "batchnorm": [dict(), dict(eps=0.1, momentum=0.5)],
        "progressive": [dict(steps=10), dict(steps=2, eps=0.1, batch_eps=0.2, momentum=0.5)],
        "affine": [dict(), dict(start=0.1, bias=False)],
        "groupnorm": [dict(), dict(groups=4, eps=0.1)],
        "fixed_batchnorm": [dict(), dict(eps=0.1)],
        "timed": [dict(), dict(eps=0.1)],
    },
    "residual": {
        "plain": [dict(), dict(drop=0.5, drop_path=0.5)],
        "scaled": [dict(skip=2.0, gate=0.5), dict(gate=1e-2, learn="channel"), dict(gate=0.3, learn="scalar")],
        "long": [dict(), dict(start="embedded")],
        "activated": [dict(), dict(activation="silu")],
        "convolved": [dict(width=3), dict(width=5, groups=4, activation="gelu", norm=dict(kind="rmsnorm"))],
    },
    "down": {
        "block_aggregation": [
            dict(width=24),
            dict(width=8, norm=dict(kind="rmsnorm"), edge="both", position=dict(kind="learned_grid", size=4, first=0)),
        ],
        "patch_merging": [
            dict(),
            dict(width=24, norm=dict(kind="rmsnorm")),
            dict(norm=None, out_norm=dict(kind="layernorm"), uneven="padded"),
        ],
        "strided_conv": [
            dict(width=24),
            dict(width=8, size=3, stride=2, margin=1, bias=False, out_norm=dict(kind="layernorm")),
            dict(width=16, size=(3, 2), stride=(2, 1), margin=(1, 0), in_norm=dict(kind="layernorm")),
            dict(width=16, stride=(3, 2), rest="drop"),
        ],
        "residual_reduction": [
            dict(width=24, tokens=0),
            dict(
                width=16,
                tokens=0,
                norm=dict(kind="rmsnorm"),
                position=dict(kind="learned_grid", size=(2, 3), first=0),
            ),
        ],
        "mbconv": [
            dict(width=24),
            dict(width=8, hidden=20, size=(3, 1), stride=(2, 1), activation="relu", norm=dict(kind="rmsnorm")),
        ],
        "cross_scale": [
            dict(width=24),
            dict(width=8, sizes=(2, 4, 6), norm=dict(kind="layernorm")),
            dict(width=8, sizes=(4, 2), stride=2),
        ],
        "positioned": [
            dict(
                down=dict(kind="strided_conv", width=24, out_norm=dict(kind="layernorm")),
                position=dict(kind="learned_grid", size=(2, 3), first=0),
            )
        ],
        "pool": [dict(), dict(size=(2, 3), by="max")],
        "frames": [dict()],
        "activated": [
            dict(down=dict(kind="strided_conv", width=8, size=3, stride=2, margin=1, bias=False)),
            dict(down=dict(kind="pool"), activation="relu", out=24),
        ],
        "sampled": [
            dict(ratio=0.25),
            dict(down=dict(kind="pool"), position=dict(kind="learned_grid", size=(2, 3), first=0)),
        ],
        "restored": [
            dict(width=24),
            dict(width=8, position=dict(kind="learned_grid", size=(4, 6), first=0)),
        ],
        "bottleneck": [
            dict(
                width=24,
                inner=8,
                down=dict(kind="strided_conv", width=8, size=3, stride=2, margin=1, bias=False),
                norm=dict(kind="layernorm"),
            ),
            dict(
                width=8,
                inner=6,
                mixer=dict(kind="conv"),
                down=dict(kind="pool"),
                activation="silu",
                norm=dict(kind="rmsnorm"),
                residual=dict(kind="activated"),
            ),
        ],
        "pool_to": [
            dict(size=3),
            dict(size=(4, 7), width=24, norm=dict(kind="layernorm"), activation="gelu"),
        ],
        "subsampled_attention": [
            dict(width=24, heads=2, keys=3, values=5, norm=dict(kind="layernorm"), ffn=dict(kind="mlp", hidden=20)),
            dict(
                width=8,
                heads=1,
                keys=4,
                values=3,
                stride=(1, 2),
                norm=None,
                activation="gelu",
                ffn=dict(kind="mlp", hidden=20),
                residual=dict(kind="scaled", gate=0.5),
                position=dict(kind="none"),  # the files of LeViT have one: tests/hub/test_parity.py
            ),
        ],
        "pooled_queries": [
            dict(width=24, heads=3, ffn=dict(kind="mlp", hidden=20)),
            dict(
                width=8,
                heads=2,
                size=(1, 3),
                window=(2, 3),
                ffn=dict(kind="mlp", hidden=20, activation="relu"),
                norm=dict(kind="rmsnorm"),
                residual=dict(kind="scaled", gate=0.5),
            ),
        ],
    },
    "pool": {
        "cls": [dict(), dict(index=1)],
        "mean": [dict()],
        "last": [dict()],
        "at_token": [dict(), dict(token=9)],
        "first": [dict()],
        "class_attention": [
            dict(heads=2, ffn=dict(kind="mlp", hidden=24)),
            dict(heads=1, ffn=dict(kind="mlp", hidden=24), norm=dict(kind="rmsnorm"), start=0.5),
        ],
        "leading": [dict(), dict(count=3)],
        "attention": [dict(heads=2), dict(heads=2, ffn=dict(kind="mlp", hidden=24), norm=dict(kind="rmsnorm"))],
        "dense": [
            dict(),
            dict(pool=dict(kind="mean"), width=16, activation="relu", bias=False, norm=dict(kind="rmsnorm")),
        ],
        "activated": [dict(activation="silu", pool=dict(kind="mean"))],
        "of_head": [dict(head="pooled")],
        "patch_mean": [dict()],
        "projected": [
            dict(width=24),
            dict(width=12, activation="relu", norm=dict(kind="rmsnorm"), pool=dict(kind="cls", index=1)),
        ],
        "normed": [
            dict(),
            dict(pool=dict(kind="mean"), norm=dict(kind="rmsnorm")),
            dict(pool=dict(kind="mean"), norm=dict(kind="rmsnorm"), first="norm"),
        ],
        "joined": [dict(), dict(pools=[dict(kind="mean"), dict(kind="dense"), dict(kind="cls", index=1)])],
    },
    "head": {
        "mlm": [
            dict(vocab=11),
            dict(vocab=11, activation="gelu", norm=dict(kind="layernorm")),
            dict(vocab=7, table="own", bias=False),
            dict(vocab=7, table="own", width=24, activation="relu"),
        ],
        "enhanced_mlm": [
            dict(
                mixer=dict(kind="disentangled", heads=2, memory="memory", position=TABLE),
                ffn=dict(kind="mlp", hidden=24),
                head=dict(kind="mlm", vocab=11),
                length=32,
            ),
        ],
        "classification": [dict(classes=3), dict(classes=3, bias=False, pool=dict(kind="mean"))],
        "tagging": [dict(classes=5)],
        "latent_queries": [
            dict(classes=3, heads=2, ffn=dict(kind="mlp", hidden=24)),
            dict(classes=3, heads=2, width=4, ffn=dict(kind="glu", hidden=24), mixer=ATTENTION),
        ],
        "all_mlp": [dict(classes=5, width=8), dict(classes=5, width=8, norm=None, activation="silu")],
        "pixels": [dict(stride=2), dict(stride=3, channels=1)],
        "upsampled": [dict(factor=4, width=4), dict(factor=3, channels=1, width=5)],
        "patch_recovery": [dict(stride=2, channels=3), dict(stride=3, channels=1, size=3)],
        "unet_pixels": [
            dict(doublings=2, width=8, norm=dict(kind="layernorm")),
            dict(doublings=1, width=16, channels=1, map_norm=dict(kind="rmsnorm"), activation="silu"),
        ],
        "linear_maps": [dict(classes=5)],
        "fused": [dict(), dict(norm=dict(kind="layernorm"))],
        "fpn": [
            dict(width=8, head=dict(kind="linear_maps", classes=5)),
            dict(width=8, norm=dict(kind="layernorm"), method="bilinear", head=dict(kind="linear_maps", classes=5)),
        ],
        "simple_pyramid": [
            dict(width=8, head=dict(kind="linear_maps", classes=5)),
            dict(
                width=8,
                doublings=(2, -1),
                norm=dict(kind="rmsnorm"),
                activation="relu",
                head=dict(kind="linear_maps", classes=5),
            ),
        ],
        "widening_pyramid": [
            dict(widths=(6, 9, 12, 40), head=dict(kind="linear_maps", classes=5)),
            dict(
                widths=(3, 5, 7, 20),
                norm=dict(kind="layernorm"),
                activation="relu",
                head=dict(kind="linear_maps", classes=5),
            ),
        ],
        "mlp_maps": [dict(classes=5, width=8), dict(classes=5, width=8, activation="gelu")],
        "upernet": [
            dict(classes=5, width=8),
            dict(classes=5, width=8, scales=(1, 4), norm=None, activation="silu"),
        ],
        "of_patches": [
            dict(head=dict(kind="tagging", classes=5)),
            dict(head=dict(kind="vector"), norm=dict(kind="layernorm")),
        ],
        "span": [dict()],
        "span_beam": [dict(starts=3, ends=2)],
        "detection": [dict(), dict(activation="relu")],
        "values": [dict(width=5)],
        "tiles": [dict(width=5), dict(width=3, doublings=2, norm=dict(kind="rmsnorm"), activation="relu")],
        "mean_and_tokens": [dict(), dict(norm=dict(kind="rmsnorm"))],
        "prototypes": [
            dict(prototypes=6, hidden=12, bottleneck=5),
            dict(prototypes=7, hidden=8, bottleneck=4, layers=2, activation="silu", pool=None),
        ],
        "instances": [dict(rows=9), dict(rows=5, pool=dict(kind="mean"))],
        "vector": [dict(), dict(pool=dict(kind="dense"))],
        "dense": [
            dict(norm=dict(kind="rmsnorm"), head=dict(kind="vector")),
            dict(activation="relu", bias=False, head=dict(kind="vector")),
        ],
        "ffn": [
            dict(ffn=dict(kind="mlp", hidden=24), head=dict(kind="vector")),
            dict(ffn=dict(kind="glu", hidden=24), head=dict(kind="vector"), norm=None, drop=0.1),
        ],
    },
}

# The suites of mixers run over an attention with each sight.
EXAMPLES["mixer"]["attention"] += [
    dict(heads=2, sight=dict(sight, kind=kind)) for kind, sights in EXAMPLES["sight"].items() for sight in sights
]


def examples(slot: str) -> list:
    """All examples of a slot's table as pytest parameters; a kind without one fails by its name."""
    import pytest

    missing = sorted(set(SLOTS[slot]) - set(EXAMPLES[slot]))
    cases = [pytest.param(kind, None, id=f"{kind}-has-no-example") for kind in missing]
    for kind, specs in EXAMPLES[slot].items():
        cases += [pytest.param(kind, {"kind": kind, **spec}, id=f"{kind}-{i}") for i, spec in enumerate(specs)]
    return cases


def every_example() -> list:
    """(slot, kind, number of the example) for all slots as pytest parameters, number 0 where a kind has none."""
    import pytest

    return [
        pytest.param(slot, kind, number, id=f"{slot}-{kind}-{number}")
        for slot, table in SLOTS.items()
        for kind in table
        for number in range(max(len(EXAMPLES.get(slot, {}).get(kind, [])), 1))
    ]
