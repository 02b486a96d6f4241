"""One training step and one evaluation step, each a jitted function; usable without the loop."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from xfm.batch import part_of, prefixes
from xfm.objectives.base import total
from xfm.paths import flatten, map_by_path, require_matches
from xfm.sharding import on_mesh
from xfm.train import statistics
from xfm.train.optimiser import Optimiser
from xfm.train.state import State

AUGMENT = 2**31 - 2  # folded into a step's key, for numbers that no microbatch draws
Metrics = dict[str, tuple[Float[Array, ""], Float[Array, ""]]]  # name -> (sum, count)


def make_step(
    objective,
    optimiser,
    *,
    accumulate: int = 1,
    ema: float | None = None,
    augment: Callable[[dict, Array, Array], dict] | None = None,
    norms: Mapping[str, str] = MappingProxyType({}),
    sharding: Any = None,
) -> Callable[[State, dict], tuple[State, Metrics]]:
    """step(state, batch) -> (state, metrics); the given state is donated.

    objective: anything with an Objective's init and loss, with `all_terms` if the loss has other terms than metric
    "loss", and with `after_update` if something follows the parameters.
    optimiser: anything with Optax's init and update; an `Optimiser` has the learning rate of the state's step.
    accumulate: microbatches, run one after another. Each term is divided by its count over the whole batch, so that the
    gradient is that of the whole batch's loss.
    ema: decay of the average of parameters, if the state has one.
    augment: (batch, rng, step) -> the batch that the objective sees, such as `xfm.augment.Augment`.
    norms: name -> regex of parameters whose gradient's norm is the metric grad_norm/NAME.
    sharding: tree of the new state's shardings.

    If the loss or the gradient's norm is not finite, only the step number changes: metric "skipped" is 1 and all others
    are empty. Beside the objective's metrics there are "loss", "grad_norm", "skipped" and the number of real "tokens"
    (or "examples") in the batch, and for text also "padding", the share of padding in the computed positions.
    """
    after_update = getattr(objective, "after_update", lambda params, extra, step: extra)
    frozen = getattr(optimiser, "frozen", frozenset())
    ours = isinstance(optimiser, Optimiser)
    update = optimiser.update if ours else optax.with_extra_args_support(optimiser).update

    def loss_of(params, extra, batch, rng, number):
        params = map_by_path(lambda p, x: jax.lax.stop_gradient(x) if p in frozen else x, params)
        loss, metrics, extra = objective.loss(params, extra, batch, rng, step=number, train=True)
        return loss, (_with_loss(metrics, loss), extra)

    def step(state: State, batch: dict) -> tuple[State, Metrics]:
        """The state after an update from the batch, and the batch's metrics; `state` is donated."""
        rng = jax.random.fold_in(state.rng, state.step)
        if augment is not None:
            batch = augment(batch, jax.random.fold_in(rng, AUGMENT), state.step)
        if accumulate == 1:
            gradient = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (metrics, extra)), grads = gradient(state.params, state.extra, batch, rng, state.step)
        else:
            terms = getattr(objective, "all_terms", {"loss": 1.0})
            loss, metrics, extra, grads = _accumulated(loss_of, terms, state, batch, rng, accumulate)
        metrics, moved = statistics.apart(metrics)
        norm = optax.tree.norm(grads)
        parts = {f"grad_norm/{name}": (_norm_of(regex, grads), 1.0) for name, regex in norms.items()}
        updates, opt_state = update(grads, state.opt_state, state.params, step=state.step)
        params = statistics.written(optax.apply_updates(state.params, updates), moved, frozen)
        extra = after_update(params, extra, state.step)
        average = state.ema
        if average is not None:
            average = map_by_path(lambda path, a, p: p if path in frozen else ema * a + (1 - ema) * p, average, params)

        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        new = State(state.step, params, opt_state, extra, average, state.rng)
        new = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, state)
        metrics = {**metrics, "grad_norm": (norm, 1.0), **parts, **_size(batch)}
        metrics = jax.tree.map(lambda m: jnp.where(good, m, 0.0).astype(jnp.float32), metrics)
        metrics["skipped"] = (1.0 - good.astype(jnp.float32), jnp.float32(1.0))
        return new.replace(step=state.step + 1), metrics

    out = None if sharding is None else (sharding, None)
    return jax.jit(on_mesh(_mesh_of(sharding), step), donate_argnums=0, out_shardings=out)


