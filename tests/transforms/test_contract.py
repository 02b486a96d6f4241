"""What every transform of the table owes: it acts on any network, merges exactly, trains, and says what is wrong."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import noise, run, shapes
from tests.keys import key as hashed
from xfm.configs.text import adapter_bias, bert
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.sharding import RULES, rule_of
from xfm.spec import SpecError
from xfm.train.optimiser import frozen_paths
from xfm.transforms import TRANSFORMS, network, operated, transformed
from xfm.transforms.adapter_bias import shift
from xfm.transforms.base import Transform
from xfm.transforms.lora import update
from xfm.transforms.redraw import redraw
from xfm.transforms.transformed import sites_of

EXAMPLES = {
    "lora": [dict(rank=3), dict(rank=2, alpha=4.0, paths=r"/(k|o|up|down)$|^head_")],
    "adapter_bias": [dict(), dict(paths="/(q|o|down)$")],
}
PLAIN = ("tract",)  # without parameters of their own, tested beside this file
CASES = [dict(kind=kind, **fields) for kind, examples in EXAMPLES.items() for fields in examples]
LAST = [dict(kind=kind, **examples[-1]) for kind, examples in EXAMPLES.items()]
BATCH = {"tokens": np.arange(12).reshape(2, 6) % 11, "segments": np.array([[1] * 6, [1] * 4 + [0] * 2])}
LAYER = [dict(kind="attention", heads=2), dict(kind="mlp", hidden=12)]


def spec(**changes):
    """A stack with a prologue outside the scan, repeated layers, and a head."""
    return dict(
        kind="stack", embed=dict(kind="tokens", vocab=11, width=8), prologue=LAYER, pattern=LAYER, repeats=2,
        norms={"in": dict(kind="layernorm")}, heads=dict(mlm=dict(kind="mlm", vocab=11)), dtype="float32",
    ) | changes  # fmt: skip


def drawn(case, **changes):
    """(network, transformed network, parameters of it, none at its start)."""
    return _drawn(json.dumps(case), json.dumps(changes))


@functools.cache
def _drawn(case, changes):
    case, model = json.loads(case), spec(**json.loads(changes))
    one = network(dict(model=model, transforms=case if isinstance(case, list) else [case]))
    return xfm.build(model), one, jax.device_put(noise(shapes(one, BATCH)["params"], seed=0))


def output(net, params, head="mlm"):
    return run(net, {"params": params}, BATCH)[head]


@functools.partial(jax.jit, static_argnums=0)
def merged(net, params):
    return net.merged(params)


def without_own(params):
    return {name: leaf for name, leaf in params.items() if name != "own"}


def test_every_transform_has_examples():
    assert {*EXAMPLES, *PLAIN} == set(TRANSFORMS)


def test_the_network_is_drawn_as_without_them():
    """Its parameters have the same paths and values, the own ones lie at own/PATH/NAME/LEAF, and no output changes.

    Two transforms of one kind have names and numbers of their own.
    """
    model = spec(prologue=[])
    plain, one = xfm.build(model), network(dict(model=model, transforms=[*LAST, LAST[0]]))
    params, alone = (jax.jit(net.init)(hashed(0), BATCH)["params"] for net in (one, plain))
    jax.tree.map(np.testing.assert_array_equal, without_own(params), alone)
    for path in flatten(params["own"]):
        module, name, _ = path.rsplit("/", 2)
        assert name.removesuffix("_1") in TRANSFORMS and any(other.startswith(f"{module}/") for other in flatten(alone))
    both = params["own"]["layers"]["attention_0"]["part"]["o"]
    assert np.abs(both["lora"]["in"] - both["lora_1"]["in"]).min() > 0
    np.testing.assert_array_equal(output(one, params), output(plain, alone))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_own_parameters_have_one_sharding_rule_each(case):
    for path in flatten(drawn(case)[2]["own"]):
        for table in RULES.values():
            rule_of(f"own/{path}", table)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_merged_is_unmerged(case):
    plain, one, params = drawn(case)
    made, base = output(one, params), merged(one, params)
    assert flatten(base).keys() == flatten(without_own(params)).keys()
    assert_close(output(plain, base), made)
    assert np.abs(np.asarray(made - output(plain, without_own(params)))).max() > 1e-2, "it does nothing"
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), without_own(params))
    in_half = jax.eval_shape(one.merged, {**half, "own": params["own"]})
    assert {x.dtype for x in flatten(in_half).values()} == {jnp.bfloat16.dtype}


@pytest.mark.parametrize("case", LAST, ids=str)
def test_each_repeat_has_its_own(case):
    """Scanned layers, each with its slice of the stacked own parameters, are the layers one after the other."""
    _, one, params = drawn(case)
    loop = transformed(xfm.build(spec(prologue=LAYER * 2, repeats=1)), [case])

    def unrolled(tree):
        """With the first of the stacked layers as the second of the prologue."""
        first = {name: jax.tree.map(lambda x: x[0], leaves) for name, leaves in tree["layers"].items()}
        moved = {name.replace("_0", "_2").replace("_1", "_3"): leaves for name, leaves in first.items()}
        return {
            **tree,
            "prologue": {**tree["prologue"], **moved},
            "layers": jax.tree.map(lambda x: x[1:], tree["layers"]),
        }

    params = jax.tree.map(np.asarray, params)
    flat = {**unrolled(without_own(params)), "own": unrolled(params["own"])}
    assert_close(output(loop, flat), output(one, params))


@pytest.mark.parametrize("case", LAST, ids=str)
def test_own_parameters_have_gradients(case):
    """Also through rematerialised and looped layers, and in bfloat16, in which the stream stays."""
    _, one, params = drawn(case, remat="full", loops=2, dtype="bfloat16", prologue=[])

    @jax.jit
    @jax.grad
    def gradient(own):
        variables = {"params": {**params, "own": own}}
        out = one.apply(variables, BATCH, train=True, rngs={"dropout": hashed(1)})
        assert out["hidden"].dtype == jnp.bfloat16
        return (out["mlm"].astype(jnp.float32) ** 2).sum()

    for path, value in flatten(gradient(params["own"])).items():
        assert np.isfinite(value).all() and np.abs(value).max() > 0, path


def test_padding_stays_padding():
    """What stands at padding reaches no token."""
    _, one, params = drawn(LAST)
    real = BATCH["segments"] > 0
    batches = [{**BATCH, "tokens": np.where(real, BATCH["tokens"], pad)} for pad in (0, 99)]
    np.testing.assert_array_equal(*(run(one, {"params": params}, batch)["hidden"][real] for batch in batches))


def test_lora_by_hand():
    """Of kernels [D N H] and [N H D], alone and stacked."""
    rng = np.random.default_rng(0)
    for a, b, form in (
        ((6, 3), (3, 2, 4), "ir,rnh->inh"),
        ((5, 6, 3), (5, 3, 2, 4), "lir,lrnh->linh"),
        ((5, 2, 4, 3), (5, 3, 6), "lnhr,lro->lnho"),
    ):
        a, b = rng.normal(size=a), rng.normal(size=b)
        expected = np.einsum(form, a, b)
        assert_close(update(jnp.asarray(a), jnp.asarray(b), expected.shape), expected)
    _, one, params = drawn(dict(kind="lora", rank=2, alpha=6.0, paths="layers/.*/o$"))
    path = "layers/attention_0/part/o"
    leaves = params["own"]["layers"]["attention_0"]["part"]["o"]["lora"]
    change = np.einsum("lnhr,lro->lnho", leaves["in"], leaves["out"]) * 6.0 / 2
    before, after = (flatten(tree) for tree in (params, one.merged(params)))
    assert_close(after[f"{path}/kernel"], np.asarray(before[f"{path}/kernel"]) + change)
    assert [name for name in after if after[name] is not before[name]] == [f"{path}/kernel"]


def test_adapter_bias_by_hand():
    """(kernel · x + bias) vector for attention's output map, which consumes heads and their width."""
    rng = np.random.default_rng(0)
    x, vector, kernel = (rng.normal(size=size) for size in [(2, 5, 3, 4), (7,), (3, 4)])
    made = shift(jnp.asarray(x), jnp.asarray(vector), jnp.asarray(kernel), jnp.asarray(0.5))
    assert_close(made, (np.einsum("btnh,nh->bt", x, kernel) + 0.5)[..., None] * vector)


