"""Networks from an image to an image, as their configs build them, against goldens of the authors' programs.

Takes ten seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np

import xfm
from tests.parity.golden import close, heads_in, heads_out, load, place, same
from tests.parity.test_backbones import dense, norm, thirds
from xfm.configs.vision import hat
from xfm.initial import initial_shapes


def equal(name, spec, rules):
    """The network of `spec` on the golden's weights gives its images and gradients; rules as in golden.py."""
    golden, model = load(name), xfm.build(spec)
    batch = {key: jnp.asarray(value) for key, value in golden.of("input/").items() if not key.startswith("cotangent")}
    params = place(golden.of("weight/"), initial_shapes(model, batch)["params"], rules)

    def loss(params):
        pixels = model.apply({"params": params}, batch)["pixels"]
        return jnp.sum(pixels * golden["input/cotangent/pixels"]), pixels

    gradients, pixels = jax.jit(jax.grad(loss, has_aux=True))(params)
    close(pixels, golden["output/pixels"], "pixels")
    golden.check_gradients(gradients, rules)


def conv(there, here):
    """A convolution."""
    return [
        (rf"{there}\.weight", f"{here}/kernel", lambda a: a.transpose(2, 3, 1, 0)),
        (rf"{there}\.bias", f"{here}/bias", same),
    ]


def joined(there, here, heads):
    """A map of q, k and v, one after the other."""
    return [
        (rf"{there}\.weight", " ".join(f"{here}/{a}/kernel" for a in "qkv"), thirds(heads_out(heads))),
        (rf"{there}\.bias", " ".join(f"{here}/{a}/bias" for a in "qkv"), thirds(heads_out(heads))),
    ]


def offsets_of_queries(side, reach):
    """The table of overlapping attention: there by the offset key - query + 1 - 2 reach, row by row from (0, 0) on,
    negative ones counted from the end.
    """
    count = 2 * (side + reach) - 1
    there = 1 - reach - (np.arange(count) - count // 2)
    return lambda a: a[(there[:, None] * count + there[None]) % count**2]


def hat_rules(c):
    heads, window, pixel = c["heads"], c["window"], lambda a: a[:, :, 0, 0].T
    group, layers = r"model\.layers\.(\d+)\.residual_group\.", "layers"
    found = [
        *conv(r"model\.conv_first", "embed/stem/conv"),
        *norm(r"model\.patch_embed\.norm", "prologue/identity_0/in_norm"),
        *norm(r"model\.norm", "epilogue/conv_0/in_norm"),
        *conv(r"model\.conv_after_body", "epilogue/conv_0/part/conv"),
        *conv(r"model\.conv_before_upsample\.0", "head_pixels/conv_in"),
        *conv(r"model\.upsample\.0", "head_pixels/conv_0"),
        *conv(r"model\.conv_last", "head_pixels/conv_out"),
    ]
    for i in range(c["layers"]):
        there, block, mlp = rf"{group}blocks\.{i}\.", f"{layers}/hybrid_{2 * i}", f"{layers}/mlp_{2 * i + 1}"
        mixer, channel = f"{block}/part_0/mixer", f"{block}/part_1"
        found += [
            *norm(there + "norm1", f"{block}/in_norm"),
            *joined(there + r"attn\.qkv", mixer, heads),
            *dense(there + r"attn\.proj", f"{mixer}/o", heads_in(heads)),
            (
                there + r"attn\.relative_position_bias_table",
                f"{mixer}/position/table",
                lambda a: a.reshape(2 * window - 1, 2 * window - 1, -1),
            ),
            *conv(there + r"conv_block\.cab\.0", f"{channel}/conv_in"),
            *conv(there + r"conv_block\.cab\.2", f"{channel}/conv_out"),
            *dense(there + r"conv_block\.cab\.3\.attention\.1", f"{channel}/squeeze", pixel),
            *dense(there + r"conv_block\.cab\.3\.attention\.3", f"{channel}/excite", pixel),
            *norm(there + "norm2", f"{mlp}/in_norm"),
            *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
            *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
        ]
    there, at = rf"{group}overlap_attn\.", 2 * c["layers"]
    mixer, mlp = f"{layers}/overlapping_{at}", f"{layers}/mlp_{at + 1}"
    table = offsets_of_queries(window, c["reach"])
    return [
        *found,
        *norm(there + "norm1", f"{mixer}/in_norm"),
        *joined(there + "qkv", f"{mixer}/part", heads),
        *dense(there + "proj", f"{mixer}/part/o", heads_in(heads)),
        (there + "relative_position_bias_table", f"{mixer}/part/table", table),
        *norm(there + "norm2", f"{mlp}/in_norm"),
        *dense(there + r"mlp\.fc1", f"{mlp}/part/up"),
        *dense(there + r"mlp\.fc2", f"{mlp}/part/down"),
        *conv(r"model\.layers\.(\d+)\.conv", f"{layers}/conv_{at + 2}/part/conv"),
    ]


def test_hat():
    c = load("hat").config
    equal("hat", hat.network(**c), hat_rules(c))
