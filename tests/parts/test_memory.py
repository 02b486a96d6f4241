"""Cross-attention: what `Attention(memory=...)` reads, in packed rows and in streams, and what it refuses."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn, noise, run, shapes
from xfm.context import Context, Mask, Memory
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, T, S, D, E, N, H = 2, 7, 10, 12, 8, 2, 6
QUERIES = jnp.array([[1] * 3 + [2] * 3 + [0], [2] * T])
KEYS = jnp.array([[2] * 4 + [0] + [1] * 3 + [0] * 2, [2] * S])
HEARD = jnp.ones((B, S), bool).at[:, 2].set(False)


def stream(length, width, seed=0):
    return jax.random.normal(jax.random.key(seed), (B, length, width))


def attention(**fields):
    return build(SLOTS["mixer"], dict(kind="attention", heads=N, width=H, memory="text", **fields))


def test_cross_attention_equals_its_formula():
    """Keys are the memory's, of the query's segment and not those that only attend, whatever the stream's mask."""
    x, read = stream(T, D), stream(S, E, seed=1)
    filled = jnp.where((KEYS > 0)[..., None], read, jnp.nan)
    memory = Context(segments=KEYS, heard=HEARD).remember("text", filled).memory
    ctx, mixer = Context(segments=QUERIES, memory=memory, mask=Mask.causal()), attention(kv_heads=1)
    params = drawn(mixer, x, ctx, by=0.3)
    y, state = run(mixer, params, x, ctx)
    p = jax.tree.map(np.asarray, params["params"])
    q, k, v = (
        np.einsum("btd,dnh->btnh", a, p[name]["kernel"]) + p[name]["bias"]
        for name, a in (("q", x), ("k", np.asarray(read)), ("v", np.asarray(read)))
    )
    for b, t in np.argwhere(np.asarray(QUERIES) > 0):
        own = np.flatnonzero((np.asarray(KEYS)[b] == QUERIES[b, t]) & np.asarray(HEARD)[b])
        scores = np.exp(np.einsum("nh,sh->ns", q[b, t], k[b, own, 0]) / np.sqrt(H))
        heads = scores / scores.sum(-1, keepdims=True) @ v[b, own, 0]
        assert_close(y[b, t], np.einsum("nh,nhd->d", heads, p["o"]["kernel"]) + p["o"]["bias"])
    assert state is None
    answer = lambda params: jnp.where(QUERIES[..., None] > 0, mixer.apply(params, x, ctx)[0], 0).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(answer))(params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_queries_and_memory_have_positions_of_their_own():
    """Of a rotary position only the difference counts: moving both moves nothing, moving one does."""
    x, mixer, here, there = stream(T, D), attention(position=dict(kind="rope")), jnp.arange(T), jnp.arange(S)

    def ctx(move, shift):
        memory = Memory(stream(S, E, seed=1), positions=jnp.broadcast_to(there + shift, (B, S)))
        return Context(positions=jnp.broadcast_to(here + move, (B, T)), memory={"text": memory})

    params = drawn(mixer, x, ctx(0, 0), by=0.3)
    y = run(mixer, params, x, ctx(0, 0))[0]
    assert_close(run(mixer, params, x, ctx(5, 5))[0], y, rtol=1e-4)
    assert jnp.abs(run(mixer, params, x, ctx(0, 5))[0] - y).max() > 1e-3


def test_a_stream_reads_the_same_memory_piece_by_piece():
    x, mixer = stream(6, D), attention(position=dict(kind="rope"))
    ctx = Context(memory={"text": Memory(stream(S, E, seed=1))}, mask=Mask.causal())
    params, state, ys, step = drawn(mixer, x, ctx), mixer.init_state(B, 6, D), [], jax.jit(mixer.apply)
    for part in (slice(0, 3), slice(3, 6)):
        y, state = step(params, x[:, part], ctx, state)
        ys.append(y)
    assert_close(jnp.concatenate(ys, axis=1), run(mixer, params, x, ctx)[0])
    assert state["held"] == 6


def test_a_memory_that_nobody_made_is_refused():
    def read(memory, **fields):
        jax.eval_shape(attention(**fields).init, jax.random.key(0), stream(T, D), Context(memory=memory))

    with pytest.raises(
        SpecError, match="attention reads the memory 'text', which nobody made; the memories here: none;"
    ):
        read({})
    made = {"texts": Memory(stream(S, E)), "image": Memory(stream(S, E))}
    with pytest.raises(
        SpecError, match=r"nobody made \(did you mean 'texts'\?\); the memories here: image, texts; Con"
    ):
        read(made)
    with pytest.raises(SpecError, match="to the memory 'text' has neither a window nor a sight, .*; leave both out"):
        read({"text": made["texts"]}, window=3)


def test_disentangled_attention_reads_memories_of_its_own_row_only():
    table = dict(kind="relative_table", span=6, width=D)
    mixer = build(SLOTS["mixer"], dict(kind="disentangled", heads=2, memory="text", position=table))
    for memory, said in (
        (
            {"text": Memory(stream(S, D))},
            r"a memory of shape \(2, 10, 12\) does not stand for a stream of shape \(2, 7, 12",
        ),
        ({}, "disentangled attention reads the memory 'text', which nobody made"),
    ):
        with pytest.raises(SpecError, match=said):
            jax.eval_shape(mixer.init, jax.random.key(0), stream(T, D), Context(memory=memory))


class WithText(nn.Module):
    """An embedding of batch["x"] that remembers batch["text"], as a decoder finds its encoder's tokens."""

    width: int = D

    def __call__(self, batch, ctx):
        return batch["x"], ctx.remember("text", batch["text"])


def test_repeated_layers_read_a_memory(monkeypatch):
    """Under scan and remat, with gradients to the memory; each layer has maps of its own."""
    monkeypatch.setitem(SLOTS["embed"], "with_text", WithText)
    cross = dict(kind="attention", heads=N, memory="text")
    spec = dict(kind="stack", embed=dict(kind="with_text"), pattern=[cross], repeats=2, dtype="float32")
    batch = dict(x=stream(T, D), text=stream(S, E, seed=1))
    params = noise(shapes(xfm.build(spec), batch))
    assert params["params"]["layers"]["attention_0"]["part"]["k"]["kernel"].shape == (2, E, N, D // N)

    def answer(remat):
        model = xfm.build(dict(spec, remat=remat))

        @jax.jit
        def of(text):
            return jnp.square(model.apply(params, dict(batch, text=text))["hidden"]).sum()

        return jax.value_and_grad(of)(batch["text"])

    y, gradient = answer("none")
    assert_close(answer("full"), (y, gradient))
    one = jax.tree.map(lambda a: a[0], params["params"]["layers"]["attention_0"]["part"])
    two = jax.tree.map(lambda a: a[1], params["params"]["layers"]["attention_0"]["part"])
    layer, x = build(SLOTS["mixer"], cross), batch["x"]
    ctx = Context().remember("text", batch["text"])
    for own in (one, two):
        x = x + run(layer, {"params": own}, x, ctx)[0]
    assert_close(y, jnp.square(x).sum())
    assert jnp.abs(gradient).min() > 0
