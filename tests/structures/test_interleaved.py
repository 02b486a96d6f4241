"""Groups that meet through their latents alone; without latents a plain stack; and how many products that takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn
from tests.structures.examples import ATTENTION, EMBED, MLP
from xfm.plan.flops import total
from xfm.spec import SpecError

NORMS = {"in": dict(kind="layernorm")}
BATCH = {"tokens": np.arange(16).reshape(2, 8) % 7, "types": np.arange(16).reshape(2, 8) % 3}
CROSSING = dict(
    kind="interleaved", embed=EMBED, group=4, latents=2, width=6, inner=[ATTENTION, MLP], norms=NORMS, repeats=2,
    read=[dict(ATTENTION, memory="tokens")], pattern=[ATTENTION], write=[dict(ATTENTION, memory="latents")],
)  # fmt: skip


def hidden(model, variables, batch):
    return np.asarray(jax.jit(lambda v, b: model.apply(v, b)["hidden"])(variables, batch))


def test_one_group_without_latents_is_a_stack():
    common = dict(embed=EMBED, norms=NORMS, norm=dict(kind="layernorm"))
    stack = xfm.build(dict(kind="stack", pattern=[ATTENTION, MLP], **common))
    ours = xfm.build(dict(kind="interleaved", group=8, inner=[ATTENTION, MLP], **common))
    params = drawn(stack, BATCH)["params"]
    layers = jax.tree.map(lambda a: a[0], params["layers"])
    same = {name: tree for name, tree in params.items() if name != "layers"} | {"last": {"inner_layers": layers}}
    assert_close(hidden(ours, {"params": same}, BATCH), hidden(stack, {"params": params}, BATCH), rtol=1e-6)


@pytest.mark.parametrize("pattern,meet", [([MLP], False), ([ATTENTION], True)])
def test_groups_meet_through_latents_alone(pattern, meet):
    """Where no layer mixes the latents of different groups, no group's latents depend on another group's tokens."""
    model = xfm.build(CROSSING | dict(pattern=pattern))
    variables = drawn(model, BATCH)
    other = {**BATCH, "tokens": np.where(np.arange(8) >= 4, 6 - BATCH["tokens"], BATCH["tokens"])}
    change = np.abs(hidden(model, variables, other) - hidden(model, variables, BATCH)).max(axis=(0, 2))
    assert (change[2:] > 1e-3).all() and (change[:2] > 1e-4).all() == meet and (meet or not change[:2].any())


def test_padding_stays_away():
    model, segments = xfm.build(CROSSING), np.array([[1] * 6 + [0] * 2, [1] * 4 + [0] * 4])
    variables = drawn(model, BATCH)
    other = {**BATCH, "tokens": np.where(segments > 0, BATCH["tokens"], 6), "segments": segments}
    known = hidden(model, variables, {**BATCH, "segments": segments})
    assert_close(hidden(model, variables, other), known, rtol=0)
    real = {
        **other,
        "tokens": np.where(np.arange(8) == 4, 6 - other["tokens"], other["tokens"]),
    }  # in a group with both
    assert np.abs(hidden(model, variables, real) - known)[0, :2].max() > 1e-4
    alone = {name: array[1:] for name, array in other.items()}
    alone["tokens"] = np.where(segments[1:] > 0, alone["tokens"], 3)
    assert_close(hidden(model, variables, alone)[:, :2], known[1:, :2])


def test_products_grow_with_groups_and_with_latents():
    """Scores and sums: groups · n² within groups, (groups · m)² over latents, groups · n · m between the two."""
    n, m, C, D, G = 4, 2, 8, 6, 2
    model = xfm.build(CROSSING | dict(inner=[ATTENTION]))
    batch = {name: array[:1] for name, array in BATCH.items()}
    variables = drawn(model, batch)
    counted = total(jax.make_jaxpr(lambda v, b: model.apply(v, b)["hidden"])(variables, batch).jaxpr) / 2
    inner = G * n * 4 * C**2 + 2 * G * n**2 * C
    read = G * m * 2 * D**2 + G * n * 2 * C * D + 2 * G * n * m * D
    over = G * m * 4 * D**2 + 2 * (G * m) ** 2 * D
    write = G * n * 2 * C**2 + G * m * 2 * D * C + 2 * G * n * m * C
    assert counted == 2 * (inner + read + over) + write


@pytest.mark.parametrize(
    "fields,said",
    [
        (dict(group=3), "groups of 3 tokens, which do not divide 8 tokens"),
        (dict(read=[]), "has latents and no sublayers in 'read'; name them there"),
    ],
)
def test_what_does_not_fit_is_refused(fields, said):
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(xfm.build(CROSSING | fields).init, jax.random.key(0), jax.tree.map(jnp.asarray, BATCH))
