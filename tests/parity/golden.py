"""Goldens read back: their weights put where xfm keeps them, xfm's answers held against theirs."""

import functools
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import xfm
from xfm.structures.sublayer import Sublayer

FOLDER = pathlib.Path(__file__).parents[1] / "goldens"
TOLERANCE = 1e-5  # of the largest number in the array compared
GRADIENT = 3e-5  # likewise; the references' own gradients are off by up to 9e-6 in float32

# (regex on a golden's name, paths of the parameters it fills, what happens to the array on its way
# there). In a path, {0}, {1}, … are what the regex caught; a caught number is the place along the
# leading axis of the parameters that repeat, else that is 0. A change gives one array, or a tuple
# with one for each path; NaN is where another golden's array goes.
Rule = tuple[str, str, Callable[[np.ndarray], np.ndarray]]


def same(a):
    return a


def transposed(a):
    """[out, in] -> [in, out]."""
    return a.T


def heads_out(count: int):
    """A projection to heads: [N·H, in] -> [in, N, H], or its bias [N·H] -> [N, H]."""
    return lambda a: a.T.reshape(*a.T.shape[:-1], count, -1)


def heads_in(count: int):
    """A projection from heads: [out, N·H] -> [N, H, out]."""
    return lambda a: a.T.reshape(count, -1, a.shape[0])


class Golden:
    """One file: `golden["output/logits"]`, or `golden.of("output/")` without that prefix."""

    def __init__(self, name: str):
        with np.load(FOLDER / f"{name}.npz") as file:
            self.arrays = {key: file[key] for key in file.files}
        self.config = json.loads(str(self.arrays["config"]))

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def of(self, prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

    def check_gradients(self, gradients, rules: Sequence[Rule]) -> dict[str, float]:
        """Whole gradients where the golden has them, norms for all; the largest error of each."""
        flat = {_path(path): np.asarray(leaf) for path, leaf in _leaves(gradients)}
        worst = {"grad": 0.0, "norm": 0.0}

        def ours(name, array):
            pairs = []
            for path, index, placed in _places(name, array, rules):
                mine, given = flat[path] if index is None else flat[path][index], ~np.isnan(placed)
                pairs.append((mine[given], placed[given]))
            return pairs

        for name, array in self.of("grad/").items():
            for mine, theirs in ours(name, array):
                error = close(mine, theirs, f"gradient of {name}", GRADIENT)
                worst["grad"] = max(worst["grad"], error)
        shapes, norms = self.of("weight/"), self.of("grad_norm/")
        largest = max(norms.values())
        for name, norm in norms.items():
            mine = [a for a, _ in ours(name, shapes[name])]
            mine = np.sqrt(sum(np.sum(a.astype(np.float64) ** 2) for a in mine))
            if norm < 1e-9 * largest:  # a bias of keys, which moves no weight of a softmax
                assert mine < GRADIENT * largest, f"gradient of {name}: {mine:.1e} and not 0"
            else:
                error = close(mine, norm, f"norm of the gradient of {name}", GRADIENT)
                worst["norm"] = max(worst["norm"], error)
        return worst


def close(mine, theirs, what: str, tolerance: float = TOLERANCE) -> float:
    """The largest difference, relative to the largest number of `theirs`; at most `tolerance`."""
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    assert mine.shape == theirs.shape, f"{what}: shape {mine.shape} instead of {theirs.shape}"
    assert np.isfinite(mine).all(), f"{what}: not finite"
    error = np.abs(mine - theirs).max() / max(np.abs(theirs).max(), 1e-30)
    assert error <= tolerance, f"{what}: off by {error:.1e} of its scale, {tolerance:.0e} allowed"
    return float(error)


def place(arrays: Mapping[str, np.ndarray], shapes, rules: Sequence[Rule]):
    """Arrays by foreign names as a parameter tree, each used, and each parameter filled once."""
    flat = {_path(path): np.full(a.shape, np.nan, np.float32) for path, a in _leaves(shapes)}
    for name, array in arrays.items():
        for path, index, placed in _places(name, array, rules):
            assert path in flat, f"{name} goes to {path}, which is none of {', '.join(flat)}"
            target = flat[path] if index is None else flat[path][index]
            shapes_of_both = f"{name} {placed.shape} into {path} {target.shape}"
            assert target.shape == placed.shape, shapes_of_both
            given = ~np.isnan(placed)
            assert np.isnan(target[given]).all(), f"{path} is filled twice: {shapes_of_both}"
            target[given] = placed[given]
    empty = [path for path, leaf in flat.items() if np.isnan(leaf).any()]
    assert not empty, f"not filled: {', '.join(empty)}"
    return jax.tree_util.tree_map_with_path(lambda path, _: flat[_path(path)], shapes)


def check(
    golden: Golden, spec: Mapping, batch, rules: Sequence[Rule], read, *, per_layer=2, real=None
) -> dict[str, float]:
    """Builds `spec`, runs it on the golden's weights, compares outputs, layers and gradients.

    read: from the model's answer to outputs by the golden's names.  per_layer: how many sublayers
    the golden calls a layer.  real: bool [B T], tokens whose outputs count.
    Returns the largest error of each output, relative to its scale.
    """
    model = xfm.build(spec)
    batch = {key: jnp.asarray(value) for key, value in batch.items()}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    params = place(golden.of("weight/"), shapes, rules)

    def loss(params):
        """The sum of outputs times the golden's cotangents; and all that there is to compare."""
        answer, kept = model.apply(
            {"params": params},
            batch,
            capture_intermediates=lambda m, _: isinstance(m, Sublayer) or m.name == "embed",
            mutable=["intermediates"],
        )
        found = read(answer)
        total = sum(jnp.sum(found[k] * c) for k, c in golden.of("input/cotangent/").items())
        layers = dict(enumerate(stages(kept["intermediates"], per_layer)))
        layers["final"] = answer["hidden"]
        return total, found | {f"hidden/{i}": x for i, x in layers.items()}

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    errors = {}
    for key, theirs in golden.of("output/").items():
        mine = np.asarray(found[key])
        if real is not None and mine.ndim == 3:
            mine, theirs = mine[real], theirs[real]
        errors[key] = close(mine, theirs, key)
    return errors | golden.check_gradients(gradients, rules)


def stages(kept, per_layer: int) -> list[jax.Array]:
    """The stream after the embedding and after each layer, a layer being so many sublayers."""
    ((embedded, _),) = kept["embed"]["__call__"]
    names = sorted(kept["layers"], key=lambda name: int(name.rsplit("_", 1)[1]))
    after = [kept["layers"][name]["__call__"][0][0] for name in names]  # each [repeats B T D]
    stream = [x[i] for i in range(after[0].shape[0]) for x in after]
    return [embedded, *stream[per_layer - 1 :: per_layer]]


def _places(name, array, rules):
    """Where the first rule that fits puts the array: (path, index or None, array) of each."""
    for pattern, paths, change in rules:
        if match := re.fullmatch(pattern, name):
            index = next((int(g) for g in match.groups() if g.isdigit()), 0)
            words = [WORDS.get(g, g) for g in match.groups()]
            paths = paths.format(*words).split()
            placed = change(array)
            placed = placed if isinstance(placed, tuple) else (placed,)
            indices = [index if re.match(r"(stage_\d+/)?layers/", path) else None for path in paths]
            return list(zip(paths, indices, placed, strict=True))
    raise AssertionError(f"no rule for {name}")


WORDS = dict(query="q", key="k", value="v", weight="kernel")


def _leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _path(path) -> str:
    return "/".join(str(getattr(key, "key", key)) for key in path)


load = functools.cache(Golden)
