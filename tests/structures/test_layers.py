"""What a structure says of itself: where its sublayers keep their parameters, and which ids its tables hold."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import xfm
from tests.structures.examples import EMBED, MLP, NETWORKS, TOKENS, batch_of, spec_of
from xfm.catalogue import check
from xfm.configs.text import bert
from xfm.parts.embed import EMBEDS
from xfm.paths import flatten
from xfm.structures import STRUCTURES


@pytest.mark.parametrize("kind", STRUCTURES)
def test_layers_are_where_the_parameters_are(kind):
    """Each layer's module is there, with repeats where it says so, and no parameter of a sublayer is anywhere else."""
    _, names = NETWORKS[kind]
    heads = dict(heads=dict(label=dict(kind="vector"))) if kind == "towers" else {}
    model = xfm.build(spec_of(kind, embed=EMBED, **heads))
    layers = model.sublayers()
    assert [f"{one.path}:{one.index}" if one.stacked else one.path for one in layers] == names.split()
    params = flatten(jax.eval_shape(model.init, jax.random.key(0), batch_of(kind, TOKENS))["params"])
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
