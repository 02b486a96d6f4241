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
# # First steps with xfm
#
# In ten minutes: a network from a few lines of data, its output, a look inside, a training step
# without any loop, and the same step on eight devices. No data is loaded, no accelerator is needed.

# %%
import sys

import jax

if "google.colab" in sys.modules:
    print("installing xfm; jax stays at", jax.__version__)
    # %pip install -q "xfm[text,log]" "jax=={jax.__version__}"

import flax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import xfm
from xfm.sharding import TENSOR

# This notebook stays on the CPU, which plays eight devices. Both must be said before JAX is used.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

print(f"python {sys.version.split()[0]}, xfm {xfm.__version__}")
print(f"jax {jax.__version__}, flax {flax.__version__}")
print(jax.devices())

# %% [markdown]
# ## A network is data
#
# Slots are filled by small parts, and `kind` names the part. `pattern` is one period of layers; it
# is compiled once however often it repeats.

# %%
norm = dict(kind="layernorm")
spec = dict(
    kind="stack",
    embed=dict(kind="tokens", vocab=64, width=32),
    pattern=[
        dict(kind="attention", heads=4, position=dict(kind="rope")),
        dict(kind="mlp", hidden=64),
    ],
    repeats=3,
    norms={"in": norm},  # before each part: pre-norm
    norm=norm,  # after the last layer
    heads=dict(mlm=dict(kind="mlm", vocab=64)),
)
model = xfm.build(spec)

# %% [markdown]
# What you get is a plain Flax Linen module: `init` makes parameters, `apply` runs it. `jax.jit`
# compiles each as a whole, which is far quicker than one operation at a time. A batch is a dict of
# arrays; in this one every row counts upwards from a number of its own.

# %%
batch = {"tokens": 5 + (7 * jnp.arange(8)[:, None] + jnp.arange(16)) % 59}
variables = jax.jit(model.init)(jax.random.key(0), batch)
apply = jax.jit(model.apply)
out = apply(variables, batch)

print({name: array.shape for name, array in out.items()})
print(xfm.describe(dict(model=spec, data=dict(length=16))))
assert out["hidden"].shape == (8, 16, 32) and out["mlm"].shape == (8, 16, 64)

# %% [markdown]
# A mistake is answered in one sentence, with the nearest legal name.

# %%
try:
    xfm.build({**spec, "repeat": 3})
except xfm.XfmError as error:
    print(error)
    assert "did you mean 'repeats'" in str(error)

# %% [markdown]
# ## Packing and padding are one mechanism
#
# `segments` says which text of the row a token belongs to; 0 is padding. Two texts in one row give
# what each gives alone.

# %%
packed = {"tokens": batch["tokens"], "segments": jnp.array([[1] * 6 + [2] * 7 + [0] * 3] * 8)}
second = {"tokens": batch["tokens"][:, 6:13]}
in_a_row = apply(variables, packed)["hidden"][:, 6:13]
alone = apply(variables, second)["hidden"]
np.testing.assert_allclose(in_a_row, alone, atol=1e-5)

# %% [markdown]
# ## A look inside
#
# Outputs are captured by the path that the parameters have. The repeated layers come together,
# along a leading axis of depth.

# %%
seen = xfm.capture(model, variables, batch, "embed|layers/[^/]*")
for path, array in seen.items():
    print(f"{path:22} {array.shape}")

stream = jnp.concatenate([seen["embed"][None], seen["layers/mlp_1"]])
print("size of the stream, from the bottom up:", jnp.sqrt(jnp.square(stream).mean((1, 2, 3))))
assert stream.shape == (1 + 3, 8, 16, 32)

# %% [markdown]
# ## A loss, and a training step without a loop
#
# An objective is a loss over a network. This one hides tokens and asks for them; which ones follows
# from the key. `make_step` joins it with any Optax optimiser. The state that a step is given is
# donated: use the one that it returns.

# %%
vocabulary = xfm.Vocabulary(size=64, mask=4, special=(0, 1, 2, 3, 4))
config = dict(model=spec, objective=dict(kind="masked_lm", rate=0.3))
objective = xfm.build_objective(config, vocabulary)
optimiser = optax.adamw(1e-2)


@jax.jit
def fresh_state():
    return xfm.new_state(objective, optimiser, jax.random.key(1), batch, ema=None)


state, losses = fresh_state(), []
step = xfm.make_step(objective, optimiser)
for _ in range(100):
    state, metrics = step(state, batch)
    total, count = metrics["loss"]  # such pairs add up exactly over batches and devices
    losses.append(float(total / count))

print(f"loss {losses[0]:.3f} at first, {np.mean(losses[-5:]):.3f} at last")
assert np.mean(losses[-5:]) < 0.7 * losses[0]

# %% [markdown]
# ## The same step on eight devices
#
# Where a parameter lives is decided by rules on its path. Here four devices share the rows of the
# batch, and two share the heads and the hidden units. The numbers stay the same; the compiler adds
# the communication.

# %%
mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
sharded_state = xfm.shard_state(fresh_state(), mesh, TENSOR)
sharded_batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))

kernel = sharded_state.params["layers"]["mlp_1"]["part"]["up"]["kernel"]
print(f"{kernel.shape} is held in pieces of {kernel.sharding.shard_shape(kernel.shape)}")
assert kernel.sharding.shard_shape(kernel.shape) == (3, 32, 32)

# %%
state, one = step(fresh_state(), batch)
sharded_state, eight = step(sharded_state, sharded_batch)
for name in ("loss", "grad_norm"):
    (total, count), (total_of_eight, _) = one[name], eight[name]
    print(f"{name}: {total / count:.6f} on one device, {total_of_eight / count:.6f} on eight")
    np.testing.assert_allclose(total, total_of_eight, rtol=1e-5)
assert len(eight["loss"][0].sharding.device_set) == 8

# %% [markdown]
# ## From here
#
# * `pretrain`, the other notebook, trains a small BERT on real text with the loop.
# * `xfm.load_config("text/bert:base")` is a published network and its recipe; `xfm list` shows all.
# * To add a part or a paper of your own, read CONTRIBUTING.md.
