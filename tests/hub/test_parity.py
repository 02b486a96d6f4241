"""Each family's checkpoints, loaded by xfm, against transformers: every layer, every head, gradients; and saved back.

The goldens are committed; where torch and transformers are installed the same cases run live as well (slow).
"""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.hub.cases import all_cases
from xfm.hub.checkpoint import Checkpoint, load
from xfm.hub.families import FAMILIES
from xfm.hub.weights import file_arrays

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hub"
TOLERANCE = 1e-5  # of the largest number in the array compared
GRADIENT = 3e-5  # likewise; the references' own float32 gradients are off by up to 9e-6
CASES = all_cases()
# the Hub's outputs -> xfm's, where the names differ
OURS = {
    "pooler_output": "pooled",
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
    "sop_logits": "sentence_order",
}
# Tensors without a gradient in at least one case, by type of model: the outputs asked for do not depend on them, or
# they are constants in the reference.
UNREACHED = {
    "bert": r"^cls\.predictions\.bias$",  # the decoder has one of its own
    "big_bird": r"pooler",
    "canine": r"pooler|projection|final_char_encoder",
    "dinov2": r"mask_token",
    "dinov2_with_registers": r"mask_token",
    "dinov3_vit": r"mask_token|register_tokens",
    "fnet": r"pooler",
    "levit": r"running_mean|running_var|num_batches_tracked",
    "longformer": r"_global",
    "roformer": r"embed_positions",
    "segformer": r"running_mean|running_var|num_batches_tracked",
    "swin": r"^swin\.layernorm",
    "t5": r"^decoder",
    "vit_mae": r"position_embeddings|decoder_pos_embed",
    "xlnet": r"mask_emb|r_s_bias|seg_embed",
}


OF_CASES = {  # likewise, by case
    "focalnet_backbone": r"^focalnet\.layernorm",
    "clip_pictures": r"post_layernorm",
    "siglip_pictures": r"vision_model\.head",
    "siglip2_pictures": r"vision_model\.head",
}


def of(arrays, prefix):
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def checkpoint(arrays, config: str, folder: pathlib.Path) -> Checkpoint:
    (folder / "config.json").write_text(config)
    save_file({k: np.ascontiguousarray(v) for k, v in of(arrays, "weight/").items()}, folder / "model.safetensors")
    return load(folder)


def close(mine, theirs, what, tolerance=TOLERANCE):
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    assert mine.shape == theirs.shape, f"{what}: shape {mine.shape} instead of {theirs.shape}"
    error = np.abs(mine - theirs).max() / max(np.abs(theirs).max(), 1e-30)
    assert error <= tolerance, f"{what}: off by {error:.1e} of its scale, {tolerance:.0e} allowed"


def output(out, name: str):
    """The output of xfm's that a golden calls `name`; those that are tuples have a number after a slash."""
    name, _, index = name.partition("/")
    value = out[OURS.get(name, name)]
    return value[int(index)] if index else value


def ours(theirs, images: bool):
    """An array in xfm's layout: of a model of images, maps [B C h w] have their channels last in xfm."""
    return np.moveaxis(theirs, 1, -1) if images and theirs.ndim == 4 else theirs


def without_padding(mine, theirs, masks):
    """Both arrays at the tokens of the mask that has their shape, or whole."""
    real = next((mask for mask in masks if mask.shape == mine.shape[:2]), ...)
    return mine[real], theirs[real]


