"""What every mixer owes: segments, padding, causality, streaming, gradients. Runs over the whole table."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, shapes
from tests.drawn import run as compiled
from tests.parts.examples import examples
from xfm.context import Context, Mask
from xfm.errors import XfmError
from xfm.parts import SLOTS
from xfm.parts.mixer.bidirectional import reversed_row
from xfm.spec import SpecError, build

B, T, D = 2, 13, 16
mixers = pytest.mark.parametrize("kind,spec", examples("mixer"))
# Mixers that take a row as one text, or as one grid; Context.segments tells them its padding alone.
ONE_TEXT = (
    "windowed",
    "reduced",
    "extended",
    "conv_gate",
    "relu_attention",
    "token_mlp",
    "overlapping",
    "channel_attention",
    "fused_mbconv",
    "conv",
    "lambda_layer",
    "wavemix",
    "state_space_2d",
    "strided",
    "aggregated_mlp",
    "head_tokens",
)


@pytest.fixture
def mixer(kind, spec):
    assert spec is not None, f"mixer '{kind}' has no example in tests/parts/examples.py"
    return build(SLOTS["mixer"], spec)


def stream(seed=0, shape=(B, T, D)):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@functools.cache
def params_of(mixer):
    return drawn(mixer, stream(), Context())


def run(mixer, params, x, ctx):
    return compiled(mixer, params, x, ctx)[0]


@functools.partial(jax.jit, static_argnums=0)
def seen(mixer, params, x, ctx, filling):
    """The gradients of the parameters and of x, and the outputs of real tokens, with `filling` in padding."""
    real, weights = ctx.real(x)[..., None], stream(7)

    def loss(params, x):
        y = jnp.where(real, mixer.apply(params, x, ctx)[0], 0.0)
        return (weights * y).sum(), y

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, jnp.where(real, x, filling))


@mixers
def test_packed_equals_separate(mixer, kind):
    if kind in ONE_TEXT:
        assert type(mixer).whole_row is not None, "layout 'tokens' has to be refused"
        pytest.skip(f"{kind} {type(mixer).whole_row}")
    x, params = stream(), params_of(mixer)
    segments = jnp.array([[1] * 5 + [2] * 5 + [0] * 3, [1] * 8 + [2] * 5])
    _, packed = seen(mixer, params, x, Context.of({"segments": segments}), 1.0)
    texts = [(0, slice(0, 5)), (0, slice(5, 10)), (1, slice(8, 13))]
    alone = run(mixer, params, np.stack([x[text] for text in texts]), Context())
    assert_close(np.stack([packed[text] for text in texts]), alone)


@mixers
def test_padding_never_reaches_a_real_token(mixer):
    """Neither its values, NaN included, nor anything of it in the gradients of real tokens and of parameters."""
    x, params = stream(), params_of(mixer)
    segments = jnp.array([[1] * 4 + [0] + [1] * 4 + [0] * 4, [1] * 13])
    ctx = Context.of({"segments": segments, "positions": jnp.broadcast_to(jnp.arange(T), (B, T))})
    (of_params, of_x), y = seen(mixer, params, x, ctx, 0.0)
    assert not jnp.where(segments[..., None] > 0, 0.0, of_x).any()
    for filling in (jnp.nan, jnp.inf, 1e30):
        assert_close(seen(mixer, params, x, ctx, filling), ((of_params, of_x), y), rtol=0)


HEARD = np.array([[1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1]]) > 0


@mixers
def test_a_token_that_only_attends_reaches_no_other(mixer):
    """What it holds, NaN included, moves no other token's output, while it has an output that the others move.

    A mixer that cannot mask such a token says so.
    """
    x, segments = stream(), np.array([[1] * 5 + [2] * 6 + [0] * 2, [1] * T])
    params, ctx = params_of(mixer), Context(segments=jnp.array(segments), heard=jnp.array(HEARD))
    inner = getattr(mixer, "mixer", None)  # of "bidirectional"
    if mixer.mixes_all or inner and SLOTS["mixer"][inner["kind"]].mixes_all:
        with pytest.raises(SpecError, match="mixes tokens without attention and cannot mask those that only attend"):
            jax.eval_shape(mixer.apply, params, x, ctx)
        return
    y, others = np.asarray(run(mixer, params, x, ctx)), HEARD & (segments > 0)
    for filling in (np.nan, 1e30):
        moved = run(mixer, params, np.where(HEARD[..., None], x, np.float32(filling)), ctx)
        assert_close(np.asarray(moved)[others], y[others], rtol=0)
    moved = np.asarray(run(mixer, params, np.where(HEARD[..., None], x[::-1], x), ctx))
    change = np.abs(moved - y).max(axis=-1)
    assert np.isfinite(y).all() and (change[~HEARD & (segments > 0)] > 1e-3).all()


@mixers
def test_causal_means_that_the_future_does_not_matter(mixer, kind, spec):
    """In a causal context a change at t moves y[t], and never y[<t]; a mixer that cannot do so says so."""
    x, t = stream(), 6
    ctx = Context(mask=Mask.causal())
    try:
        y = run(mixer, params_of(mixer), x, ctx)
    except SpecError as refusal:
        kind = spec["sight"]["kind"] if spec.get("sight") else kind
        assert f"{kind!r} reads whole segments and cannot be causal" in str(refusal)
        return
    moved = run(mixer, params_of(mixer), x + (np.arange(T) == t)[:, None].astype(x.dtype), ctx)
    assert jnp.abs(y[:, t] - moved[:, t]).max() > 1e-3
    if kind == "bidirectional":  # sees both ways by definition, whatever the mask says
        assert jnp.abs(y[:, :t] - moved[:, :t]).max() > 1e-3
    else:
        assert_close(moved[:, :t], y[:, :t], rtol=0)


step = jax.jit(lambda mixer, params, x, ctx, state: mixer.apply(params, x, ctx, state), static_argnums=0)


@mixers
@pytest.mark.parametrize("pieces", [(1,) * T, (6, 1, 6), (T,)], ids=["steps", "pieces", "whole"])
def test_streaming_equals_parallel(mixer, pieces):
    """Piece by piece, the state handed on, equals all at once; padding and a second text included."""
    x, params = stream(), params_of(mixer)
    if not hasattr(mixer, "init_state") or getattr(mixer, "sight", None) is not None:
        with pytest.raises(Exception, match="state"):
            jax.eval_shape(mixer.apply, params, x, Context(), {})
        return
    segments = np.array([[1] * 4 + [0] + [1] * 8, [1] * 6 + [2] * 7])
    positions = np.array([list(range(13)), list(range(6)) + list(range(7))])
    ctx = Context(segments=segments, positions=positions, mask=Mask.causal())
    whole = run(mixer, params, x, ctx)

    state, ys, start = mixer.init_state(B, T, D, jnp.float32), [], 0
    for length in pieces:
        part = slice(start, start + length)
        here = ctx.replace(segments=segments[:, part], positions=positions[:, part])
        y, state = step(mixer, params, x[:, part], here, state)
        ys.append(y)
        start += length
    real = (segments > 0)[..., None]
    assert_close(np.where(real, np.concatenate(ys, axis=1), 0), np.where(real, whole, 0))


def test_a_stream_remembers_which_tokens_only_attend():
    mixer, x, heard = build(SLOTS["mixer"], dict(kind="attention", heads=2)), stream()[:, :12], HEARD[:, :12]
    ctx, params = Context(mask=Mask.causal(), heard=heard), params_of(mixer)
    whole, ys, state = run(mixer, params, x, ctx), [], mixer.init_state(B, 12, D, jnp.float32)
    for part in (slice(0, 6), slice(6, 12)):
        y, state = step(mixer, params, x[:, part], ctx.replace(heard=heard[:, part]), state)
        ys.append(y)
    assert_close(jnp.concatenate(ys, axis=1), whole)


def test_a_stream_longer_than_its_state_is_refused():
    """By an error where the number of tokens is known, and by NaN where it is not; the tokens before are unharmed."""
    mixer, x, ctx = build(SLOTS["mixer"], dict(kind="attention", heads=2)), stream(), Context(mask=Mask.causal())
    params, empty = params_of(mixer), mixer.init_state(B, T - 1, D, jnp.float32)
    y, full = step(mixer, params, x[:, 1:], ctx, empty)
    assert jnp.isfinite(y).all()
    with pytest.raises(XfmError, match="state holds 12 tokens, and with these there are 13; give init_state"):
        mixer.apply(params, x[:, :1], ctx, full)
    with pytest.raises(XfmError, match="state holds 12 tokens, and with these there are 13; give init_state"):
        step(mixer, params, x, ctx, empty)
    assert jnp.isnan(step(mixer, params, x[:, :1], ctx, full)[0]).all()


def test_a_reversed_row_reverses_all_that_is_known_of_its_tokens():
    """Each array by row and token, those of the mask included."""
    row, marks = jnp.arange(6).reshape(2, 3), jnp.array([[True, False, False], [True, True, False]])
    known = dict(positions=row, segments=row + 1, heard=marks, types=row % 2)
    found = reversed_row(Context(**known, mask=dataclasses.replace(Mask.causal(marks), everyone=~marks)))
    assert all((getattr(found, name) == value[:, ::-1]).all() for name, value in known.items())
    assert (found.mask.prefix == marks[:, ::-1]).all() and (found.mask.everyone == ~marks[:, ::-1]).all()
    assert found.mask.order == "causal" and reversed_row(Context()) == Context()


def test_two_directions_hide_what_their_mixer_hides():
    spec = dict(kind="bidirectional", mixer=dict(kind="attention", heads=2), share="all")
    mixer, x, ctx = build(SLOTS["mixer"], spec), stream(), Context(heard=HEARD)
    params = params_of(mixer)
    found = run(mixer, params, jnp.where(HEARD[..., None], x, jnp.nan), ctx)
    assert_close(found[HEARD], run(mixer, params, x, ctx)[HEARD], rtol=0)


def test_attention_says_which_softmax_does_not_fit():
    def start(**softmax):
        shapes(build(SLOTS["mixer"], dict(kind="attention", heads=2, softmax=softmax)), stream(), Context())

    with pytest.raises(SpecError, match="softmax has no kind 'sigmoids'.*'sigmoid'.*; it has softmax, sigmoid"):
        start(kind="sigmoids")
    with pytest.raises(SpecError, match="'sigmoid' has no field 'sink'"):
        start(kind="sigmoid", sink="learned")
    with pytest.raises(
        SpecError, match="sink is 'learnt'; it must be a number or 'learned' or None .did you mean 'learned'"
    ):
        start(kind="softmax", sink="learnt")
    with pytest.raises(ValueError, match="cap is -1.0; it must be a number above 0"):
        start(kind="softmax", cap=-1.0)


def test_a_sigmoid_shifted_by_length_starts_as_a_mean():
    """Of keys whose scores are 0, S weights of sigmoid(-log S) = 1 / (S + 1)."""
    spec = dict(kind="attention", heads=2, bias=False, softmax=dict(kind="sigmoid", shift="length"))
    mixer, x = build(SLOTS["mixer"], spec), stream()
    params = params_of(mixer)["params"]
    params = {"params": params | {"q": jax.tree.map(jnp.zeros_like, params["q"])}}
    v = jnp.einsum("btd,dnh->btnh", x, params["params"]["v"]["kernel"]).sum(1, keepdims=True) / (T + 1)
    y = jnp.einsum("btnh,nhd->btd", jnp.broadcast_to(v, (B, T, *v.shape[2:])), params["params"]["o"]["kernel"])
    assert_close(run(mixer, params, x, Context()), y)
    with pytest.raises(SpecError, match="a sigmoid's shift of 'length' needs whole rows"):
        mixer.apply(params, x, Context(), mixer.init_state(B, T, D))
