"""The one equation, and the stack: scan equals loop, remat changes nothing, states, masks, errors."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn, run, shapes
from tests.keys import key as hashed
from xfm.context import Context
from xfm.spec import SpecError, freeze
from xfm.structures.sublayer import Sublayer

NORM = dict(kind="layernorm")
ATTENTION = dict(kind="attention", heads=2)
MLP = dict(kind="mlp", hidden=24)
MAMBA = dict(kind="mamba2", heads=4, head_width=8, state=4, chunk=4)
BATCH = {"tokens": np.arange(22, dtype=np.int32).reshape(2, 11) % 13}


def stack(**changes):
    spec = dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=13, width=16),
        prologue=[MLP],
        pattern=[ATTENTION, MLP],
        repeats=2,
        epilogue=[ATTENTION],
        norms={"in": NORM},
        residual=dict(kind="scaled", gate=0.5, learn="channel"),
        norm=NORM,
        heads=dict(lm=dict(kind="mlm", vocab=13)),
    )
    return xfm.build(spec | changes)


def unrolled(params, repeats, period):
    """Parameters of the scanned stack, for a stack whose pattern is written out `repeats` times."""
    layers = {}
    for name, stacked in params["layers"].items():
        kind, _, i = name.rpartition("_")
        for r in range(repeats):
            layers[f"{kind}_{r * period + int(i)}"] = jax.tree.map(lambda a, r=r: a[r][None], stacked)
    return {**params, "layers": layers}


@functools.partial(jax.jit, static_argnames=("model", "train"))
def loss_and_gradient(model, params, train=False):
    how = dict(train=True, rngs={"dropout": hashed(7)}) if train else {}
    return jax.value_and_grad(lambda p: jnp.square(model.apply({"params": p}, BATCH, **how)["lm"]).mean())(params)


WRITTEN_OUT = stack(pattern=[ATTENTION, MLP] * 4, repeats=1)


def test_scan_equals_loop():
    scanned = stack(repeats=4)
    params = drawn(scanned, BATCH)["params"]
    loss, gradient = loss_and_gradient(scanned, params)
    loop_loss, loop_gradient = loss_and_gradient(WRITTEN_OUT, unrolled(params, 4, 2))
    assert_close((loop_loss, loop_gradient), (loss, unrolled(gradient, 4, 2)))


def test_loops_run_the_same_parameters_again():
    """2 repeats of 2 loops are 4 layers of which each two are alike."""
    looped = stack(pattern=[ATTENTION, MLP], repeats=2, loops=2)
    params = drawn(looped, BATCH)["params"]
    layers = unrolled(params, 2, 2)["layers"]
    twice = {f"{n.rpartition('_')[0]}_{(i // 2) * 4 + i % 2 + 2 * again}": x for again in (0, 1)
             for n, x in layers.items() for i in [int(n.rpartition("_")[2])]}  # fmt: skip
    loss, gradient = loss_and_gradient(looped, params)
    loop_loss, loop_gradient = loss_and_gradient(WRITTEN_OUT, {**params, "layers": twice})
    assert_close(loop_loss, loss)
    up = {name: mlp["part"]["up"]["kernel"] for name, mlp in loop_gradient["layers"].items() if "mlp" in name}
    summed = [(up[f"mlp_{4 * r + 1}"] + up[f"mlp_{4 * r + 3}"])[0] for r in range(2)]
    assert_close(gradient["layers"]["mlp_1"]["part"]["up"]["kernel"], jnp.stack(summed))
    with pytest.raises(SpecError, match="loops its layers does not read piece by piece"):
        stack(loops=2, mask="causal").init_state(1, 4)


def test_layers_share_the_position_of_the_stack():
    """One table for all layers equals a table of each layer's own with the same numbers."""
    buckets = dict(kind="relative_buckets", buckets=8, reach=16)
    shares = stack(position=dict(buckets, heads=2), pattern=[dict(ATTENTION, position=dict(kind="shared")), MLP])
    owns = stack(pattern=[dict(ATTENTION, position=buckets), MLP])
    params = drawn(shares, BATCH)["params"]
    table = np.random.default_rng(0).standard_normal((8, 2), np.float32)
    mixer = params["layers"]["attention_0"]
    part = {**mixer["part"], "position": {"table": jnp.stack([table] * 2)}}
    own = {**params, "layers": {**params["layers"], "attention_0": {**mixer, "part": part}}}
    del own["position"]
    loss, gradient = loss_and_gradient(shares, {**params, "position": {"table": table}})
    own_loss, own_gradient = loss_and_gradient(owns, own)
    assert_close(loss, own_loss)
    each = own_gradient["layers"]["attention_0"]["part"]["position"]["table"]
    assert_close(gradient["position"]["table"], each.sum(0))
    with pytest.raises(SpecError, match="this stack has none"):
        shapes(stack(pattern=[dict(ATTENTION, position=dict(kind="shared"))]), BATCH)
    with pytest.raises(SpecError, match="needs heads"):
        shapes(stack(position=buckets), BATCH)


