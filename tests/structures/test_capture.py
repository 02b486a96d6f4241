"""Captured outputs: the same numbers as by hand, for every kind of layer, and what the errors say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn, run
from xfm.errors import XfmError

NORM = dict(kind="layernorm")
MIXERS = {
    "attention": dict(kind="attention", heads=2, position=dict(kind="rope")),
    "mamba2": dict(kind="mamba2", heads=4, head_width=8, state=4, chunk=4),
    "bidirectional": dict(
        kind="bidirectional",
        mixer=dict(kind="mamba2", heads=4, head_width=8, state=4, chunk=4),
        share="all",
    ),
}
BATCH = {"tokens": np.arange(22).reshape(2, 11) % 13}


def stack(**changes):
    spec = dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=13, width=16),
        pattern=[MIXERS["attention"], dict(kind="mlp", hidden=24)],
        repeats=3,
        norms={"in": NORM},
        residual=dict(kind="plain", drop=0.5),
        norm=NORM,
        heads=dict(lm=dict(kind="mlm", vocab=13)),
    )
    model = xfm.build(spec | changes)
    return model, drawn(model, BATCH)


def captured(model, variables, *pattern):
    """What is captured, compiled, in the order of the run."""
    names = []

    @jax.jit
    def all_of(variables):
        seen = xfm.capture(model, variables, BATCH, *pattern)
        names.extend(seen)
        return seen

    seen = all_of(variables)
    return {name: np.asarray(seen[name]) for name in names}


@pytest.mark.parametrize("kind", MIXERS)
def test_repeats_lie_along_the_first_axis(kind):
    """Each captured stream is the one before it and what the part adds; the first is the embedding,
    the last goes into the norm.
    """
    model, variables = stack(pattern=[MIXERS[kind], dict(kind="mlp", hidden=24)])
    seen = captured(model, variables)
    mixed, fed = seen[f"layers/{kind}_0"], seen["layers/mlp_1"]
    assert mixed.shape == fed.shape == (3, 2, 11, 16)
    before = np.concatenate([seen["embed"][None], fed[:-1]])
    assert_close(mixed, before + seen[f"layers/{kind}_0/part"])
    assert_close(fed, mixed + seen["layers/mlp_1/part"])
    out = run(model, variables, BATCH)
    assert_close((seen["norm"], seen["head_lm"]), (out["hidden"], out["lm"]), rtol=1e-6)


def test_paths_are_those_of_the_parameters_in_the_order_of_the_run():
    model, variables = stack()
    seen = list(captured(model, variables, ".*(embed|part|norm|head_lm)"))
    assert seen == [
        "embed",
        *("layers/attention_0/in_norm", "layers/attention_0/part"),
        *("layers/mlp_1/in_norm", "layers/mlp_1/part"),
        *("norm", "head_lm"),
    ]
    params = variables["params"]
    for path in captured(model, variables, ".*/(q|up|in_norm)"):
        assert functools.reduce(lambda tree, name: tree[name], path.split("/"), params)


def test_a_module_that_runs_twice_is_listed_twice():
    model, variables = stack(pattern=[MIXERS["bidirectional"]], repeats=1)
    seen = captured(model, variables, "layers/bidirectional_0/part/[^/]*")
    ways = [path for path in seen if path.endswith(("/0", "/1"))]
    assert len(ways) == 2 and ways[0][:-1] == ways[1][:-1]
    assert np.abs(seen[ways[0]] - seen[ways[1]]).max() > 1e-3


@functools.cache
def uncompiled():
    return xfm.capture(*stack(), BATCH, "layers/mlp_1/part")


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_jit_and_grad_change_nothing(remat):
    pattern = "layers/mlp_1/part"
    model, variables = stack(remat=remat)

    @jax.jit
    def inside(v):
        def size(v):
            seen = xfm.capture(model, v, BATCH, pattern)
            return jnp.square(seen[pattern]).sum(), seen

        return jax.grad(size, has_aux=True)(v)

    gradient, seen = inside(variables)
    assert_close(seen, uncompiled())
    assert jnp.abs(gradient["params"]["layers"]["attention_0"]["part"]["q"]["kernel"]).max() > 0


@pytest.mark.parametrize(
    "pattern,said",
    [
        (r"layers/atention_0/part", "did you mean 'layers/attention_0/part'.*it has embed/word, "),
        (r"attention_0", "no module has the path 'attention_0'"),
        (r"layers/(", r"'layers/\(' is not a regular expression: missing \)"),
    ],
)
def test_a_pattern_that_finds_nothing_is_refused(pattern, said):
    model, variables = stack()
    with pytest.raises(XfmError, match=said):
        jax.eval_shape(lambda variables: xfm.capture(model, variables, BATCH, pattern), variables)
