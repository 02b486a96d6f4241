"""xfm's Swin, as its config builds it, against transformers': shifted windows, merged patches, gradients."""

import jax
import jax.numpy as jnp

import xfm
from tests.parity.golden import close, heads_in, heads_out, load, place, same, transposed
from xfm.configs.vision.swin import network


def one(change):
    """The same change, for parameters of a loop with one repeat."""
    return lambda a: change(a)[None]


def kernel(a):
    """[D, channel, row, column] -> [(row, column, channel), D]."""
    return a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0])


def rules(c):
    found = [
        (r"swin\.embeddings\.patch_embeddings\.projection\.weight", "embed/patch/kernel", kernel),
        (r"swin\.embeddings\.patch_embeddings\.projection\.bias", "embed/patch/bias", same),
        (r"swin\.embeddings\.norm\.weight", "embed/norm/scale", same),
        (r"swin\.embeddings\.norm\.bias", "embed/norm/bias", same),
        (r"swin\.layernorm\.weight", "norm/scale", same),
        (r"swin\.layernorm\.bias", "norm/bias", same),
        (r"classifier\.(weight|bias)", "head_label/out/{0}", transposed),
    ]
    span = 2 * c["window_size"] - 1
    for stage, heads in enumerate(c["num_heads"]):
        below = rf"swin\.encoder\.layers\.{stage}\."
        found += [
            (below + r"downsample\.norm\.weight", f"stage_{stage + 1}/down/norm/scale", same),
            (below + r"downsample\.norm\.bias", f"stage_{stage + 1}/down/norm/bias", same),
            (below + r"downsample\.reduction\.weight", f"stage_{stage + 1}/down/out/kernel", transposed),
        ]
        for block in range(c["depths"][stage]):
            layer, at = rf"{below}blocks\.{block}\.", f"stage_{stage}/layers"
            mixer, ffn = f"{at}/windowed_{2 * block}", f"{at}/mlp_{2 * block + 1}"
            inside = f"{mixer}/part/mixer"
            found += [
                (layer + r"layernorm_before\.weight", f"{mixer}/in_norm/scale", one(same)),
                (layer + r"layernorm_before\.bias", f"{mixer}/in_norm/bias", one(same)),
                (layer + r"attention\.self\.(query|key|value)\.(weight|bias)", inside + "/{0}/{1}",
                 one(heads_out(heads))),
                (layer + r"attention\.self\.relative_position_bias_table", f"{inside}/position/table",
                 one(lambda a: a.reshape(span, span, -1))),
                (layer + r"attention\.output\.dense\.weight", f"{inside}/o/kernel", one(heads_in(heads))),
                (layer + r"attention\.output\.dense\.bias", f"{inside}/o/bias", one(same)),
                (layer + r"layernorm_after\.weight", f"{ffn}/in_norm/scale", one(same)),
                (layer + r"layernorm_after\.bias", f"{ffn}/in_norm/bias", one(same)),
                (layer + r"intermediate\.dense\.(weight|bias)", ffn + "/part/up/{0}", one(transposed)),
                (layer + r"output\.dense\.(weight|bias)", ffn + "/part/down/{0}", one(transposed)),
            ]  # fmt: skip
    return found


def test_swin_equals_transformers():
    golden = load("swin")
    c = golden.config
    spec = network(
        c["depths"], c["embed_dim"], c["num_heads"], c["patch_size"], c["window_size"], classes=c["num_labels"]
    )
    model, batch = xfm.build(spec), {"images": jnp.asarray(golden["input/images"])}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    params = place(golden.of("weight/"), shapes, rules(c))

    def loss(params):
        seen = xfm.capture(model, {"params": params}, batch, "embed|stage_1(/down)?|head_label")
        found = {
            "hidden/0": seen["embed"],
            "hidden/1": seen["stage_1/down"],  # transformers' first stage ends with the merging
            "hidden/2": seen["stage_1"],
            "logits": seen["head_label"],
        }
        return jnp.sum(seen["head_label"] * golden["input/cotangent/logits"]), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    for name, theirs in golden.of("output/").items():
        close(found[name], theirs, name)
    golden.check_gradients(gradients, rules(c))
