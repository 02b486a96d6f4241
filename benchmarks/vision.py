"""Vision transformers in float32 on two CPU cores: xfm against transformers, forward and training steps.

    python benchmarks/vision.py [--peer PYTHON_WITH_TORCH] [--cases swin]

ViT-B/16, Swin-T and PVT v2-B1 on images of 224 x 224 pixels, logits of 1000 classes, the same weights. forward: 8 and
1 images. step: 8 images (4 for ViT-B/16), cross-entropy, gradients clipped at norm 1, AdamW, no dropout and no
stochastic depth. The peer is PyTorch, eager, with scaled_dot_product_attention where the model has it, and fused AdamW.
"""

import sys

from common import ROOT, THREADS, compare

# name: prefix of the classes of transformers, their settings, images of a training step
MODELS = {
    "vit": ("ViT", {}, 4),
    "swin": ("Swin", dict(drop_path_rate=0.0), 8),
    "pvt_v2": ("PvtV2", dict(depths=[2, 2, 2, 2], drop_path_rate=0.0), 8),
}
DROPS = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
FORWARD = (8, 1)
RATE, CLIP = 1e-4, 1.0


def images(batch):
    import numpy as np

    return np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(np.float32)


def labels(batch):
    import numpy as np

    return np.random.default_rng(1).integers(0, 1000, batch).astype(np.int32)


def peer(folder):
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)

    def pixels(batch):
        return torch.tensor(images(batch)).permute(0, 3, 1, 2).contiguous()

    def forward(model, batch):
        x = pixels(batch)

        def call():
            with torch.inference_mode():
                return model(x).logits.numpy()

        return call

    def step(model, batch):
        optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05, fused=True)
        x, y = pixels(batch), torch.tensor(labels(batch)).long()

        def call():
            loss = torch.nn.functional.cross_entropy(model(x).logits, y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            loss.item()

        return call

    calls = {}
    for name, (prefix, settings, train) in MODELS.items():
        config = getattr(transformers, f"{prefix}Config")(num_labels=1000, **DROPS, **settings)
        model = getattr(transformers, f"{prefix}ForImageClassification")(config)
        model.save_pretrained(folder / name)
        still = type(model).from_pretrained(folder / name).eval()
        calls |= {f"{name}_forward_{batch}": forward(still, batch) for batch in FORWARD}
        calls[f"{name}_step_{train}"] = step(model.train(), train)
    return calls


def xfm(folder):
    import jax
    import jax.numpy as jnp

    sys.path.append(str(ROOT))
    import xfm
    from xfm.objectives.classification import Classification
    from xfm.train.optimiser import build_optimiser
    from xfm.train.state import new_state
    from xfm.train.step import make_step

    def forward(name, batch):
        x, held = jnp.asarray(images(batch)), {}

        def call():
            if not held:
                held.update(loaded(name))
            return held["read"](held["params"], x).block_until_ready()

        return call

    def loaded(name):
        found = xfm.load(folder / name)
        return dict(
            model=found.model,
            params=jax.device_put(found.params),
            read=jax.jit(lambda p, x: found.model.apply({"params": p}, {"images": x})["label"]),
        )

    def step(name, batch):
        rows, held = dict(images=jnp.asarray(images(batch)), labels=jnp.asarray(labels(batch))), {}

        def call():
            if not held:
                found = loaded(name)
                objective = Classification(found["model"], classes=1000)
                adamw = dict(kind="adamw", weight_decay=0.05)
                optimiser = build_optimiser(adamw, lambda _: RATE, found["params"], clip=CLIP)
                state = new_state(objective, optimiser, jax.random.key(0), rows, None)
                held.update(state=state.replace(params=found["params"]), update=make_step(objective, optimiser))
            held["state"], metrics = held["update"](held["state"], rows)
            float(metrics["loss"][0])

        return call

    calls = {}
    for name, (_, _, train) in MODELS.items():
        calls |= {f"{name}_forward_{batch}": forward(name, batch) for batch in FORWARD}
        calls[f"{name}_step_{train}"] = step(name, train)
    return calls


if __name__ == "__main__":
    compare(__file__, __doc__.splitlines()[0], {"peer": peer, "xfm": xfm})
