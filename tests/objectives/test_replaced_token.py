"""ELECTRA's pre-training: what is shared, what is sampled, where gradients go, and the two losses by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import xfm
from tests.close import assert_close
from tests.drawn import begun, drawn, loss_of
from xfm.errors import XfmError
from xfm.objectives.replaced_token import ReplacedToken, detection_loss
from xfm.spec import freeze
from xfm.vocabulary import Vocabulary

V, B, T = 50, 16, 40
VOCABULARY = Vocabulary(size=V, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


def stack(width, heads, factor=None, **embed):
    embed = dict(kind="tokens", vocab=V, width=width, factor=factor, position=dict(kind="learned", length=T), **embed)
    return dict(kind="stack", embed=embed, pattern=[dict(kind="attention", heads=2)], heads=heads)


MLM = dict(mlm=dict(kind="mlm", vocab=V, activation="gelu"))
REPLACED = dict(replaced=dict(kind="detection"))


def objective(generator=None, model=None, **fields):
    generator = generator or stack(8, MLM, factor=16)
    model = xfm.build(model or stack(16, REPLACED))
    return ReplacedToken(model=model, vocabulary=VOCABULARY, generator=freeze(generator), **fields)


def tokens(seed=0):
    return np.random.default_rng(seed).integers(5, V, (B, T)).astype(np.int32)


def started(one, **batch):
    batch = {"tokens": tokens(), **batch}
    return begun(one, batch)[0], batch


def test_both_networks_read_one_embedding():
    one = objective()
    params, batch = started(one)
    own = flatten_dict(params["generator"], sep="/")
    assert "embed/up/kernel" in own and not any("word" in path or "position" in path for path in own)
    alone = drawn(one.model, batch)["params"]
    assert jax.tree.structure({k: v for k, v in params.items() if k != "generator"}) == jax.tree.structure(alone)
    gradient = jax.jit(jax.grad(lambda p: one.loss(p, {}, batch, jax.random.key(1))[1]["generator_loss"][0]))(params)
    assert np.abs(np.asarray(gradient["embed"]["word"]["embedding"])).max() > 0
    assert np.abs(np.asarray(gradient["embed"]["position"]["table"])).max() > 0


def test_detection_teaches_the_generator_nothing():
    """No gradient passes through what was sampled: the generator's is that of its own loss, whatever the weight."""
    batch = {"tokens": tokens()}
    params, _ = begun(objective(), batch)

    def loss(params, weight):
        return objective(weight=weight).loss(params, {}, batch, jax.random.key(1))[0]

    gradient = jax.jit(jax.grad(loss))
    none, much = (jax.device_get(gradient(params, weight)) for weight in (0.0, 50.0))
    jax.tree.map(assert_close, much["generator"], none["generator"])
    assert np.abs(none["head_replaced"]["out"]["kernel"]).max() == 0
    assert np.abs(much["head_replaced"]["out"]["kernel"]).max() > 0


def test_the_losses_are_those_of_the_paper():
    """Networks that ignore their input: one always puts 7, the other always gives the same odds."""
    one = objective(rate=0.25)
    params, batch = started(one)
    params = jax.tree.map(lambda p: np.zeros(p.shape, p.dtype), params)
    params["generator"]["head_mlm"]["bias"][7] = 30.0
    params["head_replaced"]["out"]["bias"] = np.float32([-1.5])
    loss, metrics, _ = loss_of(one, params, {}, batch, jax.random.key(2))

    filled = B * 10
    assert metrics["generator_loss"][1] == filled and metrics["loss"][1] == B * T
    hits = float(metrics["generator_accuracy"][0])  # gaps that had held a 7
    replaced = filled - hits
    assert metrics["replaced"][0] == metrics["found"][1] == replaced
    assert_close(metrics["generator_loss"][0], np.float32(30.0 * replaced), rtol=1e-4)
    put, kept = np.log1p(np.exp(1.5)), np.log1p(np.exp(-1.5))
    detection = (replaced * put + (B * T - replaced) * kept) / (B * T)
    assert_close(metrics["loss"][0] / metrics["loss"][1], np.float32(detection))
    assert_close(loss, np.float32(30.0 * replaced / filled + 50.0 * detection), rtol=1e-4)


def test_detection_loss_is_the_surprise_at_the_truth():
    odds, put = jnp.array([-60.0, -2.0, 0.0, 3.0, 60.0]), jnp.array([False, True, True, False, True])
    chance = 1 / (1 + np.exp(-np.asarray(odds, np.float64)))
    assert_close(detection_loss(odds, put), -np.log(np.where(put, chance, 1 - chance)).astype(np.float32))


def test_the_model_sees_the_text_with_samples_in_it_and_no_mask():
    """What it reads differs from the text where the generator was to fill, special tokens and padding never."""
    one = objective(rate=0.3)
    batch = {"tokens": tokens(), "segments": np.broadcast_to(np.arange(T) < 30, (B, T)).astype(np.int32)}
    batch["tokens"][:, 0] = 2
    params, _ = begun(one, batch)
    gaps = jax.jit(one._gaps)(batch["tokens"], batch["segments"] > 0, jax.random.key(3))
    at, weights, seen = map(np.asarray, gaps)
    changed = seen != batch["tokens"]
    assert (seen[changed] == 4).all() and changed.sum() == weights.sum()
    assert not changed[:, 30:].any() and not changed[:, 0].any()
    _, metrics, _ = loss_of(one, params, {}, batch, jax.random.key(2))
    assert metrics["loss"][1] == B * 30 and metrics["generator_loss"][1] == B * round(0.3 * 29)
    assert 0.8 * B * 9 < metrics["replaced"][0] <= B * 9


def test_padding_moves_nothing():
    """Whatever padding holds, the generator fills the same positions and the loss is the same."""
    one = objective()
    segments = np.broadcast_to(np.arange(T) < 30, (B, T)).astype(np.int32)
    params, batch = started(one, segments=segments)
    other = {**batch, "tokens": np.where(segments > 0, batch["tokens"], 9)}
    assert_close(*(loss_of(one, params, {}, b, jax.random.key(1))[0] for b in (batch, other)))


@pytest.mark.parametrize(
    "fields,said",
    [
        (dict(split=(0.8, 0.1, 0.2)), "three shares that add up to 1"),
        (dict(generator=stack(8, REPLACED, factor=16)), "the generator needs a head 'mlm'; it has replaced"),
        (dict(model=stack(16, MLM)), "the model needs a head 'replaced'; it has mlm"),
        (dict(generator=stack(8, MLM)), "share their embedding"),
    ],
)
def test_bad_fields(fields, said):
    with pytest.raises(XfmError, match=said):
        started(objective(**fields))
