"""SimpleClick's whole network, with clicks and a last mask, against its authors' program. Takes seven seconds."""

import copy
import re

import jax
import jax.numpy as jnp

import xfm
from tests.parity.golden import close, heads_in, heads_out, load, place, same
from tests.parity.test_backbones import dense, norm, of_tile, thirds
from xfm.configs.vision import simpleclick
from xfm.initial import initial_shapes
from xfm.parts.resize import resize_corners

SMALLER, OUT = 8, 16  # images and masks are saved smaller, and logits at every sixteenth row and column


def flat(a):
    """A convolution of one position [out in 1 1] as a linear map."""
    return a[:, :, 0, 0].T


def tiled(a):
    """A transposed convolution [in out 2 2] as [in 2 2 out]."""
    return a.transpose(0, 2, 3, 1)


def in_kernel(a):
    """A convolution [out in rows columns] as [rows columns in out]."""
    return a.transpose(2, 3, 1, 0)


def by_period(golden):
    """The golden with its layers named by what they are in their period, and its number."""

    def named(key):
        return re.sub(r"blocks\.(\d+)", lambda m: f"{('near', 'all')[int(m[1]) % 2]}.{int(m[1]) // 2}", key)

    renamed = copy.copy(golden)
    renamed.arrays = {named(key): array for key, array in golden.arrays.items()}
    return renamed


def rules(c):
    found = [(r"model\.backbone\.pos_embed", "embed/embed/position/table", lambda a: a[0, 1:])]
    tile = of_tile(c["patch"], 3)
    found += dense(r"model\.backbone\.patch_embed\.proj", "embed/embed/patch", tile)
    # The last mask is the first of the program's three maps, and here the last one.
    found += dense(r"model\.patch_embed_coords\.proj", "embed/clicks", lambda a: tile(a[:, [1, 2, 0]]))
    for i, (kind, within) in enumerate((("windowed", "/mixer"), ("attention", ""))):
        there, mixer, mlp = (
            rf"model\.backbone\.{('near', 'all')[i]}\.(\d+)\.",
            f"layers/{kind}_{2 * i}",
            f"layers/mlp_{2 * i + 1}",
        )
        part, apart = f"{mixer}/part{within}", thirds(heads_out(c["heads"]))
        found += [
            *norm(there + "norm1", f"{mixer}/in_norm"),
            (there + r"attn\.qkv\.weight", " ".join(f"{part}/{a}/kernel" for a in "qkv"), apart),
            (there + r"attn\.qkv\.bias", " ".join(f"{part}/{a}/bias" for a in "qkv"), apart),
            *dense(there + r"attn\.proj", f"{part}/o", heads_in(c["heads"])),
            *norm(there + "norm2", f"{mlp}/in_norm"),
            *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
            *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
        ]
    neck = {
        4: "double_0_0 norm_0_0 - double_0_1 norm_0_1 level_0 norm_0",
        8: "double_1_0 norm_1_0 level_1 norm_1",
        16: "level_2 norm_2",
        32: "halve_3_0 norm_3_0 level_3 norm_3",
    }
    for stride, names in neck.items():
        for i, name in enumerate(names.split()):
            there, here = rf"model\.neck\.down_{stride}\.{i}", f"head_mask/{name}"
            change = dict(double=tiled, halve=in_kernel, level=flat).get(name.partition("_")[0])
            found += [] if name == "-" else norm(there, here) if change is None else dense(there, here, change)
    for i in range(4):
        found += dense(rf"model\.head\.convs\.{i}\.conv", f"head_mask/head/level_{i}", flat)
    width = c["inside"]
    return [
        *found,
        # The program joins the finest map first, and xfm the coarsest.
        (
            r"model\.head\.fusion_conv\.conv\.weight",
            "head_mask/head/join/kernel",
            lambda a: flat(a).reshape(4, width, width)[::-1].reshape(4 * width, width),
        ),
        (r"model\.head\.fusion_conv\.conv\.bias", "head_mask/head/bias", same),
        *dense(r"model\.head\.conv_seg", "head_mask/head/out", flat),
    ]


def test_the_network_equals_the_authors_program():
    golden, c = by_period(load("simpleclick")), load("simpleclick").config
    spec = simpleclick.network(
        c["layers"], c["width"], c["heads"], c["patch"], 2, c["widths"], c["inside"], size=c["size"]
    )
    model, sides = xfm.build(spec), c["size"]
    batch = {
        name: jnp.asarray(golden[f"input/{name}"]).repeat(SMALLER, 1).repeat(SMALLER, 2) for name in ("images", "mask")
    }
    batch["clicks"] = golden["input/clicks"]
    params = place(golden.of("weight/"), initial_shapes(model, batch)["params"], rules(c))

    def loss(params):
        logits = resize_corners(model.apply({"params": params}, batch)["mask"], sides)[:, ::OUT, ::OUT, 0]
        return jnp.sum(logits * golden["input/cotangent/logits"]), logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
    close(logits, golden["output/logits"], "logits")
    golden.check_gradients(gradients, rules(c))
