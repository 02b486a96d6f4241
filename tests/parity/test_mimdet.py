"""MIMDet's backbone against its authors' program, for all tokens and for half of them, and its start from MAE.

Takes seven seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np

import xfm
from tests.hub import small
from tests.parity.golden import close, heads_in, heads_out, load, place, transposed
from tests.parity.test_backbones import dense, norm, thirds
from xfm.configs.vision import mimdet
from xfm.initial import initial_shapes
from xfm.parts.down import sampled
from xfm.paths import flatten
from xfm.train import start, taken

FEATURES = {"c2": "stage_0", "c3": "stage_1", "c4": "stage_3", "c5": "stage_4"}


def in_kernel(a):
    """A convolution [out in rows columns] as [rows columns in out]."""
    return a.transpose(2, 3, 1, 0)


def rules(c):
    stem, convs = r"model\.encoder\.patch_embed\.proj\.", ("embed/stem/stem", "stage_1/down/down", "stage_2/down/down")
    found = [(stem + rf"{i}\.0\.weight", f"{convs[0]}/conv_{i}/kernel", in_kernel) for i in (0, 1)]
    found += [line for i in (0, 1) for line in norm(rf"{stem}{i}\.1", f"{convs[0]}/norm_{i}")]
    for i, path in ((2, convs[1]), (3, f"{convs[2]}/down")):
        found += [(rf"{stem}{i}\.0\.weight", f"{path}/conv/kernel", in_kernel)]
        found += norm(rf"{stem}{i}\.1", f"{path}/out_norm")
    found += dense(rf"{stem}3\.3", f"{convs[2]}/out", lambda a: a[:, :, 0, 0].T)
    for there, blocks, stage, heads in (
        (r"model\.encoder\.", "blocks", "stage_2", c["heads"]),
        (r"model\.decoder\.decoder_", "blocks", "stage_3", c["inner_heads"]),
    ):
        block, mixer, mlp = there + blocks + r"\.(\d+)\.", f"{stage}/layers/attention_0", f"{stage}/layers/mlp_1"
        apart = thirds(heads_out(heads))
        found += [
            (there + "pos_embed", f"{stage}/down/position/table", lambda a: a[0, 1:]),
            *norm(there + "norm", f"{stage}/norm"),
            *norm(block + "norm1", f"{mixer}/in_norm"),
            (block + r"attn\.qkv\.weight", " ".join(f"{mixer}/part/{a}/kernel" for a in "qkv"), apart),
            (block + r"attn\.qkv\.bias", " ".join(f"{mixer}/part/{a}/bias" for a in "qkv"), apart),
            *dense(block + r"attn\.proj", f"{mixer}/part/o", heads_in(heads)),
            *norm(block + "norm2", f"{mlp}/in_norm"),
            *dense(block + r"mlp\.fc1", f"{mlp}/part/up", transposed),
            *dense(block + r"mlp\.fc2", f"{mlp}/part/down", transposed),
        ]
    found += dense(r"model\.decoder\.decoder_embed", "stage_3/down/in")
    return found + dense(r"model\.decoder\.conv_feat_proj", "stage_3/down/dropped")


def test_the_backbone_equals_the_authors_program(monkeypatch):
    golden = load("mimdet")
    c = dict(golden.config)
    c["size"] //= 16
    spec = mimdet.network(**c, head=None) | dict(heads={})
    model, batch = xfm.build(spec), {"images": jnp.asarray(golden["input/images"])}
    params = place(golden.of("weight/"), initial_shapes(model, batch)["params"], rules(c))
    monkeypatch.setattr(sampled, "sample", lambda key, real, count: jnp.asarray(golden["input/numbers"]))
    expected = golden.of("output/")

    def loss(params):
        features = {}
        for prefix, train in (("", False), ("sampled/", True)):
            made = model.apply({"params": params}, batch, train=train, rngs={"dropout": jax.random.key(0)})
            features |= {f"{prefix}{there}": made[here] for there, here in FEATURES.items()}
        total = sum(jnp.sum(features[name] * c) for name, c in golden.of("input/cotangent/").items())
        return total, {name: features[name] for name in expected}

    gradients, features = jax.jit(jax.grad(loss, has_aux=True))(params)
    for name, one in expected.items():
        close(features[name], one, name)
    golden.check_gradients(gradients, rules(c))


def test_it_starts_from_both_halves_of_mae(tmp_path):
    """Every layer, last norm and the map between the halves is MAE's to the bit; positions, stem and head are not."""
    name, rng, sides = "vit_mae_pretraining", np.random.default_rng(0), {40: 96, 28: 64}
    known = small.weights(name)
    shapes = {key: tuple(sides.get(side, side) for side in a.shape) for key, a in known.items()}
    arrays = {key: rng.standard_normal(shape, np.float32) for key, shape in shapes.items()}
    mae = small.folder(tmp_path / "mae", arrays, name=name, intermediate_size=96, decoder_intermediate_size=64)
    c = mimdet.get_config("tiny")
    c.model = mimdet.network(3, 24, 3, 0.5, 2, 2, 16, 2, mimdet.head(11, 8), channels=1)
    c.start.source = str(mae)
    shapes = initial_shapes(xfm.build(c.model), {"images": jnp.zeros((1, 32, 32, 1))})["params"]
    laid = taken.laid(start.found_for(c), None, shapes, c)
    one, here, there = taken.taken(shapes, laid, c), laid.weights(), flatten(xfm.load(mae, head="none").params)
    kept = {path: a for path, a in there.items() if "embed/" not in path and "head_" not in path}
    assert len(kept) == 36 == len(one.taken) - 2
    for path, a in kept.items():
        own = path.replace("decoder/", "stage_3/") if path.startswith("decoder/") else f"stage_2/{path}"
        assert own in one.taken
        np.testing.assert_array_equal(here[own], a, err_msg=path)
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(here[f"stage_3/down/in/{leaf}"], there[f"decoder/embed/in/{leaf}"])
