"""Position parts alone against transformers: T5 buckets, ALiBi, rotary, sines of a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden import close, load
from xfm.context import Context
from xfm.kernels.attention import Buckets, attention
from xfm.parts.position import POSITIONS

GOLDEN = load("positions")


@pytest.mark.parametrize("buckets, reach", [(32, 128), (20, 50)])
@pytest.mark.parametrize("sides", [1, 2])
def test_buckets_equal_t5(buckets, reach, sides):
    """Every distance to 400 either way, in the very same bucket."""
    mine = Buckets(jnp.zeros((buckets, 1)), reach, sides).bucket(jnp.asarray(GOLDEN["t5/ahead"]))
    np.testing.assert_array_equal(mine, GOLDEN[f"t5/buckets/{buckets}/{reach}/{sides}"])


def test_attention_with_buckets_equals_t5():
    w, x = GOLDEN.of("t5/attention/weight/"), GOLDEN["t5/attention/x"]
    position = POSITIONS["relative_buckets"](buckets=12, reach=18, sides=2)
    params = {"table": jnp.asarray(w["relative_attention_bias.weight"])}
    q, k, v = ((x @ w[f"{name}.weight"].T).reshape(2, 23, 3, 6) for name in "qkv")

    @jax.jit
    def ours(q, k, v):
        bias = position.apply({"params": params}, 3, Context(), method="bias")
        index = jnp.arange(x.shape[1])
        dense = jnp.stack([bias.block(jnp.int32(0), jnp.int32(n), index, index) for n in range(3)])
        return dense, attention(q, k, v, bias=bias, scale=1.0)

    dense, y = ours(q, k, v)
    close(dense, GOLDEN["t5/attention/bias"], "bias")
    close(y.reshape(2, 23, 18) @ w["o.weight"].T, GOLDEN["t5/attention/y"], "attention")


@pytest.mark.parametrize("heads", [8, 12, 5])
def test_slopes_equal_bloom(heads):
    bias = POSITIONS["alibi"]().bias(heads, Context())
    close(bias.slopes, GOLDEN[f"alibi/slopes/{heads}"], "slopes")


@pytest.mark.parametrize("theta", [10_000, 160_000])
def test_rope_equals_llama(theta):
    """Also for positions in any order and as far as 8191, where a float32 angle has few digits left."""
    ctx = Context(positions=jnp.asarray(GOLDEN["rope/positions"]))
    turn = jax.jit(lambda q, k: POSITIONS["rope"](theta=float(theta)).rotate(q, k, ctx))
    q, k = turn(GOLDEN["rope/q"], GOLDEN["rope/k"])
    far = GOLDEN["rope/positions"] > 100
    for name, mine in (("q", q), ("k", k)):
        theirs = GOLDEN[f"rope/{theta}/{name}"]
        close(np.asarray(mine)[~far], theirs[~far], name)
        close(np.asarray(mine)[far], theirs[far], f"{name} far away", tolerance=1e-3)


def test_sines_of_a_grid_equal_masked_autoencoders():
    """Leading tokens get nothing; columns fill the first half of the channels, rows the second."""
    ctx = Context(grid=(5, 7))
    mine = POSITIONS["sinusoidal_2d"]().add(jnp.zeros((1, 37, 24)), ctx)[0]
    assert not mine[:2].any()
    rows, columns = np.split(GOLDEN["grid/5/7/24"], 2, axis=1)
    close(mine[2:], np.concatenate([columns, rows], axis=1), "sines")
