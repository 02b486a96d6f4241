"""The one equation, and the stack: scan equals loop, remat changes nothing, states, masks, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn
from xfm.context import Context
from xfm.spec import SpecError, freeze
from xfm.structures.sublayer import Sublayer

NORM = dict(kind="layernorm")
ATTENTION = dict(kind="attention", heads=2)
MLP = dict(kind="mlp", hidden=24)
MAMBA = dict(kind="mamba2", heads=4, head_width=8, state=4, chunk=4)
BATCH = {"tokens": jnp.arange(22).reshape(2, 11) % 13}


def stack(**changes):
    spec = dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=13, width=16),
        prologue=[MLP],
        pattern=[ATTENTION, MLP],
        repeats=3,
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


def loss_and_gradient(model, params, batch=BATCH, **how):
    run = jax.jit(jax.value_and_grad(lambda p: jnp.square(model.apply({"params": p}, batch, **how)["lm"]).mean()))
    return run(params)


def test_scan_equals_loop(key):
    scanned, looped = stack(), stack(pattern=[ATTENTION, MLP] * 3, repeats=1)
    params = drawn(scanned, BATCH)["params"]
    loss, gradient = loss_and_gradient(scanned, params)
    loop_loss, loop_gradient = loss_and_gradient(looped, unrolled(params, 3, 2))
    assert_close((loop_loss, loop_gradient), (loss, unrolled(gradient, 3, 2)))


def test_loops_run_the_same_parameters_again(key):
    """3 repeats of 2 loops are 6 layers of which each two are alike."""
    looped = stack(pattern=[ATTENTION, MLP], repeats=3, loops=2)
    params = drawn(looped, BATCH)["params"]
    written_out = stack(pattern=[ATTENTION, MLP] * 6, repeats=1)
    layers = unrolled(params, 3, 2)["layers"]
    twice = {f"{n.rpartition('_')[0]}_{(i // 2) * 4 + i % 2 + 2 * again}": x for again in (0, 1)
             for n, x in layers.items() for i in [int(n.rpartition("_")[2])]}  # fmt: skip
    loss, gradient = loss_and_gradient(looped, params)
    loop_loss, loop_gradient = loss_and_gradient(written_out, {**params, "layers": twice})
    assert_close(loop_loss, loss)
    up = {name: mlp["part"]["up"]["kernel"] for name, mlp in loop_gradient["layers"].items() if "mlp" in name}
    summed = [(up[f"mlp_{4 * r + 1}"] + up[f"mlp_{4 * r + 3}"])[0] for r in range(3)]
    assert_close(gradient["layers"]["mlp_1"]["part"]["up"]["kernel"], jnp.stack(summed))
    with pytest.raises(SpecError, match="loops its layers does not read piece by piece"):
        stack(loops=2, mask="causal").init_state(1, 4)


def test_layers_share_the_position_of_the_stack(key):
    """One table for all layers equals a table of each layer's own with the same numbers."""
    buckets = dict(kind="relative_buckets", buckets=8, reach=16)
    shares = stack(position=dict(buckets, heads=2), pattern=[dict(ATTENTION, position=dict(kind="shared")), MLP])
    owns = stack(pattern=[dict(ATTENTION, position=buckets), MLP])
    params = drawn(shares, BATCH)["params"]
    table = jax.random.normal(key, (8, 2))
    mixer = params["layers"]["attention_0"]
    part = {**mixer["part"], "position": {"table": jnp.stack([table] * 3)}}
    own = {**params, "layers": {**params["layers"], "attention_0": {**mixer, "part": part}}}
    del own["position"]
    loss, gradient = loss_and_gradient(shares, {**params, "position": {"table": table}})
    own_loss, own_gradient = loss_and_gradient(owns, own)
    assert_close(loss, own_loss)
    each = own_gradient["layers"]["attention_0"]["part"]["position"]["table"]
    assert_close(gradient["position"]["table"], each.sum(0))
    with pytest.raises(SpecError, match="this stack has none"):
        stack(pattern=[dict(ATTENTION, position=dict(kind="shared"))]).init(key, BATCH)
    with pytest.raises(SpecError, match="needs heads"):
        stack(position=buckets).init(key, BATCH)


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_nothing(key, remat):
    """Dropout included: what is computed again drops the same units."""
    attention = dict(ATTENTION, drop=0.2)
    how = dict(pattern=[attention, MLP], residual=dict(kind="plain", drop=0.2, drop_path=0.3))
    train = dict(train=True, rngs={"dropout": jax.random.key(7)})
    kept, forgotten = stack(**how), stack(**how, remat=remat)
    params = drawn(kept, BATCH)["params"]
    assert_close(loss_and_gradient(forgotten, params, **train), loss_and_gradient(kept, params, **train), rtol=1e-6)


