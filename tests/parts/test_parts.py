"""What single slots and parts owe beside what all do, for which there is test_owed.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, run, shapes
from tests.parts.cases import OF_IMAGES, case
from tests.parts.examples import EXAMPLES, examples
from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, T, D = 2, 13, 16


def made(slot, kind, spec):
    assert spec is not None, f"{slot} '{kind}' has no example in tests/parts/examples.py"
    return build(SLOTS[slot], spec)


def stream(seed=0):
    return jax.random.normal(jax.random.key(seed), (B, T, D))


def batch_for(kind):
    key = jax.random.key(3)
    if kind in OF_IMAGES:
        return {"images": jax.random.normal(key, (B, 6, 8, 3))}
    tokens = jax.random.randint(key, (B, T), 0, 11)
    return {"tokens": tokens, "types": tokens % 2}


# --- embed


@pytest.mark.parametrize("kind,spec", [e for e in examples("embed") if e.values[0] not in OF_IMAGES])
def test_embeddings_of_packed_rows_equal_those_of_separate_ones(kind, spec):
    embed, batch = made("embed", kind, spec), batch_for(kind)
    params = drawn(embed, batch, Context())
    segments = jnp.array([[1] * 5 + [2] * 8] * B)
    packed, _ = run(embed, params, batch, Context.of({**batch, "segments": segments}))
    alone, _ = run(embed, params, {k: v[:, 5:] for k, v in batch.items()}, Context())
    assert_close(packed[:, 5:], alone)


def test_patches_are_cut_in_reading_order():
    image = np.arange(4 * 6).reshape(1, 4, 6, 1).astype(np.float32)
    from xfm.parts.embed.patchify import patchify

    patches = np.asarray(patchify(jnp.asarray(image), (2, 3)))
    assert patches[0].tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]
    with pytest.raises(XfmError, match="4 x 6 does not divide into patches of 3 x 3"):
        patchify(jnp.asarray(image), (3, 3))


def test_ngram_hash_is_of_the_bytes_before():
    from xfm.parts.embed.bytes import ngram_hash

    tokens = jnp.array([[1, 2, 3, 9, 2, 3, 1, 2, 3]])
    hashed = np.asarray(ngram_hash(tokens, None, 2, 10_000))[0]
    assert hashed[2] == hashed[5] == hashed[8] and hashed[1] == hashed[7] != hashed[4]


def test_a_row_longer_than_the_learned_positions_is_refused():
    embed = build(SLOTS["embed"], dict(kind="tokens", vocab=11, width=16, position=dict(kind="learned", length=12)))
    with pytest.raises(XfmError, match="13 tokens, the learned positions 12; raise position.length"):
        shapes(embed, batch_for("tokens"), Context())


# --- position


@pytest.mark.parametrize("kind,spec", [e for e in examples("position") if e.values[0].startswith("rope")])
def test_rotation_keeps_lengths_and_depends_on_distance_alone(kind, spec):
    position = made("position", kind, spec)
    q, k = np.broadcast_to(np.random.default_rng(0).standard_normal((2, 1, 1, 1, 8), np.float32), (2, 1, 13, 1, 8))
    turn = jax.jit(lambda q, k: position.apply({}, q, k, Context(grid=(3, 4)), method="rotate"))
    turned_q, turned_k = (np.asarray(a) for a in turn(q, k))
    assert_close(np.linalg.norm(turned_q, axis=-1), np.linalg.norm(q, axis=-1))
    scores = np.einsum("btnh,bsnh->ts", turned_q, turned_k)
    if kind == "rope":
        for distance in range(-12, 13):
            assert np.ptp(np.diagonal(scores, distance)) < 1e-5
    else:  # patches (row, column) from token 1 on; the class token does not turn
        table = scores[1:, 1:].reshape(3, 4, 3, 4)
        assert abs(table[0, 0, 1, 2] - table[1, 1, 2, 3]) < 1e-5 and abs(table[0, 0, 1, 2] - table[0, 0, 2, 1]) > 1e-4
        assert_close(turned_q[:, 0], q[:, 0], rtol=0)


@pytest.mark.parametrize(
    "grid,heads,said",
    [
        (None, 2, r"needs the tokens of a grid \(h, w\); the grid is None, the row has 13 tokens"),
        ((4, 4), 2, r"the grid is \(4, 4\), the row has 13 tokens"),
        ((3, 4), 8, "needs heads of a width that 4 divides, not 2"),
    ],
)
def test_a_rotation_by_rows_and_columns_says_what_it_needs(grid, heads, said):
    mixer = build(SLOTS["mixer"], dict(kind="attention", heads=heads, position=dict(kind="rope_2d")))
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(mixer.init, jax.random.key(0), stream(), Context(grid=grid))


def test_alibi_slopes():
    from xfm.parts.position.alibi import slopes

    assert_close(slopes(8), 2.0 ** -np.arange(1, 9))
    assert_close(slopes(3), np.array([2.0**-4, 2.0**-8, 2.0**-2]))


# --- ffn


def numbered(slot, *kinds):
    """(kind, number) of each example of these kinds."""
    return [pytest.param(kind, i, id=f"{kind}-{i}") for kind in kinds for i in range(len(EXAMPLES[slot][kind]))]


@pytest.mark.parametrize("kind,number", numbered("ffn", *SLOTS["ffn"]))
def test_ffns_read_one_token(kind, number):
    one = case("ffn", kind, number)
    (x, ctx), (y, _) = one.inputs, one.answer
    moved = jax.jit(one.apply)(one.params, x.at[:, 6].add(1.0), ctx)
    others = np.arange(T) != 6
    assert_close(moved[:, others], y[:, others], rtol=0)


# --- pool and head


@pytest.mark.parametrize("kind,number", numbered("pool", *SLOTS["pool"]))
def test_pools_without_segments_read_the_whole_row(kind, number):
    """As they read the text of a padded row."""
    one = case("pool", kind, number)
    (x, ctx), (y, _) = one.inputs, one.answer
    alone = Context(tokens=ctx.tokens[:1, :9], heads={name: a[:1] for name, a in ctx.heads.items()}, grid=(2, 4))
    assert_close(jax.jit(one.apply)(one.params, x[:1, :9], alone), y[:1])


@pytest.mark.parametrize("kind,number", numbered("head", "mlm", "tagging", "enhanced_mlm"))
def test_heads_predict_at_the_positions_that_are_asked_for(kind, number):
    one = case("head", kind, number)
    (x, ctx), (y, _) = one.inputs, one.answer
    at = jnp.array([[3, 0], [12, 5], [1, 1]])
    answer = jax.jit(one.apply)(one.params, x, ctx.replace(at=at))
    assert_close(answer, jnp.take_along_axis(y, at[..., None], axis=1))


def test_a_tied_head_says_what_does_not_fit():
    head, x = build(SLOTS["head"], dict(kind="mlm", vocab=12)), stream()
    with pytest.raises(SpecError, match="set table='own'"):
        shapes(head, x, Context())
    with pytest.raises(SpecError, match="vocab=12, the table it is tied to 11 rows"):
        shapes(head, x, Context(embedding=jnp.ones((11, D))))
    with pytest.raises(SpecError, match="needs an activation"):
        shapes(head, x, Context(embedding=jnp.ones((12, 8))))


def test_attention_says_what_does_not_fit():
    with pytest.raises(SpecError, match="width of 16 does not divide among 3 heads"):
        shapes(build(SLOTS["mixer"], dict(kind="attention", heads=3)), stream(), Context())
    with pytest.raises(SpecError, match="4 heads do not divide among 3 kv_heads"):
        shapes(build(SLOTS["mixer"], dict(kind="attention", heads=4, kv_heads=3)), stream(), Context())
