"""What a context is made of."""

import jax.numpy as jnp
import numpy as np

from tests.close import assert_close
from xfm.context import Context, Mask
from xfm.kernels.attention import attention
from xfm.kernels.conv import depthwise
from xfm.kernels.ssd import ssd


def test_what_a_caller_shares_stands_beside_the_batch():
    given = jnp.ones((1, 3))
    ctx = Context.of({"global": jnp.array([[1, 0]])}, shared={"mine": given})
    assert ctx.shared.keys() == {"global", "mine"} and ctx.shared["mine"] is given
    assert Context.of({}, shared={"mine": given}, train=True).shared.keys() == {"mine"}


def test_some_tokens_may_only_attend():
    """The kernel's segments are then a pair, of queries and of keys; the context's own stay one array."""
    heard, x = jnp.array([[1, 1, 0, 0]]), jnp.zeros((1, 4, 2))
    assert Context.of({}).attending is None and Context.of({}).heard is None
    ctx = Context.of({"heard": heard})
    assert ctx.segments is None and ctx.heard.tolist() == [[True, True, False, False]] and ctx.real(x).all()
    assert [a.tolist() for a in ctx.attending] == [[[1] * 4], heard.tolist()]
    ctx = Context.of({"heard": heard, "segments": jnp.array([[1, 2, 2, 0]])})
    assert ctx.segments.tolist() == [[1, 2, 2, 0]]
    assert [a.tolist() for a in ctx.attending] == [[[1, 2, 2, 0]], [[1, 2, 0, 0]]]
    assert ctx.real(x).tolist() == [[True, True, True, False]] and ctx.positions.tolist() == [[0, 0, 1, 0]]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


HOLE = jnp.array([[1, 1, 0, 1, 1]])


def test_padding_inside_a_text_counts_as_a_position_for_convolutions():
    """y_3 = x_2 + x_3 + x_4 where x_2 is padding: as if a zero stood there; 1 and 3 are no neighbours."""
    x = numbers(1, 5, 2)
    held = x.copy()
    held[:, 2] = 0
    taps = np.ones((3, 1), np.float32)
    for before, rest in ((None, [0, 1, 3, 4]), (2, [3, 4])):
        y, filled = depthwise(x, taps, segments=HOLE, before=before), depthwise(held, taps, before=before)
        np.testing.assert_array_equal(y[:, rest], filled[:, rest])


def test_padding_inside_a_text_counts_as_a_position_for_windows():
    """Within one position to either side, token 1 attends to 0 and 1, and token 3 to 3 and 4."""
    q, k, v = (numbers(1, 5, 2, 4, seed=seed) for seed in range(3))
    y = attention(q, k, v, segments=HOLE, mask=Mask.window(1, 1), implementation="naive")
    for t, near in ((0, [0, 1]), (1, [0, 1]), (3, [3, 4]), (4, [3, 4])):
        assert_close(y[:, [t]], attention(q[:, [t]], k[:, near], v[:, near], implementation="naive"))


ALTERNATING = jnp.array([[1, 1, 2, 2, 1, 1]])


def test_ids_that_alternate_are_one_text_for_attention():
    q, k, v = (numbers(1, 6, 2, 4, seed=seed) for seed in range(3))
    y = attention(q, k, v, segments=ALTERNATING, implementation="naive")
    own = np.array([0, 1, 4, 5])
    assert_close(y[:, own], attention(q[:, own], k[:, own], v[:, own], implementation="naive"))


def test_ids_that_alternate_restart_a_recurrence_and_padding_does_not():
    x, b, c = numbers(1, 6, 2, 4), numbers(1, 6, 1, 3, seed=1), numbers(1, 6, 1, 3, seed=2)
    dt, a = np.abs(numbers(1, 6, 2, seed=3)) + 0.1, np.array([-1.0, -2.0], np.float32)

    def run(which, segments=None):
        return ssd(
            *(z[:, which] for z in (x, dt)),
            a,
            *(z[:, which] for z in (b, c)),
            segments=segments,
            implementation="naive",
        )[0]

    everything, second = np.arange(6), np.array([4, 5])
    y = run(everything, ALTERNATING)
    assert_close(y[:, second], run(second))
    apart = np.array([0, 1, 4, 5])
    y = run(everything, jnp.where(ALTERNATING == 1, 1, 0))
    assert_close(y[:, apart], run(apart))


def test_positions_of_padding_are_zero_whatever_the_batch_has_there():
    batch = {"segments": jnp.array([[1, 1, 0, 0]]), "positions": jnp.array([[3, 4, -7, 10**6]])}
    assert Context.of(batch).positions.tolist() == [[3, 4, 0, 0]]
    assert Context.of(batch, padding="text").positions.tolist() == [[3, 4, -7, 10**6]]


def test_clean_leaves_what_a_structure_has_seen_to():
    x, segments = jnp.full((1, 2, 3), jnp.nan), jnp.array([[1, 0]])
    assert jnp.isnan(Context(segments=segments).clean(x)).tolist() == [[[True] * 3, [False] * 3]]
    heard = Context(segments=segments, heard=0 * segments > 0)
    assert not heard.clean(x)[0, 1].any() and jnp.isnan(heard.clean(x)[0, 0]).all()
    for ctx in (Context(), Context(segments=segments, padding="finite")):
        assert ctx.clean(x) is x
    text = Context(segments=segments, padding="text").clean(x.at[0, 1, 0].set(5.0))
    assert jnp.isnan(text[0, 0]).all() and text[0, 1].tolist() == [5.0, 0.0, 0.0]