def make_eval(objective, mesh: jax.sharding.Mesh | None = None) -> Callable[..., Metrics]:
    """evaluate(params, extra, batch, rng, step=0) -> metrics, without dropout and the like; `extra` does not change.

    mesh: the one that the parameters and batches are on.
    """

    def evaluate(params, extra, batch, rng, step=0):
        """The metrics of a batch.  step: the number of updates before it."""
        loss, metrics, _ = objective.loss(params, extra, batch, rng, step=step, train=False)
        return _with_loss(metrics, loss)

    return jax.jit(on_mesh(mesh, evaluate))


def _norm_of(regex: str, grads: Any) -> Float[Array, ""]:
    """The norm of the gradient of the parameters in whose paths the regex is found; XfmError if there is none."""
    leaves = flatten(grads)
    require_matches("norms", [regex], leaves)
    return optax.tree.norm([leaf for path, leaf in leaves.items() if re.search(regex, path)])


def _mesh_of(sharding: Any) -> jax.sharding.Mesh | None:
    """The mesh of a tree of shardings."""
    return next((leaf.mesh for leaf in jax.tree.leaves(sharding)), None)


def _accumulated(loss_of, terms, state, batch, rng, accumulate):
    """Loss, metrics, extra and gradient of the whole batch, computed over microbatches.

    Microbatch i holds the rows i, i + accumulate, …, so that each device divides its own rows, whatever the number of
    devices.
    """
    dealt = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, accumulate, *x.shape[1:]), 0, 1), batch)
    parts = dealt, jnp.arange(accumulate)

    def of(params, extra, part):
        rows, index = part
        return loss_of(params, extra, rows, jax.random.fold_in(rng, index), state.step)[1]

    def counted(_, part):
        metrics, _ = of(state.params, state.extra, part)
        return None, {name: metrics[name][1] for name in terms}

    # The counts do not depend on parameters, so the compiler removes the networks from this pass.
    counts = jax.tree.map(lambda x: x.sum(0), jax.lax.scan(counted, None, parts)[1])

    def share(params, extra, part):
        metrics, extra = of(params, extra, part)
        return total({name: (metrics[name][0], counts[name]) for name in terms}, terms), (metrics, extra)

    def one(carry, part):
        extra, loss, grads = carry
        (own, (metrics, extra)), grad = jax.value_and_grad(share, has_aux=True)(state.params, extra, part)
        return (extra, loss + own, jax.tree.map(jnp.add, grads, grad)), metrics

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (extra, loss, grads), metrics = jax.lax.scan(one, (state.extra, jnp.float32(0.0), zeros), parts)
    return loss, jax.tree.map(lambda m: m.sum(0), metrics), extra, grads


def _with_loss(metrics: Metrics, loss: Float[Array, ""]) -> Metrics:
    """The metrics as float32, with the loss among them, of count 1 if the objective has no metric "loss"."""
    metrics = {"loss": (loss, 1.0), **metrics}
    return jax.tree.map(lambda m: jnp.asarray(m, jnp.float32), metrics)


def _size(batch: dict) -> Metrics:
    """How much the batch holds: tokens that are not padding, and how many positions are computed; or examples."""
    parts = [part_of(batch, prefix) for prefix in prefixes(batch)]
    texts = [part for part in parts if "segments" in part or "tokens" in part]
    if texts:
        positions = float(sum(part.get("cells", _text(part)).size for part in texts))
        real = sum((part["segments"] > 0).sum() if "segments" in part else part["tokens"].size for part in texts)
        return {"tokens": (real, 1.0), "padding": (positions - real, positions)}
    return {"examples": (jax.tree.leaves(batch)[0].shape[0], 1.0)}


def _text(part: dict) -> Array:
    return part["segments"] if "segments" in part else part["tokens"]