@pytest.mark.parametrize("kind,drawn,zero", [("lora", "in", "out"), ("adapter_bias", "kernel", "vector")])
def test_own_parameters_start_by_the_fan_in(kind, drawn, zero):
    """The deviation is one over the root of the number of inputs, also where these are heads and their width."""
    pattern = [dict(kind="attention", heads=2, width=1024)]
    wide = xfm.build(spec(embed=dict(kind="tokens", vocab=11, width=1024), prologue=[], pattern=pattern))
    one = TRANSFORMS[kind](paths="/(q|o)$")
    for path, leaves in one.start(jax.random.key(0), sites_of(wide, BATCH)).items():
        fan_in = {"q": 1024, "o": 2048}[path[-1]]
        assert abs(float(leaves[drawn].std()) * fan_in**0.5 - 1) < 0.1, path
        assert not leaves[zero].any()


def test_adapter_bias_trains_as_many_numbers_as_the_paper():
    """D + F + 1 a layer and the norms that the config trains: 0.17 million of BERT-large, without the classifier."""
    one = network(dict(model=bert.get_config("large").model, transforms=[dict(kind="adapter_bias")]))
    flat = flatten(jax.eval_shape(one.init, jax.random.key(0), BATCH)["params"])
    only = adapter_bias.get_config("base").train_only
    assert only[-1] == "^head_label/"
    moving = sum(flat[path].size for path in set(flat) - frozen_paths(flat, (), only[:-1]))
    assert moving == 24 * (1024 + 4096 + 1) + 25 * 2 * 1024 and round(moving / 1e6, 2) == 0.17