def test_compiled_program_does_not_grow_with_depth(key):
    def lines(depth):
        model = stack(repeats=depth)
        params = jax.eval_shape(model.init, key, BATCH)
        return len(jax.jit(model.apply).lower(params, BATCH).as_text().splitlines())

    assert lines(48) == lines(6)


def test_depth_runs_from_0_to_1(key):
    """Stochastic depth at rate 1 keeps the first layer always and the last never."""
    model = stack(prologue=[], epilogue=[], pattern=[MLP], repeats=3, residual=dict(kind="plain", drop_path=0.999999))
    params = drawn(model, BATCH)["params"]
    _, seen = model.apply({"params": params}, BATCH, train=True, rngs={"dropout": key}, capture_intermediates=True)
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
    x = jax.random.normal(key, (2, 5, 16))
    params = drawn(sublayer, x, Context(), by=0.0)["params"]  # norms that scale nothing
    y, _ = sublayer.apply({"params": params}, x, Context())
    p = jax.tree.map(np.asarray, params["part"])

    def mlp(h):
        h = h @ p["up"]["kernel"] + p["up"]["bias"]
        return np.asarray(jax.nn.gelu(h, approximate=False)) @ p["down"]["kernel"] + p["down"]["bias"]

    assert_close(y, equation(np.asarray(x), mlp))


def test_parallel_parts_share_one_normed_input(key):
    both = Sublayer(part=freeze([ATTENTION, MLP]), norms=freeze({"in": NORM}))
    x = jax.random.normal(key, (2, 5, 16))
    params = drawn(both, x, Context())["params"]
    y, _ = both.apply({"params": params}, x, Context())
    total = x
    for i, part in enumerate((ATTENTION, MLP)):
        alone = Sublayer(part=freeze(part), norms=freeze({"in": NORM}))
        own = {"in_norm": params["in_norm"], "part": params[f"part_{i}"]}
        total = total + alone.apply({"params": own}, x, Context())[0] - x
    assert_close(y, total)


def test_a_sublayer_may_differ_from_the_stack(key):
    model = stack(prologue=[dict(part=MLP, norms={}, residual=dict(kind="plain"))], epilogue=[])
    params = drawn(model, BATCH)["params"]
    assert set(params["prologue"]["mlp_0"]) == {"part"}
    assert set(params["layers"]["mlp_1"]) == {"part", "in_norm", "skip"}


@pytest.mark.parametrize("pieces", [(1,) * 11, (5, 1, 5)], ids=["steps", "pieces"])
def test_a_causal_stack_reads_piece_by_piece(key, pieces):
    model = stack(mask="causal", pattern=[MAMBA, dict(ATTENTION, position=dict(kind="rope")), MLP])
    params = drawn(model, BATCH)["params"]
    whole = model.apply({"params": params}, BATCH)["lm"]
    step = jax.jit(lambda batch, state: model.apply({"params": params}, batch, state=state))
    state, ys, start = model.init_state(2, 11), [], 0
    for length in pieces:
        tokens = BATCH["tokens"][:, start : start + length]
        positions = jnp.broadcast_to(jnp.arange(start, start + length), tokens.shape)
        out = step({"tokens": tokens, "positions": positions}, state)
        state = out["state"]
        ys.append(out["lm"])
        start += length
    assert_close(jnp.concatenate(ys, axis=1), whole)


def test_prefix_tokens_see_each_other_and_no_more(key):
    model = stack(mask="causal")
    batch = {**BATCH, "prefix": jnp.broadcast_to(jnp.arange(11) < 4, (2, 11))}
    params = drawn(model, batch)["params"]
    y = model.apply({"params": params}, batch)["lm"]

    def moved(t):
        tokens = batch["tokens"].at[:, t].set((batch["tokens"][:, t] + 1) % 13)
        difference = model.apply({"params": params}, {**batch, "tokens": tokens})["lm"] - y
        return np.flatnonzero(np.abs(difference).max((0, 2)) > 1e-6)

    assert moved(3).tolist() == list(range(11)) and moved(6).tolist() == list(range(6, 11))


def test_bfloat16_computes_in_bfloat16_with_float32_parameters(key):
    model = stack(dtype="bfloat16", pattern=[ATTENTION, MAMBA, MLP])
    params = drawn(model, BATCH)["params"]
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out = model.apply({"params": params}, BATCH)
    exact = stack(pattern=[ATTENTION, MAMBA, MLP]).apply({"params": params}, BATCH)
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
        (dict(norms={"after": NORM}), "norms at in, residual, out; there is no place 'after'"),
        (dict(remat="everything"), "no remat 'everything'; there are none, full, dots"),
        (dict(mask="triangular"), "mask is 'triangular'; it must be 'full' or 'causal'"),
        (dict(layers=3), "structure 'stack' has no field 'layers'"),
    ],
)
def test_bad_specs(key, changes, said):
    with pytest.raises(SpecError, match=said):
        stack(**changes).init(key, BATCH)


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
        model.init(key, {"tokens": BATCH["tokens"]}, state=model.init_state(2, 11))
