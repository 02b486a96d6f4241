"""What padding holds reaches no token and no parameter of a whole network, and is zeroed once, not in each layer."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import noise, shapes
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.plan.flops import inner
from xfm.spec import build

T, D = 12, 16
SEGMENTS = jnp.array([[1] * 5 + [2] * 4 + [0] * 3, [0, 0] + [1] * 10, [0] * T])
REAL = (SEGMENTS > 0)[..., None]
TOKENS = jnp.arange(3 * T).reshape(3, T) % 11
NORM = dict(kind="layernorm")
EMBED = dict(kind="tokens", vocab=11, width=D, types=2, norm=NORM, position=dict(kind="learned", length=T))
TABLE = dict(kind="relative_table", span=6, width=D)
MLP = dict(kind="mlp", hidden=24)
HEADS = {
    "late": dict(
        kind="enhanced_mlm", mixer=dict(kind="disentangled", heads=2, memory="memory", position=TABLE),
        ffn=MLP, head=dict(kind="mlm", vocab=11), length=T,
    ),
    "tags": dict(kind="ffn", ffn=MLP, head=dict(kind="tagging", classes=3)),
    "label": dict(kind="classification", classes=3, pool=dict(kind="attention", heads=2)),
    "last": dict(kind="vector", pool=dict(kind="dense", norm=NORM, pool=dict(kind="last"))),
}  # fmt: skip
PATTERN = [
    dict(part=dict(kind="attention", heads=2, qk_norm=dict(kind="rmsnorm")), norms={"in": NORM, "residual": NORM}),
    dict(part=MLP, residual=dict(kind="scaled", learn="channel"), norms={"out": NORM}),
]
CONVOLVED = dict(part=MLP, residual=dict(kind="convolved", width=3))
NETWORKS = {
    "stack": dict(kind="stack", pattern=PATTERN, epilogue=[CONVOLVED], norm=NORM, out=D, heads=HEADS),
    "funnel": dict(
        kind="funnel",
        pattern=[dict(kind="pooled_relative", heads=2, reads="before"), MLP],
        blocks=[1, 1],
        norms={"out": NORM},
    ),
    "hourglass": dict(kind="hourglass", pattern=PATTERN, before=PATTERN[:1], rate=2, heads={"tags": HEADS["tags"]}),
}


class Filled(nn.Module):
    """Kind "tokens", but batch["filling"] in padding."""

    width: int = D

    @nn.compact
    def __call__(self, batch: Mapping, ctx: Context):
        x, ctx = build(SLOTS["embed"], EMBED, name="tokens")(batch, ctx)
        return jnp.where(ctx.real(x)[..., None], x, batch["filling"]), ctx


def answers(model, params, batch):
    """What the network gives, but in padding, and the gradients of a loss over that."""

    def loss(params):
        out = model.apply({"params": params}, batch)
        out = [y for name, y in sorted(out.items()) if name != "coarse"]
        out = [jnp.where(REAL.reshape(3, T, *[1] * (y.ndim - 2)), y, 0) if y.shape[:2] == (3, T) else y for y in out]
        return sum((y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum() for y in out), out

    return jax.grad(loss, has_aux=True)(params)


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_may_hold_anything(name, monkeypatch):
    """NaN and infinity after the embedding, and ids, types and positions in it that no table has a row for.

    The answers are those with zeros there, and so are the gradients of norms, maps, gates, pools, heads and tables.
    """
    monkeypatch.setitem(SLOTS["embed"], "filled", Filled)
    model = xfm.build(dict(NETWORKS[name], embed=dict(kind="filled"), dtype="float32"))
    real, text = SEGMENTS > 0, name == "funnel"  # whose padding has a position and a type as text has

    def batch(other, filling):
        given = dict(tokens=TOKENS, types=TOKENS % 2, positions=jnp.broadcast_to(jnp.arange(T), (3, T)))
        given |= {n: jnp.where(real, a, other) for n, a in given.items() if n == "tokens" or not text}
        return given | dict(segments=jnp.minimum(SEGMENTS, 1) if text else SEGMENTS, filling=filling)

    params = noise(shapes(model, batch(0, 0.0))["params"])
    run = jax.jit(lambda params, other, filling: answers(model, params, batch(other, filling)))
    expected = run(params, 0, 0.0)
    for other, filling in ((10**6, 0.0), (0, jnp.nan), (0, jnp.inf)):
        assert_close(run(params, other, filling), expected, rtol=0)


def test_layers_do_not_zero_padding_again():
    """Once is enough, whatever the depth: no layer and no head of a stack selects among the numbers of the stream."""
    model = xfm.build(dict(kind="stack", embed=EMBED, pattern=PATTERN, norm=NORM, heads=HEADS))
    batch = dict(tokens=TOKENS, types=TOKENS % 2, segments=SEGMENTS)
    params = jax.eval_shape(model.init, jax.random.key(0), batch)

    def selects(jaxpr):
        here = [e for e in jaxpr.eqns if e.primitive.name == "select_n" and e.outvars[0].aval.shape == (3, T, D)]
        return len(here) + sum(selects(sub) for eqn in jaxpr.eqns for sub, _ in inner(eqn))

    found = selects(jax.make_jaxpr(lambda p: model.apply(p, batch))(params).jaxpr)
    assert found == 2  # before the embedding's norm, and after the embedding
