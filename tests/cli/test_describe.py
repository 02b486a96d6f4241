"""Descriptions against closed forms: parameters per part, FLOPs at any length, repeats, batches."""

import functools

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

import xfm
from xfm.catalogue import entries, load
from xfm.configs.sequence import mamba2_hybrid
from xfm.configs.text import bert, mosaicbert
from xfm.configs.vision import vit
from xfm.describe import describe, example_batch, human, table
from xfm.errors import XfmError

D, N, F, V = 32, 4, 64, 50
NORM = {"kind": "layernorm"}


@functools.cache
def described(module, variant):
    return describe(module.get_config(variant))


FFN = dict(kind="mlp", hidden=F)


def stack(*pattern, **more):
    embed = dict(kind="tokens", vocab=V, width=D)
    return dict(kind="stack", pattern=list(pattern), **{"embed": embed, **more})


def config(model, **data):
    return ConfigDict(dict(model=model, data=dict(kind="text", **data)))


def parts(description):
    return {part.path: part for part in description.parts}


def encoder_flops(layers, T, D, F):
    return layers * (8 * T * D**2 + 4 * T**2 * D + 4 * T * D * F)


@pytest.mark.parametrize("T", [16, 127, 512, 513, 577, 1100])
def test_bert_base_of_any_length(T):
    c = bert.get_config("base")
    c.data.length, c.model.embed.position.length = T, max(T, 512)
    found = describe(c)
    decoder = 2 * T * 768 * 768 + 2 * T * 768 * 30522
    pooler = 2 * 768 * 768 + 2 * 768 * 2
    assert found.flops_forward == encoder_flops(12, T, 768, 3072) + decoder + pooler
    found = parts(found)
    assert found["layers/attention_0/part"].flops == 12 * (8 * T * 768**2 + 4 * T**2 * 768)
    assert found["layers/mlp_1/part"].flops == 12 * 4 * T * 768 * 3072
    assert found["head_mlm"].flops == decoder
    assert found["head_pooled"].flops + found["head_nsp"].flops == pooler
    assert found["embed"].flops == found["layers/mlp_1/out_norm"].flops == 0


@pytest.mark.parametrize("module", [bert, mosaicbert, vit, mamba2_hybrid])
def test_parts_add_up_to_the_published_parameters(module):
    variant = next(iter(module.PARAMETERS))
    found = described(module, variant)
    assert found.parameters == module.PARAMETERS[variant]
    assert sum(part.parameters for part in found.parts) == found.parameters
    assert sum(part.flops for part in found.parts) == found.flops_forward > 0


def test_every_tiny_config():
    for entry in entries():
        found = describe(load(f"{entry.config}:tiny", checked=lambda config: None))  # tests/configs checks each
        assert found.parameters > 0 and found.flops_forward > 0 and found.name.endswith(":tiny")


def test_vit_at_a_higher_resolution():
    """55.5 G multiply-adds of ViT-B/16 at 384 pixels, a figure that papers print."""
    c = vit.get_config("B/16")
    c.data.size, c.model.embed.position.size = 384, 24
    patches = 2 * 576 * 768 * 768
    expected = encoder_flops(12, 577, 768, 3072) + patches + 2 * 768 * 1000
    assert describe(c).flops_forward == expected
    assert expected / 2e9 == pytest.approx(55.5, abs=0.05)


