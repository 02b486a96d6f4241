"""SparK as its config builds it, against the authors' program: the encoder's maps, the image, the loss, all gradients.

Takes four seconds; gradients are slow, since they take fifteen.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden import close, load, place, same
from tests.parity.test_backbones import dense, norm
from tests.parity.test_published import in_kernel, of_channels
from xfm.configs.vision import spark
from xfm.initial import initial_shapes
from xfm.objectives import build_objective
from xfm.objectives.masked_images import hidden_of
from xfm.objectives.masks import Split

UNIT = 8  # patches of the stem in a side of a hidden square


def conv(there, here):
    return dense(there, here, in_kernel)


def batch_norm(there, here):
    averages = ("running_mean", "mean"), ("running_var", "variance")
    return [*norm(there, here), *((rf"{there}\.{name}", f"{here}/{own}", same) for name, own in averages)]


def layer(stage):
    there, here = rf"model\.sparse_encoder\.sp_cnn\.stages\.{stage}\.(\d+)\.", f"stage_{stage}/layers/convnext_0"
    return [
        (there + "gamma", f"{here}/skip/scale", same),
        *dense(there + "dwconv", f"{here}/part/conv", of_channels),
        *norm(there + "norm", f"{here}/part/norm"),
        *dense(there + "pwconv1", f"{here}/part/up"),
        *dense(there + "pwconv2", f"{here}/part/down"),
    ]


def rules(c):
    downs, head, found = r"model\.sparse_encoder\.sp_cnn\.downsample_layers\.", "head_pixels", []
    found += [*conv(downs + r"0\.0", "embed/stem/conv"), *norm(downs + r"0\.1", "embed/stem/norm")]
    for i in range(len(c["widths"])):
        found += layer(i)
        if i:
            found += norm(rf"{downs}{i}\.0", f"stage_{i}/down/in_norm")
            found += conv(rf"{downs}{i}\.1", f"stage_{i}/down/conv")
        found.append((rf"model\.mask_tokens\.{i}", f"{head}/map_{i}/mask", lambda a: a[0, :, 0, 0]))
        found += norm(rf"model\.densify_norms\.{i}", f"{head}/map_{i}/norm")
        found += conv(rf"model\.densify_projs\.{i}", f"{head}/map_{i}/conv")
    for i in range(c["doublings"]):
        there = rf"model\.dense_decoder\.dec\.{i}\."
        found += dense(there + "up_sample", f"{head}/up_{i}", lambda a: a.transpose(2, 3, 0, 1))
        for number, name in ((0, f"in_{i}"), (3, f"out_{i}")):
            found.append((rf"{there}conv\.{number}\.weight", f"{head}/{name}/conv/kernel", in_kernel))
            found += batch_norm(rf"{there}conv\.{number + 1}", f"{head}/{name}/norm")
    return [*found, *dense(r"model\.dense_decoder\.proj", f"{head}/out", lambda a: a[:, :, 0, 0].T)]


def split_of(visible):
    """The patches of the stem in visible and in hidden squares [h w], as the objective divides them."""
    whole = visible.repeat(UNIT, 0).repeat(UNIT, 1).ravel() > 0
    return Split(np.flatnonzero(whole)[None], np.flatnonzero(~whole)[None])


def opened():
    """The golden, its parameters here, and what the network and the objective make of some parameters."""
    golden = load("spark")
    objective = dict(spark.OBJECTIVE, mask=dict(kind="units", unit=UNIT, rate=0.5))
    one = build_objective(dict(model=spark.network(**golden.config), objective=objective), None)
    batch, split = {"images": jnp.asarray(golden["input/images"])}, split_of(golden["input/visible"][0])
    params = place(golden.of("weight/"), initial_shapes(one.model, batch)["params"], rules(golden.config))

    def outputs(params):
        out, target = one.model.apply({"params": params}, {**batch, **one.given(batch, split)}), one.wanted
        found = {name: out[name] for name in out if name.startswith("stage_")}
        wanted = hidden_of(target.of({}, batch["images"], one.model.patch), split)
        loss = target.measured(one.read(out, split), wanted)["loss"].mean()
        return {**found, "pixels": out["pixels"][:, ::2, ::2], "loss": loss}

    return golden, params, outputs


def test_spark_equals_the_authors_program():
    golden, params, outputs = opened()
    found = jax.jit(outputs)(params)
    for key, answer in golden.of("output/").items():
        close(found[key], answer, key)


@pytest.mark.slow
def test_gradients_equal_those_of_the_authors_program():
    golden, params, outputs = opened()

    def loss(params):
        found = outputs(params)
        return sum(jnp.sum(found[key] * c) for key, c in golden.of("input/cotangent/").items())

    golden.check_gradients(jax.jit(jax.grad(loss))(params), rules(golden.config))
