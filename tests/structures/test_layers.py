"""What a structure says of itself: where its sublayers keep their parameters, and which ids its tables hold."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import xfm
from xfm.catalogue import check
from xfm.configs.text import bert
from xfm.parts.embed import EMBEDS
from xfm.paths import flatten
from xfm.structures import STRUCTURES

MLP, ATTENTION = dict(kind="mlp", hidden=8), dict(kind="attention", heads=2)
TOKENS = {"tokens": jnp.zeros((1, 8), jnp.int32)}
EMBED = dict(kind="tokens", vocab=7, width=8, types=3, position=dict(kind="learned", length=12, first=2))
# A network of each kind; what its layers are called, in the order of the run.
NETWORKS = {
    "stack": (
        dict(prologue=[MLP], pattern=[ATTENTION, MLP], repeats=2, epilogue=[MLP]),
        "prologue/mlp_0 layers/attention_0:0 layers/mlp_1:0 layers/attention_0:1 layers/mlp_1:1 epilogue/mlp_0",
    ),
    "funnel": (
        dict(blocks=[1, 2], decoder=1, pattern=[MLP]),
        "block_0/layers/mlp_0:0 block_1/first/mlp_0 block_1/layers/mlp_0:0 decoder/layers/mlp_0:0",
    ),
    "hourglass": (
        dict(before=[MLP], pattern=[dict(part=[ATTENTION, MLP])], repeats=2, after=[MLP]),
        "before/mlp_0 layers/attention_mlp_0:0 layers/attention_mlp_0:1 after/mlp_0",
    ),
    "pyramid": (
        dict(stages=[dict(pattern=[MLP], repeats=2), dict(pattern=[ATTENTION, MLP])]),
        "stage_0/layers/mlp_0:0 stage_0/layers/mlp_0:1 stage_1/layers/attention_0:0 stage_1/layers/mlp_1:0",
    ),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_layers_are_where_the_parameters_are(kind):
    """Each layer's module is there, with repeats where it says so, and no parameter of a sublayer is anywhere else."""
    spec, names = NETWORKS[kind]
    model = xfm.build(dict(kind=kind, embed=EMBED) | spec)
    layers = model.layers()
    assert [f"{one.path}:{one.index}" if one.stacked else one.path for one in layers] == names.split()
    params = flatten(jax.eval_shape(model.init, jax.random.key(0), TOKENS)["params"])
    repeats = {one.path: max(other.index for other in layers if other.path == one.path) + 1 for one in layers}
    sublayers = {path: leaf for path, leaf in params.items() if "/part/" in path or "/part_" in path}
    for path, leaf in sublayers.items():
        (layer,) = {one.path for one in layers if path.startswith(f"{one.path}/")}
        assert not next(one for one in layers if one.path == layer).stacked or leaf.shape[0] == repeats[layer]
    assert {one.path for one in layers} == {
        one.path for one in layers if any(p.startswith(one.path) for p in sublayers)
    }


def test_ids_and_lengths_are_the_embeddings():
    model = xfm.build(dict(kind="stack", embed=EMBED, pattern=[MLP]))
    assert model.ids() == {"tokens": (0, 7), "types": (0, 3), "positions": (-2, 10)}
    assert (model.vocab, model.types, model.most()) == (7, 3, 10)
    questions = xfm.build(dict(kind="stack", embed=dict(kind="questions", vocab=7, width=8), pattern=[MLP]))
    assert questions.ids() == {"tokens": (0, 7)} and questions.types is None and questions.most() is None


class Stations(nn.Module):
    """An embedding whose fields are called as those of others are, and mean something else."""

    whole_row = None

    position: str
    types: tuple[str, ...]
    width: int = 8

    @nn.nowrap
    def row(self, length=None):
        return {"tokens": ((length or 8,), jnp.int32)}

    @nn.compact
    def __call__(self, batch, ctx):
        return nn.Embed(100, self.width, name="word")(batch["tokens"]), ctx


def test_an_embedding_of_a_new_kind_is_described_and_accepted(monkeypatch):
    monkeypatch.setitem(EMBEDS, "stations", Stations)
    config = bert.get_config("tiny")
    config.objective.pairs = "none"
    config.model = dict(
        kind="stack",
        embed=dict(kind="stations", position="north", types=["slow", "fast"]),
        pattern=[MLP],
        heads=dict(mlm=dict(kind="mlm", vocab=100, table="own")),
    )
    config.data.tokenizer.size = 100
    config.init = []
    assert xfm.describe(config).parameters > 0
    check(config)
    model = xfm.build(config.model)
    assert (model.ids(), model.types, model.vocab, model.most()) == ({}, None, None, None)
