"""What a context is made of."""

import jax.numpy as jnp

from xfm.context import Context


def test_what_a_caller_shares_stands_beside_the_batch():
    given = jnp.ones((1, 3))
    ctx = Context.of({"global": jnp.array([[1, 0]])}, shared={"memory": given})
    assert ctx.shared.keys() == {"global", "memory"} and ctx.shared["memory"] is given
    assert Context.of({}, shared={"memory": given}, train=True).shared.keys() == {"memory"}


def test_some_tokens_may_listen_without_being_heard():
    heard, x = jnp.array([[1, 1, 0, 0]]), jnp.zeros((1, 4, 2))
    ctx = Context.of({"heard": heard})
    assert [a.tolist() for a in ctx.segments] == [[[1] * 4], heard.tolist()] and ctx.real(x).all()
    ctx = Context.of({"heard": heard, "segments": jnp.array([[1, 2, 2, 0]])})
    assert [a.tolist() for a in ctx.segments] == [[[1, 2, 2, 0]], [[1, 2, 0, 0]]]
    assert ctx.real(x).tolist() == [[True, True, True, False]] and ctx.positions.tolist() == [[0, 0, 1, 0]]