def test_several_act_in_their_order():
    """The second LoRA has a name and parameters of its own; AdapterBias stands around the map that both change."""
    plain, one, params = drawn(
        [
            dict(kind="lora", rank=2, paths="/down$"),
            dict(kind="adapter_bias"),
            dict(kind="lora", rank=1, paths="/down$"),
        ]
    )
    assert {path.rsplit("/", 2)[1] for path in flatten(params["own"])} == {"lora", "adapter_bias", "lora_1"}
    base = merged(one, params)
    assert_close(output(plain, base), output(one, params))
    down, own = (tree["prologue"]["mlp_1"]["part"]["down"] for tree in (params, params["own"]))
    change = np.outer(own["adapter_bias"]["kernel"], own["adapter_bias"]["vector"])
    for name, rank in (("lora", 2), ("lora_1", 1)):
        change = change + 8.0 / rank * np.asarray(own[name]["in"]) @ np.asarray(own[name]["out"])
    assert_close(base["prologue"]["mlp_1"]["part"]["down"]["kernel"], np.asarray(down["kernel"]) + change)


@dataclasses.dataclass(frozen=True)
class Shorter(Transform):
    """Surgery: of the repeated layers the first `keep`, with their parameters."""

    keep: int = 1

    def surgery(self, spec, params):
        cut = None if params is None else {**params, "layers": jax.tree.map(lambda x: x[: self.keep], params["layers"])}
        return {**spec, "repeats": self.keep}, cut


@dataclasses.dataclass(frozen=True)
class Doubling(Transform):
    """A face without parameters of its own: the output of sublayers or of linear maps, twice."""

    module: str = "Sublayer"

    def around(self, own):
        def run(call, args, kwargs, context):
            out = call(*args, **kwargs)
            if type(context.module).__name__ != self.module:
                return out
            return (2 * out[0], *out[1:]) if isinstance(out, tuple) else 2 * out

        return run


