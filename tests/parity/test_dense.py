"""SegFormer's and UPerNet's heads on maps of odd sizes against transformers', with gradients. Takes four seconds."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden import close, load
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.paths import flatten
from xfm.spec import build

GOLDEN = load("dense_heads")
MAPS = [GOLDEN[f"input/{i}"] for i in range(3)]
COMMON = dict(classes=5, width=8, norm=dict(kind="fixed_batchnorm"))
HEADS = {"segformer": dict(COMMON, kind="all_mlp"), "upernet": dict(COMMON, kind="upernet", scales=(1, 2, 3))}
LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
# (regex on a module's name in transformers, the name in xfm)
MODULES = {
    "segformer": [
        (r"linear_projections\.(\d)\.proj", r"level_\1"), ("linear_fuse", "join"), ("batch_norm", "norm"),
        ("classifier", "out"),
    ],
    "upernet": [
        (r"psp_modules\.(\d)\.1", r"pool_\1"), ("bottleneck", "top"), (r"lateral_convs\.(\d)", r"lateral_\1"),
        (r"fpn_convs\.(\d)", r"level_\1"), ("fpn_bottleneck", "join"), ("classifier", "out"),
    ],
}  # fmt: skip


def placed(name, arrays):
    """Path in xfm -> array, of arrays under the names of transformers."""
    found = {}
    for key, array in arrays.items():
        module, _, leaf = key.rpartition(".")
        owner, within, part = module.partition(".batch_norm")
        owner = owner.removesuffix(".conv")
        path = next(re.sub(regex, new, owner) for regex, new in MODULES[name] if re.fullmatch(regex, owner))
        if leaf == "weight" and array.ndim > 1:
            kernel = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
            flat = path == "out" or name == "segformer"
            kernel = kernel.reshape(kernel.shape[-2:]) if flat else kernel
            found[f"{path}/kernel" if flat else f"{path}/conv/kernel"] = kernel
        else:
            normed = within or path == "norm"
            between = "/norm" if within else ""
            found[f"{path}{between}/{LEAVES[leaf]}" if normed else f"{path}/{leaf}"] = array
    return found


@pytest.mark.parametrize("name", HEADS)
def test_head_equals_transformers(name):
    head = build(SLOTS["head"], HEADS[name])
    flat = placed(name, GOLDEN.of(f"weight/{name}/"))
    params = {}
    for path, array in flat.items():
        *above, leaf = path.split("/")
        level = params
        for key in above:
            level = level.setdefault(key, {})
        level[leaf] = array

    def loss(params, maps):
        ctx = Context(grid=(2, 4), features={f"stage_{i}": one for i, one in enumerate(maps)})
        y = head.apply({"params": params}, jnp.zeros((2, 8, 12)), ctx)
        return (y * GOLDEN[f"cotangent/{name}"]).sum(), y

    (_, y), (slopes, of_maps) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, MAPS)
    close(y, GOLDEN[f"output/{name}"], name)
    expected = GOLDEN.of(f"grad/{name}/")
    for i, one in enumerate(of_maps):
        close(one, expected.pop(f"{i}"), f"gradient of map {i}", 3e-5)
    ours = flatten(slopes)
    for path, slope in placed(name, expected).items():
        close(ours[path], slope, f"gradient of {path}", 3e-5)
    left = ours.keys() - placed(name, expected).keys()
    assert all(path.endswith(("mean", "variance")) and not np.any(ours[path]) for path in left)