def test_rows_in_the_order_of_the_network():
    found = describe(
        config(
            stack(
                dict(kind="attention", heads=N),
                dict(kind="mlp", hidden=F),
                prologue=[dict(kind="glu", hidden=F, bias=False)],
                epilogue=[dict(kind="mlp", hidden=F)],
                repeats=3,
                norms={"in": NORM},
                residual=dict(kind="scaled", learn="channel"),
                norm=NORM,
                heads={"tags": dict(kind="tagging", classes=7)},
            ),
            length=10,
        )
    )
    sublayers = (
        ("prologue/glu_0", 1, "glu", 3 * D * F, 2 * 10 * 3 * D * F),
        ("layers/attention_0", 3, "attention", 4 * (D * D + D), 8 * 10 * D * D + 400 * D),
        ("layers/mlp_1", 3, "mlp", 2 * D * F + D + F, 4 * 10 * D * F),
        ("epilogue/mlp_0", 1, "mlp", 2 * D * F + D + F, 4 * 10 * D * F),
    )
    expected = [("embed", "tokens", (1, 10, D), V * D, 0, 1)]
    for path, times, kind, size, flops in sublayers:
        shape = (1, 10, D)
        expected += [
            (f"{path}/in_norm", "layernorm", shape, times * 2 * D, 0, times),
            (f"{path}/part", kind, shape, times * size, times * flops, times),
            (f"{path}/skip", "scaled", shape, times * D, 0, times),
        ]
    expected += [
        ("norm", "layernorm", (1, 10, D), 2 * D, 0, 1),
        ("head_tags", "tagging", (1, 10, 7), D * 7 + 7, 2 * 10 * D * 7, 1),
    ]
    rows = [(p.path, p.kind, p.shape, p.parameters, p.flops, p.repeats) for p in found.parts]
    assert rows == expected


@pytest.mark.parametrize("T", [40, 600])
@pytest.mark.parametrize("mask", ["full", "causal"])
@pytest.mark.parametrize("implementation", [None, "naive"])
def test_attention_costs_the_keys_it_sees(T, mask, implementation):
    def cost(**more):
        part = dict(kind="attention", heads=N, implementation=implementation, **more)
        model = stack(part, repeats=2, mask=mask)
        return parts(describe(config(model, length=T)))["layers/attention_0/part"].flops

    projections = 8 * T * D * D
    assert cost() == 2 * (projections + 4 * T * T * D)
    seen = {"full": 9, "causal": 8}[mask]
    assert cost(window=8) == 2 * (projections + 4 * T * seen * D)
    assert cost(window=5000) == cost()
    assert cost(kv_heads=1, width=16) == 2 * (2 * T * D * (2 * 64 + 2 * 16) + 4 * T * T * 64)
    assert cost(position=dict(kind="alibi")) == cost()