@dataclasses.dataclass(frozen=True)
class Rectified(Transform):
    """Weights below zero are zero."""

    def weights(self, params, own, rng):
        return jax.tree.map(lambda x: jnp.maximum(x, 0), params)


@dataclasses.dataclass(frozen=True)
class Noise(Transform):
    """Weights that are random in training."""

    def weights(self, params, own, rng):
        if rng is None:
            return params
        return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(rng, x.shape), params)


HERE = __name__


def test_surgery_changes_the_spec_and_the_parameters():
    cases = [dict(kind=f"{HERE}:Shorter"), dict(kind="adapter_bias")]
    _, _, params = drawn(cases[1])
    short, cut = operated(spec(), without_own(params), cases)
    one = network(dict(model=spec(), transforms=cases))
    assert short["repeats"] == 1 and one.network.repeats == 1
    shapes = jax.eval_shape(one.init, jax.random.key(0), BATCH)["params"]
    assert shapes["own"]["layers"]["mlp_1"]["part"]["down"]["adapter_bias"]["vector"].shape == (1, 8)
    assert jax.tree.map(jnp.shape, without_own(shapes)) == jax.tree.map(jnp.shape, cut)


def test_a_face_around_modules_without_own_parameters():
    one = network(dict(model=spec(), transforms=[dict(kind=f"{HERE}:Doubling")]))
    _, _, params = drawn(LAST)
    params = without_own(params)
    assert jax.tree.map(jnp.shape, jax.eval_shape(one.init, jax.random.key(0), BATCH)["params"]) == jax.tree.map(
        jnp.shape, params
    )
    with nn.intercept_methods(Doubling().around(None)):
        expected = jax.jit(lambda p: xfm.build(spec()).apply({"params": p}, BATCH)["mlm"])(params)
    np.testing.assert_array_equal(output(one, params), expected)
    with pytest.raises(XfmError, match="transform 'doubling' cannot be merged into the weights"):
        one.merged(params)


METHODS = set()


@dataclasses.dataclass(frozen=True)
class Noting(Transform):
    """Changes nothing, and notes which methods it runs around."""

    def around(self, own):
        def run(call, args, kwargs, context):
            METHODS.add(context.method_name)
            return call(*args, **kwargs)

        return run


def test_a_face_is_around_the_calls_of_modules_and_no_other_method():
    one = network(dict(model=spec(), transforms=[dict(kind=f"{HERE}:Noting")]))
    params = without_own(drawn(LAST)[2])
    jax.eval_shape(lambda: one.apply({"params": params}, BATCH))
    assert METHODS == {"__call__"}


def test_weights_come_before_interceptors_and_each_in_their_order():
    """AdapterBias reads what a later transform made of the weights; what is listed last is the outermost."""
    bias, double = dict(kind="adapter_bias"), dict(kind=f"{HERE}:Doubling", module="Linear")
    plain, one, params = drawn([bias, dict(kind=f"{HERE}:Rectified")])
    assert_close(output(plain, merged(one, params)), output(one, params))
    alone, outer = (network(dict(model=spec(), transforms=cases)) for cases in ([bias], [bias, double]))
    inner = network(dict(model=spec(), transforms=[double, bias]))
    doubled = transformed(plain, [double])
    assert_close(output(outer, params), output(doubled, merged(alone, params)), rtol=1e-4)
    assert np.abs(np.asarray(output(inner, params) - output(outer, params))).max() > 1e-2


def test_what_is_random_is_so_in_training_only():
    one = network(dict(model=spec(), transforms=[dict(kind=f"{HERE}:Noise")]))
    params = without_own(drawn(LAST)[2])

    @jax.jit
    def noisy(rngs):
        return one.apply({"params": params}, BATCH, train=True, rngs=rngs)["mlm"]

    np.testing.assert_array_equal(output(one, params), output(xfm.build(spec()), params))
    first, second = (noisy({"dropout": hashed(seed)}) for seed in (1, 2))
    assert not np.array_equal(first, output(one, params)) and not np.array_equal(first, second)
    assert_close(noisy(hashed(1)), first)  # Linen takes a single key for all that it draws


