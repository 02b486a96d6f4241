"""What small changes of a ViT have to be, against the plain parts. Takes six seconds."""

import jax
import jax.numpy as jnp
import numpy as np

import xfm
from tests.close import assert_close
from tests.drawn import drawn, run, values
from xfm.configs.vision import dual_patchnorm, small_changes, vit
from xfm.context import Context
from xfm.initial import initial_shapes
from xfm.parts import SLOTS
from xfm.spec import build

T, D = 6, 16
X = np.random.default_rng(0).standard_normal((2, T, D), np.float32)
ATTENTION = dict(kind="attention", heads=2)


def test_memory_is_keys_and_values_without_queries():
    """Of each head, in NumPy; padding is masked and the memory is not."""
    mixer = build(SLOTS["mixer"], dict(kind="extended", mixer=ATTENTION, tokens=3))
    segments = np.array([[2] * 4 + [0] * 2, [1] * T])
    params = drawn(mixer, X, Context(), by=0.5)
    y = np.asarray(run(mixer, params, X, Context(segments=segments))[0])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    q, k, v = (p["mixer"][name] for name in "qkv")
    for b, length in enumerate((4, T)):
        read = np.concatenate([p["memory"][0], X[b, :length]])
        Q, K, V = (np.tensordot(a, m["kernel"], 1) + m["bias"] for a, m in ((X[b, :length], q), (read, k), (read, v)))
        scores = np.exp(np.einsum("tnh,snh->nts", Q, K) / np.sqrt(8))
        mixed = np.einsum("nts,snh->tnh", scores / scores.sum(-1, keepdims=True), V)
        assert_close(y[b, :length], np.tensordot(mixed, p["mixer"]["o"]["kernel"], 2) + p["mixer"]["o"]["bias"])


def test_one_matrix_may_stand_for_queries_and_keys():
    """A = Wq Wkᵀ and the product of values and output give what attention gives; a symmetric A has symmetric scores."""
    plain = build(SLOTS["mixer"], dict(ATTENTION, bias=False, scale=D**-0.5))
    collapsed = build(SLOTS["mixer"], dict(kind="collapsed_attention", heads=2))
    p = drawn(plain, X, Context())["params"]
    q, k, v, o = (np.asarray(p[name]["kernel"]) for name in "qkvo")
    own = {"q": {"kernel": np.einsum("dnh,enh->dne", q, k)}, "o": {"kernel": np.einsum("dnh,nhe->nde", v, o)}}
    assert_close(run(collapsed, {"params": own}, X, Context())[0], run(plain, {"params": p}, X, Context())[0])
    from xfm.parts.mixer.collapsed_attention import symmetric

    A = np.asarray(symmetric(jnp.arange(10.0)[None], 4))[0]
    assert (A == A.T).all() and A[np.triu_indices(4)].tolist() == list(range(10))


def test_positions_whose_norm_is_zero_are_none_and_patches_may_be_scaled():
    """LaPE with norms of scale and bias 0 is a ViT without positions; Dual PatchNorm sees no patch's contrast."""
    c = vit.get_config("tiny")
    c.model["embed"]["position"] = dict(kind="none")
    plain = c.model
    c = vit.get_config("tiny")
    small_changes.lape(c)
    stem = dual_patchnorm.get_config("tiny").model["embed"]["stem"]
    for model in (c.model, plain):
        model["embed"].update(patch=None, stem=stem)
    images = np.random.default_rng(1).standard_normal((2, 8, 8, 1), np.float32)
    ours, theirs = xfm.build(c.model), xfm.build(plain)
    params = values(initial_shapes(ours, {"images": images})["params"])
    part = params["layers"]["positioned_0"]["part"]
    none = jax.tree.map(jnp.zeros_like, part["norm"])
    params["layers"]["positioned_0"]["part"] = part | {"norm": none}
    own = {name: a for name, a in params.items() if name not in ("position", "layers")}
    layers = {"attention_0": {**params["layers"]["positioned_0"], "part": part["mixer"]}}
    own["layers"] = layers | {"mlp_1": params["layers"]["mlp_1"]}
    changed = images.copy()
    changed[:, :2, 2:4] = 7 * changed[:, :2, 2:4] + 3  # one patch

    @jax.jit
    def both(params, own):
        found = [ours.apply({"params": params}, {"images": a})["label"] for a in (images, changed)]
        return found, theirs.apply({"params": own}, {"images": images})["label"]

    (found, scaled), expected = both(params, own)
    assert_close(found, expected)
    assert_close(scaled, found, rtol=2e-4)  # but for the norm's epsilon
