"""One small example, or several, of every part: the suites run over the tables and look here, so nothing new escapes.

Width 16, heads of 8, states of 4; a part with settings that change its arithmetic has an example for each.
"""

from xfm.parts import SLOTS

ATTENTION = dict(kind="attention", heads=2)
MAMBA = dict(kind="mamba2", heads=4, head_width=8, state=4, chunk=4)

EXAMPLES = {
    "embed": {
        "tokens": [
            dict(vocab=11, width=16),
            dict(vocab=11, width=16, types=2, norm=dict(kind="layernorm"), position=dict(kind="learned", length=32)),
            dict(vocab=11, width=16, factor=8, norm=dict(kind="layernorm"), position=dict(kind="sinusoidal")),
        ],
        "bytes": [dict(width=16), dict(width=16, ngrams=(2, 3), buckets=32, norm=dict(kind="rmsnorm"))],
        "patches": [
            dict(patch=2, width=16, position=dict(kind="learned", length=13)),
            dict(patch=(2, 4), width=16, cls=0, position=dict(kind="sinusoidal_2d")),
            dict(patch=2, width=16, cls=2, registers=3, norm=dict(kind="layernorm")),
        ],
    },
    "position": {
        "none": [dict()],
        "learned": [dict(length=32)],
        "sinusoidal": [dict()],
        "sinusoidal_2d": [dict()],
        "rope": [dict(), dict(theta=100.0, share=0.5)],
        "rope_2d": [dict()],
        "alibi": [dict()],
        "relative_buckets": [dict(buckets=8, reach=16), dict(buckets=8, reach=16, sides=1)],
        "shared": [dict()],
    },
    "mixer": {
        "attention": [
            dict(heads=2),
            dict(heads=4, kv_heads=2, width=8, bias=False, qk_norm=dict(kind="rmsnorm")),
            dict(heads=2, window=5, position=dict(kind="rope")),
            dict(heads=2, position=dict(kind="alibi")),
            dict(heads=2, position=dict(kind="relative_buckets", buckets=8, reach=16)),
        ],
        "mamba2": [
            dict(heads=4, head_width=8, state=4, chunk=4),
            dict(heads=4, head_width=8, state=4, groups=2, norm_groups=2, conv=3, chunk=8),
        ],
        "bidirectional": [dict(mixer=MAMBA), dict(mixer=MAMBA, share="all")],
    },
    "ffn": {
        "mlp": [dict(hidden=24), dict(hidden=24, activation="relu_squared", bias=False)],
        "glu": [dict(hidden=24, activation="silu", bias=False), dict(hidden=24, bias=False, out_bias=True)],
    },
    "norm": {
        "layernorm": [dict(eps=1e-5), dict(bias=False)],
        "rmsnorm": [dict()],
    },
    "residual": {
        "plain": [dict(), dict(drop=0.5, drop_path=0.5)],
        "scaled": [dict(skip=2.0, gate=0.5), dict(gate=1e-2, learn="channel"), dict(gate=0.3, learn="scalar")],
    },
    "pool": {
        "cls": [dict()],
        "mean": [dict()],
        "last": [dict()],
        "attention": [dict(heads=2), dict(heads=2, ffn=dict(kind="mlp", hidden=24))],
        "dense": [dict(), dict(pool=dict(kind="mean"), width=16, activation="relu", bias=False)],
        "of_head": [dict(head="pooled")],
    },
    "head": {
        "mlm": [
            dict(vocab=11),
            dict(vocab=11, activation="gelu", norm=dict(kind="layernorm")),
            dict(vocab=7, table="own", bias=False),
        ],
        "classification": [dict(classes=3), dict(classes=3, bias=False, pool=dict(kind="mean"))],
        "tagging": [dict(classes=5)],
        "span": [dict()],
        "vector": [dict(), dict(pool=dict(kind="dense"))],
    },
}


def examples(slot: str) -> list:
    """All examples of a slot's table as pytest parameters; a kind without one fails by its name."""
    import pytest

    missing = sorted(set(SLOTS[slot]) - set(EXAMPLES[slot]))
    cases = [pytest.param(kind, None, id=f"{kind}-has-no-example") for kind in missing]
    for kind, specs in EXAMPLES[slot].items():
        cases += [pytest.param(kind, {"kind": kind, **spec}, id=f"{kind}-{i}") for i, spec in enumerate(specs)]
    return cases
