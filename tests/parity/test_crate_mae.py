"""CRATE-MAE as its config builds it, against the authors' program: the encoder, the predictions, all gradients.

Takes four seconds.
"""

import jax
import jax.numpy as jnp
import pytest

import xfm
from tests.parity.golden import close, heads_in, heads_out, load, place, same, transposed
from tests.parity.test_backbones import dense, norm, of_tile
from xfm.configs.vision import crate_mae
from xfm.initial import initial_shapes


def rules(c):
    heads, found = c["heads"], []
    for there, here, places in (
        (r"model\.blocks\.(\d+)\.layers\.0\.", "stage_0/layers", ("subspace_attention_0", "ista_1")),
        (r"model\.decoder_blocks\.(\d+)\.layers\.0\.", "stage_1/layers", ("linear_map_0", "subspace_attention_1")),
    ):
        for i, part in enumerate(places):
            found += norm(rf"{there}{i}\.norm", f"{here}/{part}/in_norm")
            part = f"{here}/{part}/part"
            found += [
                (rf"{there}{i}\.fn\.qkv\.weight", f"{part}/q/kernel", heads_out(heads)),
                *dense(rf"{there}{i}\.fn\.to_out\.0", f"{part}/o", heads_in(heads)),
                (rf"{there}{i}\.fn\.weight", f"{part}/dictionary", same)
                if "ista" in part
                else (rf"{there}{i}\.fn\.weight", f"{part}/kernel", transposed),
            ]
    return [
        *found,
        (r"model\.cls_token", "embed/cls", same),
        (r"model\.mask_token", "embed/mask", lambda a: a[0, 0]),
        (r"model\.decoder_pos_embed", "embed/position/table", lambda a: a[0]),
        *dense(r"model\.patch_embed\.proj", "embed/patch", of_tile(c["patch"], 3)),
        *norm(r"model\.norm", "stage_0/norm"),
        *norm(r"model\.decoder_norm", "norm"),
        *dense(r"model\.decoder_pred", "head_patches/out"),
    ]


def test_crate_mae_equals_the_authors_program():
    golden = load("crate_mae")
    model = xfm.build(crate_mae.network(**golden.config))
    batch = {name: jnp.asarray(golden[f"input/{name}"]) for name in ("images", "hidden")}
    params = place(golden.of("weight/"), initial_shapes(model, batch)["params"], rules(golden.config))

    def loss(params):
        out = model.apply({"params": params}, batch)
        found = {"latent": out["stage_0"].reshape(2, -1, 24), "patches": out["patches"][:, 1:]}
        return sum(jnp.sum(found[key] * golden[f"input/cotangent/{key}"]) for key in found), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    for key, answer in found.items():
        close(answer, golden[f"output/{key}"], key)
    golden.check_gradients(gradients, rules(golden.config))


def test_it_has_three_tenths_of_the_parameters_of_a_vit_of_its_layers_and_widths():
    """Pai et al. 2024, abstract. The authors' program counts 143,048,448 with a ViT's layers."""
    assert crate_mae.PARAMETERS["base"] / 143_048_448 == pytest.approx(0.3, abs=0.01)
