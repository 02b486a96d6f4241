# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A vision transformer
#
# In five minutes, on two CPU cores: train a small ViT on scikit-learn's digits, load it as any
# checkpoint is loaded, look at its features and its attention, fit a linear probe, and fine-tune it.
# With the name of a checkpoint of the Hub as `SOURCE`, the same cells show that one.

# %%
import sys

import jax

if "google.colab" in sys.modules:
    print("installing xfm; jax stays at", jax.__version__)
    # %pip install -q "xfm[vision,hub,data,log]" "jax=={jax.__version__}"

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import xfm
from xfm.train import train

print(f"xfm {xfm.__version__}, jax {jax.__version__}, {jax.devices()}")

# %% tags=["parameters"]
SOURCE = None  # such as "facebook/dino-vits16"; None for a network that this notebook trains
STEPS = 400
TUNED = 100  # steps of the fine-tuning
WORKDIR = "runs/vision"

# %% [markdown]
# ## A network to look at
#
# A config names a paper's network and recipe as plain data. `train` writes checkpoints and a loss
# curve into a folder; run the cell again and it continues there.

# %%
config = xfm.load_config("vision/vit:tiny")
config.model.embed.channels = 1  # the digits are grey; the Hub's files say how many colours there are
config.steps, config.schedule.warmup, config.eval_every, config.save_every = STEPS, STEPS // 10, STEPS, STEPS
if SOURCE is None:
    result = train(config, WORKDIR)
    assert result.valid["loss"] < result.baseline["class shares"]

# %% [markdown]
# ## Load it
#
# `xfm.load` opens checkpoints of the Hub and runs alike. `m.processor` prepares pictures as the
# network was trained: paths, Pillow images or arrays of 8 bits.

# %%
m = xfm.load(SOURCE or WORKDIR)
data = xfm.open_data(dict(config.data.to_dict()), WORKDIR)
rows = [data.valid[i] for i in range(len(data.valid))]
labels = np.array([row["labels"] for row in rows])
levels = [np.uint8(255 * np.clip(row["images"][..., 0] * 0.5 + 0.5, 0, 1)) for row in rows]
images = m.processor(levels)
print(images.shape, images.dtype)
assert images.ndim == 4 and len(images) == len(labels)

fig, axes = plt.subplots(1, 10, figsize=(10, 1.3))
for ax, x, label in zip(axes, images, labels, strict=False):
    ax.imshow(x[..., 0], cmap="gray_r")
    ax.set(title=str(label), xticks=[], yticks=[])
fig.tight_layout()
plt.show()

# %% [markdown]
# ## Features
#
# `hidden_states` are the embedding and the output of every layer. Two principal axes of the class
# token show how far the digits lie apart after each of them.

# %%
out = m(images=images, output_hidden_states=True)
states = [np.asarray(state[:, 0]) for state in out["hidden_states"][1:]]
print("features", out["last_hidden_state"].shape, "layers", len(states))

fig, axes = plt.subplots(1, len(states), figsize=(4 * len(states), 3.6), squeeze=False)
for number, (ax, state) in enumerate(zip(axes[0], states, strict=True), 1):
    middle = state - state.mean(0)
    plane = middle @ np.linalg.svd(middle, full_matrices=False)[2][:2].T
    dots = ax.scatter(*plane.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=8)
    ax.set(title=f"layer {number}", xticks=[], yticks=[])
fig.colorbar(dots, ax=axes[0].tolist(), ticks=range(10), label="digit")
plt.show()

# %% [markdown]
# ## Attention
#
# `xfm.capture` returns what any module of the network computed, by a regex of its path. From the
# queries and keys follow the weights with which the class token reads the patches.

# %%
found = xfm.capture(m.model, {"params": m.params}, {"images": images[:6]}, r"layers/.*attention_\d+/part/[qk]")
q, k = (next(x for path, x in found.items() if path.endswith(f"/{name}")) for name in "qk")
print("queries of layers, images, tokens, heads, width:", q.shape)
weights = jax.nn.softmax(jnp.einsum("lbtnh,lbsnh->lbnts", q, k) / q.shape[-1] ** 0.5)
assert np.allclose(weights.sum(-1), 1, atol=1e-5)
side = round((weights.shape[-1] - 1) ** 0.5)
seen = np.asarray(weights[-1, :, :, 0, 1:]).reshape(6, -1, side, side)  # of the last layer's class token

heads = seen.shape[1]
fig, axes = plt.subplots(heads + 1, 6, figsize=(7, 1.2 * (heads + 1)))
for column in range(6):
    axes[0, column].imshow(images[column, ..., 0], cmap="gray_r")
    for head in range(heads):
        axes[head + 1, column].imshow(seen[column, head], cmap="viridis", vmin=0)
for ax, name in zip(axes[:, 0], ["image", *(f"head {i}" for i in range(heads))], strict=True):
    ax.set_ylabel(name)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
fig.tight_layout()
plt.show()

# %% [markdown]
# ## A linear probe
#
# Least squares on frozen features: half of the images fit the map, the other half test it. The
# pixels themselves are what it has to beat.


# %%
def probe(x, ridge=1e-1):
    """The accuracy on the second half of the rows of a linear map that is fitted on the first half."""
    x = np.c_[(x - x.mean(0)) / (x.std(0) + 1e-6), np.ones(len(x))]
    half, target = len(x) // 2, np.eye(labels.max() + 1)[labels]
    fit = np.linalg.solve(x[:half].T @ x[:half] + ridge * half * np.eye(x.shape[1]), x[:half].T @ target[:half])
    return float(((x[half:] @ fit).argmax(1) == labels[half:]).mean())


scores = {"pixels": probe(images.reshape(len(images), -1))}
scores |= {f"layer {number}": probe(state) for number, state in enumerate(states, 1)}
print({name: round(score, 3) for name, score in scores.items()})

fig, ax = plt.subplots(figsize=(5, 2.2))
ax.barh(list(scores), list(scores.values()), color="tab:blue")
ax.set(xlim=(0, 1), xlabel="accuracy of a linear probe")
ax.invert_yaxis()
fig.tight_layout()
plt.show()

# %% [markdown]
# ## Fine-tune
#
# `start` names a checkpoint or a run. The network is then the checkpoint's, its head is drawn anew,
# and each layer learns more slowly than the one above it.

# %%
tuned = xfm.load_config("vision/finetune:tiny")
tuned.model = dict(kind="pretrained", heads=config.model.heads.to_dict())
tuned.start = dict(source=SOURCE or WORKDIR, fresh=["^head_label/"])
tuned.steps, tuned.schedule = TUNED, dict(kind="cosine", peak=2e-3, warmup=TUNED // 10)
tuned.eval_every = tuned.save_every = TUNED
if SOURCE is not None:  # the digits, at the size and with the colours of that checkpoint
    tuned.data = dict(kind="images", size=images.shape[1:3], channels=images.shape[3], validation=0.2)
    tuned.augment = None
after = train(tuned, f"{WORKDIR}-tuned")
print({name: round(value, 3) for name, value in after.valid.items()})
assert after.valid["loss"] < after.baseline["class shares"]

# %% [markdown]
# ## From here
#
# * `xfm convert runs/vision-tuned FOLDER` writes the Hub's files, with a `preprocessor_config.json`.
# * `vision/finetune:B` is the whole recipe for folders of images, with RandAugment and random erasing.
# * `xfm list vision` shows the other papers.
