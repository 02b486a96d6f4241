"""ViT-B/16 in float32 on two CPU cores: xfm against transformers, forward.

    python benchmarks/vit.py [--peer PYTHON_WITH_TORCH]

Batches of 8 and of 1 image of 224 x 224 pixels, logits of 1000 classes, the same weights. The peer is PyTorch, eager,
with scaled_dot_product_attention.
"""

import sys

from common import ROOT, THREADS, compare

BATCHES = (8, 1)


def images(batch):
    import numpy as np

    return np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(np.float32)


def peer(folder):
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from transformers import ViTConfig, ViTForImageClassification

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = ViTConfig(num_labels=1000, hidden_act="gelu_new", layer_norm_eps=1e-6)
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(folder / "vit")
    saved = load_file(folder / "vit" / "model.safetensors")  # names in files differ from those of the state dict
    np.savez(folder / "vit.npz", **{name: value.numpy() for name, value in saved.items()})

    def forward(batch):
        pixels = torch.tensor(images(batch)).permute(0, 3, 1, 2).contiguous()

        def call():
            with torch.inference_mode():
                return model(pixels).logits.numpy()

        return call

    return {f"forward_batch_{batch}": forward(batch) for batch in BATCHES}


def xfm(folder):
    import jax
    import jax.numpy as jnp
    import numpy as np

    sys.path.append(str(ROOT))
    from tests.parity.golden import place
    from tests.parity.test_vit import rules
    from xfm import build
    from xfm.configs.vision import vit

    network = build(vit.get_config("B/16").model.to_dict())
    example = dict(images=jnp.zeros((1, 224, 224, 3)))
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    with np.load(folder / "vit.npz") as saved:
        weights = dict(saved)
    named = [(pattern, path.replace("head_logits", "head_label"), change) for pattern, path, change in rules(heads=12)]
    params = jax.device_put(place(weights, shapes, named))
    read = jax.jit(lambda p, x: network.apply({"params": p}, {"images": x})["label"])

    def forward(batch):
        x = jnp.asarray(images(batch))
        return lambda: read(params, x).block_until_ready()

    return {f"forward_batch_{batch}": forward(batch) for batch in BATCHES}


if __name__ == "__main__":
    compare(__file__, __doc__.splitlines()[0], {"peer": peer, "xfm": xfm})