@functools.cache
def trained(remat):
    """Loss and gradients with dropout in attention and in the residual."""
    attention = dict(ATTENTION, drop=0.2)
    model = stack(pattern=[attention, MLP], residual=dict(kind="plain", drop=0.2, drop_path=0.3), remat=remat)
    return loss_and_gradient(model, drawn(model, BATCH)["params"], train=True)


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_nothing(remat):
    """Dropout included: what is computed again drops the same units."""
    assert_close(trained(remat), trained("none"), rtol=1e-6)


def test_compiled_program_does_not_grow_with_depth(key):
    def lines(depth):
        model = stack(repeats=depth)
        params = jax.eval_shape(model.init, key, BATCH)
        return len(jax.jit(model.apply).lower(params, BATCH).as_text().splitlines())

    assert lines(48) == lines(6)


@pytest.mark.parametrize("loops", [1, 2])
def test_a_layer_is_traced_once(loops):
    """However often it runs; tracing it again is time that every user waits for."""
    model, traced = stack(prologue=[], epilogue=[], pattern=[MLP], loops=loops), []

    def noted(call, args, kwargs, context):
        traced.extend([context.module.path] if isinstance(context.module, Sublayer) else [])
        return call(*args, **kwargs)

    params = shapes(model, BATCH)
    with nn.intercept_methods(noted):
        jax.eval_shape(model.apply, params, BATCH)
    assert traced == [("layers", "mlp_0")]


def test_depth_runs_from_0_to_1(key):
    """Stochastic depth at rate 1 keeps the first layer always and the last never."""
    model = stack(prologue=[], epilogue=[], pattern=[MLP], repeats=3, residual=dict(kind="plain", drop_path=0.999999))
    params = drawn(model, BATCH)["params"]
    how = dict(train=True, rngs={"dropout": hashed(0)}, capture_intermediates=True)
    _, seen = jax.jit(lambda p: model.apply({"params": p}, BATCH, **how))(params)
    streams = seen["intermediates"]["layers"]["mlp_0"]["skip"]["__call__"][0]
    embedded = seen["intermediates"]["embed"]["__call__"][0][0]
    assert (streams[0] != embedded).any() and (streams[2] == streams[1]).all()


