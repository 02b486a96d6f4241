"""What a context is made of."""

import jax.numpy as jnp

from xfm.context import Context


def test_what_a_caller_shares_stands_beside_the_batch():
    given = jnp.ones((1, 3))
    ctx = Context.of({"global": jnp.array([[1, 0]])}, shared={"memory": given})
    assert ctx.shared.keys() == {"global", "memory"} and ctx.shared["memory"] is given
    assert Context.of({}, shared={"memory": given}, train=True).shared.keys() == {"memory"}