def compare(arrays, config, folder):
    m = checkpoint(arrays, config, folder)
    inputs = {k: jnp.asarray(v) for k, v in of(arrays, "input/").items()}
    images = "pixel_values" in inputs
    cotangents = {name: ours(a, images) for name, a in of(arrays, "cotangent/").items()}
    masks = [np.asarray(inputs[name]) for name in ("attention_mask", "pixel_attention_mask") if name in inputs]
    masks = [mask.reshape(-1, mask.shape[-1]) > 0 for mask in masks]  # of images of one size there is none

    def answer(params):
        return m.replace(params=params)(**inputs, output_hidden_states=True)

    def loss(params):
        out = answer(params)
        total = 0.0
        for name, cotangent in cotangents.items():
            value = output(out, name).reshape(cotangent.shape)  # a map may be one row of tokens in xfm
            total += jnp.sum(jnp.where(cotangent == 0, 0.0, value) * cotangent)  # padding may be infinite
        return total, out

    gradient, out = jax.device_get(jax.jit(jax.grad(loss, has_aux=True))(m.params))
    for name, theirs in of(arrays, "output/").items():
        mine = np.asarray(output(out, name))
        theirs = ours(theirs, images).reshape(mine.shape if images else theirs.shape)
        close(*without_padding(mine, theirs, masks), name)
    hidden = of(arrays, "hidden/")
    towers = [out[name]["hidden_states"] for name in ("text_model_output", "vision_model_output") if name in out]
    states = sum(towers, ()) if towers else out["hidden_states"]
    assert len(states) == len(hidden)
    for i, theirs in hidden.items():
        mine = np.asarray(states[int(i)])
        theirs = ours(theirs, images).reshape(mine.shape if images else theirs.shape)
        close(*without_padding(mine, theirs, masks), f"hidden state {i}")

    for i, theirs in of(arrays, "map/").items():
        close(out["reshaped_hidden_states"][int(i)], ours(theirs, images), f"map {i}")

    weights, norms = of(arrays, "weight/"), of(arrays, "norm/")
    gradients = file_arrays(m.family, m.heads, m.network.sublayers(), gradient)
    largest = max(norms.values())
    assert norms.keys() <= gradients.keys(), sorted(norms.keys() - gradients.keys())
    for name, norm in norms.items():
        mine = np.sqrt(np.sum(gradients[name].astype(np.float64) ** 2))
        if norm < 1e-6 * largest:  # a bias of keys, which moves no weight of a softmax
            assert mine < GRADIENT * largest, f"gradient of {name}: {mine:.1e} and not 0"
        else:
            close(mine, norm, f"norm of the gradient of {name}", GRADIENT)
    for name, theirs in of(arrays, "grad/").items():
        if norms[name] >= 1e-6 * largest:
            close(gradients[name].reshape(theirs.shape), theirs, f"gradient of {name}", GRADIENT)

    back = file_arrays(m.family, m.heads, m.network.sublayers(), jax.device_get(m.params))
    for name, theirs in weights.items():
        if m.family.today(name) in m.family.files.tied or name not in back:
            assert name not in norms or m.family.today(name) in m.family.files.tied, f"{name} is not written back"
            continue
        np.testing.assert_array_equal(back[name].reshape(theirs.shape), theirs, err_msg=name)
    assert back.keys() <= weights.keys(), sorted(back.keys() - weights.keys())


def model_type(path: pathlib.Path) -> str:
    with np.load(path) as file:
        return json.loads(str(file["config"]))["model_type"]


def sliced() -> list:
    """All cases; of each model_type the first one runs by default, the others are slow."""
    seen, found = set(), []
    for name in CASES:
        path = GOLDENS / f"{name}.npz"
        kind = model_type(path) if path.exists() else name
        found.append(pytest.param(name, marks=[pytest.mark.slow] if kind in seen else []))
        seen.add(kind)
    return found


@pytest.mark.parametrize("name", sliced())
def test_equals_transformers(name, tmp_path):
    path = GOLDENS / f"{name}.npz"
    assert path.exists(), f"no golden of {name}; python -m tests.hub.make {name} writes it"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    compare(arrays, str(arrays["config"]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_equals_the_installed_transformers(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.hub.reference import run

    compare(*run(CASES[name]), tmp_path)


def test_goldens_have_the_gradient_of_every_tensor():
    """Otherwise the parity of gradients would be tested for a part of a model only."""
    lacking = {}
    for path in GOLDENS.glob("*.npz"):
        with np.load(path) as file:
            names = {prefix: of(dict.fromkeys(file.files), prefix).keys() for prefix in ("weight/", "norm/")}
            unreached = UNREACHED.get(json.loads(str(file["config"]))["model_type"], "^$")
            unreached = OF_CASES.get(path.stem, unreached)
        without = [name for name in names["weight/"] - names["norm/"] if not re.search(unreached, name)]
        lacking |= {path.name: sorted(without)} if without else {}
    assert not lacking


def test_every_family_has_a_case():
    with_case = {model_type(path) for path in GOLDENS.glob("*.npz")}
    assert set(FAMILIES) <= with_case, f"families without a golden: {sorted(set(FAMILIES) - with_case)}"