SPARSE = {  # the sight, how many maps of D to D the attention has, and how many keys a query attends to in the mean
    "window": (dict(kind="global_window", window=8), 4, 9),
    # each query attends to the first token too, and one of T queries to all
    "window and first": (dict(kind="global_window", window=8, everyone="first"), 7, 9 + 2),
    "blocks": (dict(kind="block_local", block=8), 4, 8),
    # 75 blocks, of which the first and the last attend to all, their neighbours to 4 and the others to 5
    "sparse blocks": (dict(kind="block_sparse", block=8), 4, 8 * (2 * 75 + 2 * 4 + 71 * 5) / 75),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sights_cost_what_they_show(name):
    sight, maps, seen = SPARSE[name]
    model, T = stack(dict(kind="attention", heads=N, sight=sight), repeats=2), 600
    cost = parts(describe(config(model, length=T)))["layers/attention_0/part"].flops
    assert cost == pytest.approx(2 * (2 * maps * T * D * D + 4 * T * seen * D), rel=1e-6)


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_nothing(remat):
    model = stack(dict(kind="attention", heads=N), dict(kind="mlp", hidden=F), repeats=3)
    for length in (20, 300):
        plain = describe(config(model, length=length))
        assert describe(config(dict(model, remat=remat), length=length)) == plain


def test_mamba2_in_chunks():
    T, C, E, M, H = 96, 32, 2 * D, 16, 8
    part = dict(kind="mamba2", head_width=H, state=M, chunk=C)
    found = parts(describe(config(stack(part, repeats=2), length=T)))["layers/mamba2_0/part"]
    projections = 2 * T * D * (2 * E + 2 * M + E // H) + 2 * T * E * D
    scores, within = 2 * T * C * M, 2 * T * C * E
    states, out = 2 * T * E * M, 2 * T * E * M
    assert found.flops == 2 * (projections + scores + within + states + out)
    both = dict(kind="bidirectional", mixer=part)
    found = parts(describe(config(stack(both), length=T)))["layers/bidirectional_0/part"]
    assert found.flops == 2 * (projections + scores + within + states + out)


def test_parallel_parts():
    block = dict(part=[dict(kind="attention", heads=N), dict(kind="mlp", hidden=F)])
    found = parts(describe(config(stack(block, repeats=2), length=10)))
    assert found["layers/attention_mlp_0/part_1"].flops == 2 * 4 * 10 * D * F
    assert found["layers/attention_mlp_0/part_0"].repeats == 2


def test_the_batch_is_what_the_model_reads():
    c = mamba2_hybrid.get_config("tiny")
    batch = example_batch(c, rows=3)
    assert {n: (x.shape, x.dtype) for n, x in batch.items()} == {
        name: ((3, 128), jnp.int32) for name in ("tokens", "segments", "positions")
    }
    assert set(example_batch(bert.get_config("tiny"))) == {"tokens"}
    assert example_batch(vit.get_config("tiny"))["images"].shape == (1, 8, 8, 1)
    assert example_batch(vit.get_config("H/14"))["images"].shape == (1, 224, 224, 3)
    tfds = dict(kind="tfds", fields={"images": "image"}, images=dict(size=[32, 48], channels=1))
    c = vit.get_config("tiny")
    c.data = tfds
    assert example_batch(c)["images"].shape == (1, 32, 48, 1)
    assert example_batch(dict(model=stack(FFN)))["tokens"].shape == (1, 512)
    model = stack(FFN)
    model["embed"]["position"] = dict(kind="learned", length=77)
    assert example_batch(dict(model=model))["tokens"].shape == (1, 77)
    model["embed"]["position"]["first"] = 2  # RoBERTa's: rows 0 and 1 of the table are no positions
    assert example_batch(dict(model=model))["tokens"].shape == (1, 75)
    images = stack(FFN, embed=dict(kind="patches", patch=16, width=D))
    assert example_batch(dict(model=images))["images"].shape == (1, 224, 224, 3)
    parts = {"own": {"path": "texts"}}
    mixed = dict(kind="mixture", parts=parts, length=16, packing="documents")
    assert {n: x.shape for n, x in example_batch(dict(model=stack(FFN), data=mixed)).items()} == {
        name: (1, 16) for name in ("tokens", "segments", "positions")
    }
    with pytest.raises(XfmError, match="config.data.length is 0; it must be a whole number of at least 1"):
        example_batch(dict(model=stack(FFN), data=dict(length=0)))


def test_batch_fits_the_data_of_the_digits(tmp_path):
    from xfm.data import open_data

    c = vit.get_config("tiny")
    row = open_data(c.data, tmp_path).train[0]
    assert (1, *row["images"].shape) == example_batch(c)["images"].shape


def test_nothing_is_allocated(monkeypatch):
    """A stack of 10^13 parameters, which no machine holds."""
    model = stack(dict(kind="mlp", hidden=2**19), repeats=300)
    model["embed"]["width"] = 2**15
    found = describe(config(model, length=8))
    assert found.parameters > 1e13 and found.flops_forward > 1e13
    assert not [a for a in jax.live_arrays() if a.size > 2**24]


def test_the_table_is_narrow_and_complete():
    for module, variant in ((bert, "base"), (vit, "H/14"), (mamba2_hybrid, "8B")):
        found = described(module, variant)
        lines = str(found).splitlines()
        assert max(map(len, lines)) <= 100
        assert f"{found.parameters:,}" in lines[0] and "one row" in lines[1]
        assert human(found.flops_forward) in lines[-1]
    assert all(len(line) <= 60 for line in table(found, 60).splitlines()[6:])


def test_human_numbers():
    assert [human(n) for n in (0, 999, 1500, 110_106_428, 8.6e9, 2e12)] == [
        "0", "999", "1.5k", "110.1M", "8.6G", "2.0T",
    ]  # fmt: skip
    assert human(8_654_517_248, "kMBT") == "8.7B"


def test_a_model_of_no_known_structure_still_adds_up():
    model = xfm.build(stack(dict(kind="mlp", hidden=F)))
    found = describe(dict(model=stack(dict(kind="mlp", hidden=F))))
    batch = example_batch(dict(model=stack(FFN)))
    leaves = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), batch))
    assert found.parameters == sum(leaf.size for leaf in leaves)
