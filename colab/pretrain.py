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
# # Pre-train a small BERT
#
# On real text that every machine has: the source and docstrings of Python's standard library.
# Nothing is downloaded. Two CPU cores need some minutes; an accelerator needs less.

# %%
import sys

import jax

if "google.colab" in sys.modules:
    print("installing xfm; jax stays at", jax.__version__)
    # %pip install -q "xfm[text,log]" "jax=={jax.__version__}"

import flax
import jax.numpy as jnp
import numpy as np
from IPython.display import Image, display

import xfm
from xfm.train import train

print(f"python {sys.version.split()[0]}, xfm {xfm.__version__}")
print(f"jax {jax.__version__}, flax {flax.__version__}")
print(jax.devices())

# %% tags=["parameters"]
STEPS = 1600
WORKDIR = "runs/first"
CHANGES = []  # of the config, such as "batch=64" or "data.path=my_texts"

# %% [markdown]
# ## The config is the paper
#
# `text/bert` holds BERT and its recipe; the variant `tiny` is for small machines. Any value may be
# changed from outside, and a change that makes no sense is refused.

# %%
config = xfm.load_config("text/bert:tiny", [f"steps={STEPS}", *CHANGES])
print(xfm.describe(config))

# %% [markdown]
# ## Train
#
# First the tokeniser is trained and the text encoded; both are kept in the run's folder. Then the
# loop runs. Interrupt it and run the cell again: it goes on where it was, exactly.

# %%
result = train(config, WORKDIR)

# %% [markdown]
# The dashed line is a predictor that knows only how often each token occurs. A model that read its
# surroundings must be below it.

# %%
display(Image(filename=str(result.curve)))
print(f"validation loss {result.valid['loss']:.3f}, unigram {result.baseline['unigram']:.3f}")
assert result.step == STEPS and result.checkpoint.is_dir()
assert result.valid["loss"] < result.baseline["unigram"] - 0.05

# %%
print("\n\n".join(result.examples))
assert len(result.examples) == 5

# %% [markdown]
# ## Ask it yourself
#
# The network is a Flax module and its parameters are a dict of arrays; no loop is needed to use
# them.

# %%
data = xfm.open_data(config.data, WORKDIR)
model, params = xfm.build(config.model), result.state.params


def fill(text, shown=5):
    """The likeliest tokens in the place of ___, with their probabilities."""
    v, tokenizer = data.vocabulary, data.tokenizer
    before, after = (list(tokenizer.encode(part)) for part in text.split("___"))
    tokens = jnp.array([[v.cls, *before, v.mask, *after, v.sep]])
    scores = model.apply({"params": params}, {"tokens": tokens})["mlm"][0, 1 + len(before)]
    chances = np.asarray(jax.nn.softmax(scores))
    best = np.argsort(-chances)[:shown]
    return [(tokenizer.decode([int(i)]).strip(), round(float(chances[i]), 3)) for i in best]


for text in ("import ___", "def __init__(self, ___):", "for i in ___(10):"):
    print(f"{text:28}", *(f"{token} {chance:.0%}" for token, chance in fill(text)))

answers = fill("def __init__(self, ___):")
assert answers == sorted(answers, key=lambda answer: -answer[1]) and 0 < answers[0][1] <= 1

# %% [markdown]
# ## From here
#
# * `!xfm eval runs/first` evaluates the newest checkpoint; `runs/first/metrics.jsonl` has every
#   number.
# * `CHANGES = ["data.path=my_texts"]` and another `WORKDIR` train on a folder of your own.
# * `xfm.load_config("text/mosaicbert:tiny")` and `"sequence/mamba2_hybrid:tiny"` are other networks
#   for the same text.
