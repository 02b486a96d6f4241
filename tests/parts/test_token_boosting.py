"""Token boosting: its formula and its loss with noise, when it changes nothing, and that it removes corruption."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.close import assert_close
from xfm.context import Context
from xfm.parts.ffn.token_boosting import TokenBoosting, boosted
from xfm.sown import means

D = 6


def run(part, params, x, train, seed=0, segments=None):
    """(answer, the sown loss as (sum, count))."""
    segments = jnp.ones(x.shape[:2], int) if segments is None else segments
    ctx = Context.of({"segments": segments}, train=train)
    (y, state), sown = part.apply(
        {"params": params}, x, ctx, rngs={"dropout": jax.random.key(seed)}, mutable=["losses"]
    )
    assert state is None
    return y, means([sown["losses"]])["reconstruction"]


def params_of(hidden, up, down, noise):
    return {
        "up": {"kernel": jnp.asarray(up, jnp.float32), "bias": jnp.zeros(hidden)},
        "down": {"kernel": jnp.asarray(down, jnp.float32), "bias": jnp.zeros(D)},
        "deviation": jnp.full(D, noise),
    }


EYE = np.eye(D)
IDENTITY = np.concatenate([EYE, -EYE], 1), np.concatenate([EYE, -EYE], 0)  # relu(x) - relu(-x)
TOKENS = np.random.default_rng(0).normal(size=(3, 40, D)).astype(np.float32)


def test_an_autoencoder_that_is_the_identity_leaves_tokens_as_they_are():
    """In training the noise remains in them, of which the loss is the mean square."""
    part = TokenBoosting(hidden=2 * D, activation="relu")
    params = params_of(2 * D, *IDENTITY, noise=0.5)
    y, (total, count) = run(part, params, TOKENS, train=False)
    assert_close(y, TOKENS)
    assert float(total) < 1e-10 and count == 3 * 40
    y, (total, _) = run(part, params, TOKENS, train=True)
    noise = np.asarray(y) - TOKENS
    assert_close(np.float32(total / count), np.float32((noise**2).mean()))
    assert (
        abs(noise.mean()) < 0.06 and abs(noise.std() - 0.5) < 0.05
    )  # 720 numbers, whose deviations are 0.019 and 0.013
    assert not np.allclose(noise, np.asarray(run(part, params, TOKENS, train=True, seed=1)[0]) - TOKENS)
    still, _ = run(part, dict(params, deviation=jnp.zeros(D)), TOKENS, train=True)
    assert_close(still, TOKENS)


def test_the_formula_with_noise():
    """The noise is what an identity leaves in the tokens; each channel's is as large as its deviation."""
    rng, part = np.random.default_rng(1), TokenBoosting(hidden=5, activation="relu")
    params = params_of(5, rng.normal(size=(D, 5)), rng.normal(size=(5, D)), 0.0)
    params["deviation"] = jnp.asarray(np.linspace(0, 1, D), jnp.float32)
    same = dict(params_of(2 * D, *IDENTITY, noise=0.0), deviation=params["deviation"])
    noise = np.asarray(run(TokenBoosting(hidden=2 * D, activation="relu"), same, TOKENS, train=True)[0]) - TOKENS
    assert np.abs(noise[..., 0]).max() < 1e-6 and 0.8 < noise[..., -1].std() < 1.2
    y, (total, _) = run(part, params, TOKENS, train=True)
    up, down = np.asarray(params["up"]["kernel"]), np.asarray(params["down"]["kernel"])
    estimate = np.maximum((TOKENS + noise) @ up, 0) @ down
    assert_close(y, 2 * estimate - (TOKENS + noise), rtol=3e-5)  # the noise is a difference of rounded numbers
    assert_close(total, np.float32(((estimate - TOKENS) ** 2).mean(-1).sum()), rtol=3e-5)
    slope = jax.grad(lambda p: run(part, p, TOKENS, train=True)[0].sum())(params)["deviation"]
    assert np.isfinite(slope).all() and np.abs(slope).min() > 0


def test_padding_has_no_loss():
    part, segments = TokenBoosting(hidden=4), np.tile(np.arange(40) < 30, (3, 1)).astype(np.int32)
    params = part.init(jax.random.key(0), TOKENS, Context.of({"segments": segments}))["params"]
    wrong = np.where(segments[..., None] > 0, TOKENS, np.nan)
    found, known = (run(part, params, x, train=False, segments=segments)[1] for x in (wrong, TOKENS))
    assert found[1] == 90 and np.isfinite(found[0])
    assert_close(found[0], known[0])


def test_twice_the_best_estimate_less_what_it_is_of_is_the_best_estimate_of_what_is_reliable():
    """Of normally distributed numbers, by their covariances alone: features of variance 2, noise of variance 0.5."""
    reliable, noise = 2.0, 0.5
    of_tokens = (reliable + noise) / (reliable + 2 * noise)  # E[F | I] = this times I
    of_reliable = reliable / (reliable + 2 * noise)
    assert boosted(1.0, of_tokens) == pytest.approx(of_reliable)


def test_it_removes_noise_that_is_distributed_as_its_own():
    """Trained by its own loss alone, which never sees clean tokens; what is left is below what was there.

    Tokens lie in a plane of six dimensions, and the noise that is added has the size of the unknown one.
    """
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2, D)) / np.sqrt(2)
    clean = (rng.normal(size=(8, 100, 2)) @ plane).astype(np.float32)
    noisy = clean + 0.5 * rng.normal(size=clean.shape).astype(np.float32)
    part = TokenBoosting(hidden=12, activation="tanh", noise=0.5)
    params = part.init(jax.random.key(0), noisy, Context.of({"segments": jnp.ones((8, 100), int)}))["params"]
    optimiser = optax.adam(0.02)

    def loss(params, seed):
        total, count = run(part, params, noisy, train=True, seed=seed)[1]
        return total / count

    def step(carry, seed):
        params, state = carry
        gradient = jax.grad(loss)(params, seed)
        updates, state = optimiser.update(dict(gradient, deviation=jnp.zeros(D)), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(300)))((params, optimiser.init(params)))
    left = np.mean([(np.asarray(run(part, params, noisy, True, seed)[0]) - clean) ** 2 for seed in range(3)])
    kept = np.mean((np.asarray(run(part, params, noisy, False)[0]) - clean) ** 2)
    assert left < 0.8 * ((noisy - clean) ** 2).mean() and kept < 0.8 * ((noisy - clean) ** 2).mean()