def test_sites_say_how_a_module_stands():
    sites = sites_of(xfm.build(spec()), BATCH)
    site = sites["layers/attention_0/part/o"]
    assert (site.stack, site.ins, site.outs) == ((2,), (2, 4), (8,))
    site = sites["prologue/attention_0/part/q"]
    assert (site.stack, site.ins, site.outs) == ((), (8,), (2, 4))
    site = sites["layers/mlp_1"]
    assert (site.module.__name__, site.stack, site.ins, site.outs) == ("Sublayer", (2,), (8,), (8,))


WRONG = {
    "no such kind": (dict(kind="lorra"), "slot 'transform' has no kind 'lorra' .did you mean 'lora'"),
    "no such field": (dict(kind="lora", rnk=2), "transform 'lora' has no field 'rnk'"),
    "a rank of nothing": (dict(kind="lora", rank=0), "rank is 0; it must be a whole number of at least 1"),
    "a rank too large": (dict(kind="lora", rank=9), "rank is 9, and prologue/attention_0/part/q maps 8 features to 8"),
    "nothing found": (
        dict(kind="lora", paths="/qq$"),
        "config.transforms: '/qq\\$' is found in the path of no linear module of the network; the nearest are .*/q",
    ),
    "no linear map": (dict(kind="adapter_bias", paths="skip"), "'skip' is found in the path of no linear module"),
    "no transform": (dict(kind=f"{HERE}:drawn"), "fit slot 'transform': it is a function, but must be"),
    "no dataclass": (dict(kind="xfm.errors:XfmError"), "does not fit slot 'transform': it is not a dataclass"),
    "nowhere": (dict(kind="no.such:Thing"), "there is no module 'no' for the kind 'no.such:Thing'"),
    "no list": ("lora", "config.transforms is 'lora'; it must be a list, each item a mapping"),
}


@pytest.mark.parametrize("case,words", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_sentence(case, words):
    cases = case if isinstance(case, str) else [case]
    with pytest.raises(SpecError, match=words):
        jax.eval_shape(network(dict(model=spec(), transforms=cases)).init, jax.random.key(0), BATCH)


def test_parameters_of_another_network_are_refused():
    _, one, params = drawn(dict(kind="lora", rank=3))
    own = {**params["own"], "layers": {"other_7": params["own"]["layers"]["attention_0"]}}
    with pytest.raises(XfmError, match="'lora' has parameters for layers/other_7/part/q, and the network has no such"):
        one.apply({"params": {**params, "own": own}}, BATCH)


def test_a_map_without_a_bias_takes_no_adapter_bias_in():
    _, one, params = drawn(dict(kind="adapter_bias"), pattern=[dict(kind="mlp", hidden=12, bias=False)], prologue=[])
    with pytest.raises(XfmError, match="'adapter_bias' cannot be merged: the linear map layers/mlp_0/part/down has no"):
        one.merged(params)


def test_a_start_does_not_depend_on_other_choices():
    """Each path draws from a key of its own, so that choosing more maps changes no other's start."""
    sites = sites_of(xfm.build(spec()), BATCH)
    few, more = (
        TRANSFORMS["lora"](rank=2, paths=paths).start(jax.random.key(0), sites)
        for paths in ("layers/.*/q$", "layers/.*/(q|v)$")
    )
    q, v = "layers/attention_0/part/q", "layers/attention_0/part/v"
    np.testing.assert_array_equal(few[q]["in"], more[q]["in"])
    assert not np.array_equal(more[q]["in"], more[v]["in"])


def test_rules_of_initial_values_do_not_reach_own_parameters():
    rules = [("", dict(kind="constant", value=7.0))]
    params = jax.jit(lambda params: redraw(params, rules, hashed(0)))(drawn(dict(kind="lora", rank=3))[2])
    params = jax.tree.map(np.asarray, params)
    assert all((x == 7).all() != path.startswith("own/") for path, x in flatten(params).items())
