"""The funnel: pairs and the way back written in loops, shorter blocks, looped layers, padding, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn as variables
from tests.drawn import run as compiled
from tests.drawn import shapes
from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.mixer.pooled_relative import sides
from xfm.spec import SpecError
from xfm.structures.funnel import pairs, spread

ATTENTION = dict(kind="pooled_relative", heads=2, reads="before")
MLP = dict(kind="mlp", hidden=24)
TOKENS = np.arange(22, dtype=np.int32).reshape(2, 11) % 13


def funnel(**changes):
    spec = dict(
        kind="funnel",
        embed=dict(kind="tokens", vocab=13, width=16),
        pattern=[ATTENTION, MLP],
        blocks=[1, 2, 1],
        decoder=2,
        norms={"out": dict(kind="layernorm")},
        heads=dict(lm=dict(kind="mlm", vocab=13)),
    )
    return xfm.build(spec | changes)


def run(model, params, batch):
    return compiled(model, {"params": params}, batch)


SMALL = funnel(blocks=[1, 1], decoder=1)
WIDE = np.arange(26, dtype=np.int32).reshape(2, 13) % 13


def drawn(model, batch):
    return variables(model, batch)["params"]


def members(length, first, end):
    """The tokens of each pair, found one by one."""
    rest = list(range(length))
    found = []
    if first == "apart":
        found.append([0])
        rest = rest[1 : length - 1] if end == "cut" else rest[1:]
    while rest:
        found.append(rest[:2])
        rest = rest[2:]
    return found


@pytest.mark.parametrize("first,end", [("apart", "cut"), ("apart", "kept"), ("paired", "kept")])
@pytest.mark.parametrize("length", [4, 11])
def test_pairs_and_the_way_back(length, first, end):
    x = np.random.default_rng(0).normal(size=(2, length, 5)).astype(np.float32)
    halved = pairs(jnp.asarray(x), first, end)
    own = members(length, first, end)
    assert_close(halved.mean(axis=2), np.stack([x[:, one].mean(axis=1) for one in own], axis=1))
    assert_close(halved.max(axis=2), np.stack([x[:, one].max(axis=1) for one in own], axis=1), rtol=0)
    back = spread(jnp.asarray(halved[:, :, 0]), 2, length, first)
    expected = np.zeros_like(x)
    for t in range(length):
        pair = t // 2 if first == "paired" else (t + 1) // 2
        if pair < len(own):
            expected[:, t] = x[:, own[pair][0]]
    assert_close(back, expected, rtol=0)


def test_a_pair_has_the_position_and_type_of_its_first_token_and_is_real_where_both_are():
    known = dict(types=[2, 0, 1, 1, 0, 1, 0, 0], segments=[1] * 6 + [0] * 2, positions=range(3, 11))
    ctx = Context(**{name: jnp.array([list(row)]) for name, row in known.items()})
    _, half = funnel()._half(jnp.ones((1, 8, 4)), ctx)  # of the tokens 0, 1 and 2, 3 and 4, 5 and 6
    found = {name: getattr(half, name)[0].tolist() for name in known}
    assert found == dict(types=[2, 0, 1, 1], segments=[1, 1, 1, 0], positions=[3, 4, 6, 8])


def test_sides_meet_in_the_score_of_their_distance():
    a = jax.random.normal(jax.random.key(0), (1, 5, 2, 8))
    t, s = jnp.array([[0, 1, 5, 9, 13]]), jnp.array([[0, 1, 3, 5, 7, 9, 11]])
    query, key = sides(a, t, s)
    angle = (t[0, :, None] - s[0, None, :])[..., None] / 10_000 ** (np.arange(4) / 4)
    wave = np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)
    assert_close(jnp.einsum("btnd,bsd->bnts", query, key)[0], np.einsum("tnd,tsd->nts", a[0], wave))


def test_blocks_halve_and_the_decoder_is_whole_again():
    def run(model, params, batch):
        return jax.eval_shape(model.apply, {"params": params}, batch)

    only = dict(pattern=[MLP])  # whatever the layers, so those that are traced soonest
    params = shapes(funnel(**only), {"tokens": TOKENS})["params"]
    whole = run(funnel(**only), params, {"tokens": TOKENS})
    assert whole["hidden"].shape == (2, 11, 16) and whole["lm"].shape == (2, 11, 13)
    del params["decoder"]
    short = run(funnel(**only, decoder=None), params, {"tokens": TOKENS})
    assert short["hidden"].shape == (2, 3, 16) and short["lm"].shape == (2, 3, 13)
    at = run(funnel(**only, decoder=0), params, {"tokens": TOKENS, "at": jnp.array([[3], [10]])})
    assert at["lm"].shape == (2, 1, 13)
    assert set(params["block_0"]) == {"layers"} and set(params["block_1"]) == {"first", "layers"}
    assert set(params["block_2"]) == {"first"}


@pytest.mark.parametrize("length", [1, 2])
def test_rows_too_short_stay_as_they_are(length):
    batch = {"tokens": TOKENS[:, :length]}
    short = dict(pattern=[ATTENTION], blocks=[1, 1, 1])
    model = funnel(**short, decoder=1)
    params = drawn(model, batch)
    hidden = run(model, params, batch)["hidden"]
    assert hidden.shape == (2, length, 16) and jnp.isfinite(hidden).all()
    undecoded = jax.eval_shape(funnel(**short, decoder=None).apply, {"params": params}, batch)["hidden"]
    assert undecoded.shape == (2, length, 16)


def test_looped_layers_are_the_same_layers_again():
    """A block of one layer that runs three times equals one of three layers with the same numbers."""
    looped, written = funnel(blocks=[1, 1], loops=[1, 3], decoder=0), funnel(blocks=[1, 3], decoder=0)
    batch = {"tokens": TOKENS}
    params = drawn(looped, batch)
    first = params["block_1"]["first"]
    again = jax.tree.map(lambda a: np.stack([a, a]), first)
    other = {**params, "block_1": {"first": first, "layers": again}}
    assert_close(run(looped, params, batch)["lm"], run(written, other, batch)["lm"])


def test_remat_changes_nothing():
    batch = {"tokens": TOKENS}
    params = drawn(funnel(blocks=[2, 2], decoder=0), batch)

    def gradient(remat):
        model = funnel(blocks=[2, 2], decoder=0, remat=remat)
        return jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, batch)["lm"]).mean()))(params)

    assert_close(gradient("full"), gradient("none"), rtol=1e-6)


def test_any_mixer_of_the_house_stands_in_it():
    pattern = [dict(kind="attention", heads=2, position=dict(kind="rope")), MLP]
    model = funnel(pattern=pattern, blocks=[1, 1], decoder=1)
    batch = {"tokens": TOKENS, "segments": jnp.array([[1] * 11, [1] * 8 + [0] * 3])}
    params = drawn(model, batch)
    assert jnp.isfinite(run(model, params, batch)["hidden"][0]).all()
    assert set(params["block_1"]["first"]) == {"attention_0", "mlp_1"}


def test_a_pair_with_padding_is_never_attended_to():
    """Padding changes nothing but tokens that are pooled with it, as in the reference: 7 with 8."""
    segments, params = np.array([[1] * 8 + [0] * 5] * 2), drawn(SMALL, {"tokens": WIDE})

    def hidden(tokens):
        return np.asarray(run(SMALL, params, {"tokens": tokens, "segments": segments})["hidden"])

    def changed(where):
        return np.where(where, 1, WIDE)

    y, index = hidden(WIDE), np.arange(13)
    assert_close(hidden(changed(index >= 9))[:, :8], y[:, :8], rtol=0)
    moved = np.abs(hidden(changed(index == 8)) - y).max(axis=(0, 2))
    assert moved[7] > 1e-4 and moved[0] < moved[7]


def test_rows_of_several_texts_are_refused():
    batch = {"tokens": WIDE, "segments": np.array([[1] * 13, [1] * 5 + [2] * 8])}
    params = drawn(SMALL, {"tokens": WIDE})
    with pytest.raises(XfmError, match="row 1 holds several texts, and a funnel pools neighbours"):
        SMALL.apply({"params": params}, batch)
    hidden = run(SMALL, params, batch)["hidden"]
    assert jnp.isfinite(hidden[0]).all() and jnp.isnan(hidden[1]).all()


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(pool="sum"), "pool is 'sum'; it must be 'mean' or 'max'"),
        (dict(first="alone"), "first is 'alone'; it must be 'apart' or 'paired'"),
        (dict(end="dropped"), "end is 'dropped'; it must be 'cut' or 'kept'"),
        (dict(blocks=[]), "blocks and loops are as many numbers of 1 or more"),
        (dict(loops=[1, 2]), "blocks and loops are as many numbers of 1 or more"),
        (dict(decoder=-1), "decoder is -1; it must be a whole number of at least 0"),
        (dict(pattern=[dict(ATTENTION, cls="seen"), MLP]), "cls is 'seen'; it must be 'free' or 'counted'"),
        (dict(pattern=[dict(ATTENTION, heads=3), MLP]), "a width of 16 does not divide among 3 heads"),
    ],
)
def test_bad_specs(changes, said):
    with pytest.raises(SpecError, match=said):
        shapes(funnel(**changes), {"tokens": TOKENS})