def norm_of(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


PLACEMENTS = {
    "none": ((), lambda x, f: x + f(x)),
    "pre": (("in",), lambda x, f: x + f(norm_of(x))),
    "post": (("out",), lambda x, f: norm_of(x + f(x))),
    "sandwich": (("in", "residual"), lambda x, f: x + norm_of(f(norm_of(x)))),
    "all": (("in", "residual", "out"), lambda x, f: norm_of(x + norm_of(f(norm_of(x))))),
}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_norms_stand_where_they_are_put(key, name):
    places, equation = PLACEMENTS[name]
    sublayer = Sublayer(part=freeze(MLP), norms=freeze({place: NORM for place in places}))
    x = np.random.default_rng(0).standard_normal((2, 5, 16), np.float32)
    params = drawn(sublayer, x, Context(), by=0.0)["params"]  # norms that scale nothing
    y, _ = run(sublayer, {"params": params}, x, Context())
    p = jax.tree.map(np.asarray, params["part"])

    def mlp(h):
        h = h @ p["up"]["kernel"] + p["up"]["bias"]
        return h * np.vectorize(math.erfc)(-h / math.sqrt(2)) / 2 @ p["down"]["kernel"] + p["down"]["bias"]

    assert_close(y, equation(x, mlp))


def test_parallel_parts_share_one_normed_input(key):
    both = Sublayer(part=freeze([ATTENTION, MLP]), norms=freeze({"in": NORM}))
    x = np.random.default_rng(0).standard_normal((2, 5, 16), np.float32)
    params = drawn(both, x, Context())["params"]
    y, _ = run(both, {"params": params}, x, Context())
    total = x
    for i, part in enumerate((ATTENTION, MLP)):
        alone = Sublayer(part=freeze(part), norms=freeze({"in": NORM}))
        own = {"in_norm": params["in_norm"], "part": params[f"part_{i}"]}
        total = total + np.asarray(run(alone, {"params": own}, x, Context())[0]) - x
    assert_close(y, total)


def test_a_sublayer_may_differ_from_the_stack(key):
    model = stack(prologue=[dict(part=MLP, norms={}, residual=dict(kind="plain"))], epilogue=[])
    params = shapes(model, BATCH)["params"]
    assert set(params["prologue"]["mlp_0"]) == {"part"}
    assert set(params["layers"]["mlp_1"]) == {"part", "in_norm", "skip"}


step = jax.jit(lambda model, params, batch, state: model.apply(params, batch, state=state), static_argnums=0)


@pytest.mark.parametrize("pieces", [(1,) * 11, (5, 1, 5)], ids=["steps", "pieces"])
def test_a_causal_stack_reads_piece_by_piece(pieces):
    model = stack(mask="causal", pattern=[MAMBA, dict(ATTENTION, position=dict(kind="rope")), MLP])
    params, tokens = drawn(model, BATCH), BATCH["tokens"]
    whole = run(model, params, BATCH)["lm"]
    state, ys, start = model.init_state(2, 11), [], 0
    for length in pieces:
        positions = np.broadcast_to(np.arange(start, start + length), (2, length))
        out = step(model, params, {"tokens": tokens[:, start : start + length], "positions": positions}, state)
        state = out["state"]
        ys.append(out["lm"])
        start += length
    assert_close(np.concatenate(ys, axis=1), whole)


def test_prefix_tokens_see_each_other_and_no_more():
    model, tokens = stack(mask="causal"), BATCH["tokens"]
    batch = {"tokens": tokens, "prefix": np.broadcast_to(np.arange(11) < 4, (2, 11))}
    params = drawn(model, batch)
    y = run(model, params, batch)["lm"]

    def moved(t):
        other = np.where(np.arange(11) == t, (tokens + 1) % 13, tokens)
        difference = np.asarray(run(model, params, {**batch, "tokens": other})["lm"]) - y
        return np.flatnonzero(np.abs(difference).max((0, 2)) > 1e-6)

    assert moved(3).tolist() == list(range(11)) and moved(6).tolist() == list(range(6, 11))


def test_bfloat16_computes_in_bfloat16_with_float32_parameters():
    model, wide = (stack(pattern=[ATTENTION, MAMBA, MLP], **dtype) for dtype in (dict(dtype="bfloat16"), {}))
    params = drawn(model, BATCH)
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out, exact = run(model, params, BATCH), run(wide, params, BATCH)
    assert out["hidden"].dtype == jnp.bfloat16 and out["lm"].dtype == jnp.float32
    assert_close(out["lm"], exact["lm"], rtol=0.05)  # a dozen roundings at 2^-9, some of them amplified by norms


@pytest.mark.parametrize(
    "changes,said",
    [
        (
            dict(pattern=[dict(kind="atention", heads=2)]),
            "mixer or ffn' has no kind 'atention' .did you mean 'attention'",
        ),
        (dict(pattern=[dict(kind="attention", head=2)]), "mixer 'attention' has no field 'head' .did you mean 'heads'"),
        (dict(pattern=[dict(kind="attention")]), "mixer 'attention' needs heads"),
        (dict(pattern=[dict(kind="attention", heads=3)]), "width of 16 does not divide among 3 heads"),
        (dict(pattern=[dict(part=MLP, nroms={})]), "a sublayer has no field 'nroms'; it has part, norms, residual"),
        (
            dict(pattern=[dict(part=[dict(part=MLP, norms={"out": NORM})])]),
            "a branch .* at in, residual; .* no place 'out'",
        ),
        (
            dict(pattern=[dict(part=[dict(part=MLP, residual={})])]),
            "a branch of .* no field 'residual'; give it to the",
        ),
        (dict(norms={"after": NORM}), "norms at in, residual, out; there is no place 'after'"),
        (dict(remat="everything"), "no remat 'everything'; there are none, full, dots"),
        (dict(mask="triangular"), "mask is 'triangular'; it must be 'full' or 'causal'"),
        (dict(layers=3), "structure 'stack' has no field 'layers'"),
    ],
)
def test_bad_specs(changes, said):
    with pytest.raises(SpecError, match=said):
        shapes(stack(**changes), BATCH)


def test_only_a_causal_stack_has_a_state():
    with pytest.raises(SpecError, match="only a causal stack reads piece by piece"):
        stack().init_state(1, 8)
    relative = stack(mask="causal", pattern=[dict(kind="relative", heads=2), MLP])
    with pytest.raises(SpecError, match="mixer 'relative' keeps no state, so a stack with it does not read piece by"):
        relative.init_state(1, 8)


def test_a_piece_has_positions_that_continue(key):
    """Without them each piece would count from 0 again."""
    model = stack(mask="causal")
    with pytest.raises(SpecError, match="needs batch.'positions'., which continue from the last"):
        jax.eval_shape(lambda: model.init(key, {"tokens": BATCH["tokens"]}, state=model.init_state(2, 11)))
