"""What the suites over all slots give to a part: parameters away from their initial values, inputs and a context.

Nothing here is compiled: shapes come from `eval_shape`, numbers from NumPy.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.drawn import away
from tests.parts.examples import EXAMPLES
from xfm.context import Context
from xfm.kernels.attention import Mask, Slopes
from xfm.parts import SLOTS
from xfm.parts.sight.base import Attend, Projected
from xfm.spec import build

B, T, D, N = 3, 13, 16, 3
PADDED = np.array([[1] * 9 + [0] * 4, [0] * 2 + [1] * 11, [0] * T], np.int32)  # the last row is all padding
PACKED = np.array([[1] * 4 + [0] + [1] * 3 + [2] * 3 + [0] * 2, [1] * T, [2] * 5 + [1] * 8], np.int32)
TOKENS = np.array([[5, 3, 9, 9, 1, 2, 9, 1, 4, 11, 11, 11, 11], [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 9, 3, 4], [9] * T])
SLOPES = (0.5, 1.0, 2.0)  # of the bias that a stack shares with its layers
OF_IMAGES = (
    "patches",
    "clicked",
    "words",
    "latents",
    "stream",
    "tubelets",
    "spectrogram",
    "naflex",
)  # embeddings whose rows have no padding
GRID = (3, 4)  # a class token and 12 patches
DENSE = (  # heads that read maps
    "all_mlp", "fpn", "fused", "linear_maps", "mlp_maps", "simple_pyramid", "unet_pixels", "upernet",
    "widening_pyramid",
)  # fmt: skip


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def stream(seed: int = 0) -> np.ndarray:
    return normal(seed, B, T, D)


def packed(**known: Any) -> Context:
    """Of rows with several texts and with padding between and after them."""
    return Context.of({"segments": jnp.asarray(PACKED), "types": TOKENS % 3}, **known)


def known() -> dict[str, Any]:
    """What parts find in their context beside segments and positions."""
    return dict(
        tokens=TOKENS,
        types=TOKENS % 3,
        heads=dict(pooled=normal(3, B, D)),
        embedding=normal(4, 11, D),
        relative=dict(bias=Slopes(np.float32(SLOPES))),
        shared=dict(embedded=stream(5), period=stream(6)),
    )


def batch(kind: str) -> dict[str, np.ndarray]:
    """What an embedding of that kind reads."""
    if kind == "latents":
        order = np.stack([np.random.default_rng(i).permutation(6) for i in range(B)])
        known = {"encoded": order[:, :3], "predicted": order[:, 3:5]}
        seen = {"images": normal(6, B, 6, 8, 3), "video": normal(6, B, 4, 3, 4, 3)}
        return {"latents": normal(5, B, 5, 7), **known, **seen}
    if kind == "stream":
        return {"latents": normal(5, B, T, D)}
    if kind == "naflex":
        return {"patches": normal(6, B, T, 12), "sides": np.array([[3, 4], [2, 5], [1, 13]], np.int32)}
    if kind in ("tubelets", "spectrogram"):
        return {"video": normal(6, B, 4, 6, 8, 3), "frames": normal(6, B, 6, 8)}
    if kind == "clicked":
        clicks = np.array([[[1, 2, 1], [4, 7, -1], [0, 0, 0]], [[5, 0, -1], [2, 2, 0], [3, 4, 1]], [[0, 0, 0]] * 3])
        return {"images": normal(6, B, 6, 8, 3), "clicks": clicks, "mask": (normal(7, B, 6, 8) > 0).astype(np.float32)}
    if kind in OF_IMAGES:
        return {"images": normal(6, B, 6, 8, 3)}
    tokens = np.random.default_rng(7).integers(0, 11, (B, T))
    asked = {"asked": np.array([[4, 0, 12]] * B)} if kind == "questions" else {}
    return {"tokens": tokens, "types": tokens % 2, **asked}


def position_inputs(kind: str) -> tuple:
    on_grid = kind.endswith(("_2d", "_grid")) or kind in ("relative_patches", "rope_centres")
    ctx = Context(grid=GRID, **known()) if on_grid else packed(**known())
    ctx = Context(grid=(2, 2, 3), **known()) if kind in ("learned_video", "space_time") else ctx
    ctx = ctx.replace(grid=(2, 7)) if kind in ("grid_decay", "grid_distances") else ctx
    return (stream(), *(normal(seed, B, T, N, 8) for seed in (8, 9, 10)), ctx)


def sight_inputs(kind: str) -> tuple:
    whole = {
        name: Projected(*(normal(seed + i, B, T, N, 8) for i in range(3))) for seed, name in ((8, ""), (11, "global"))
    }
    return whole, Attend(jnp.asarray(PACKED), Mask.full()), packed()


def padded_rows() -> Context:
    """Of padded rows of a class token and patches."""
    return Context.of({"segments": jnp.asarray(PADDED)}, grid=GRID, **known())


def maps(kind: str) -> Context:
    """Of a pyramid of three stages, whose last one's sides are no half of the second's where the head allows it."""
    if kind == "unet_pixels":  # whose maps are of doubled sides, with padding in the coarsest
        found = {f"stage_{i}": normal(12 + i, B, *size) for i, size in enumerate(((6, 8, 12), (3, 4, 16)))}
        return Context(grid=GRID, segments=jnp.asarray(PADDED), features=found)
    sizes = ((6, 8, 12), (3, 4, 16), (2, 3, 24)) if kind != "fused" else ((6, 8, 12), (3, 4, 16), (3, 2, 24))
    return Context(grid=GRID, features={f"stage_{i}": normal(12 + i, B, *size) for i, size in enumerate(sizes)})


# What the method of each slot takes, by kind.
INPUTS: dict[str, Callable[[str], tuple]] = {
    "norm": lambda kind: (3 * stream() + 1, *([normal(2, B)] if kind == "timed" else [])),
    "residual": lambda kind: (stream(0), stream(1), packed(**known())),
    "ffn": lambda kind: (stream(), packed()),
    "mixer": lambda kind: (stream(), packed(**known())),
    "sight": sight_inputs,
    "embed": lambda kind: (batch(kind), Context() if kind in OF_IMAGES else packed()),
    "stem": lambda kind: (normal(6, B, 6, 8, 3), Context()),
    "position": position_inputs,
    "down": lambda kind: (
        normal(0, B, 24, D),
        Context(grid=(4, 6), segments=jnp.asarray(np.repeat(PADDED[:, :12], 2, 1))),
    ),
    "pool": lambda kind: (stream(), Context(segments=PADDED, grid=GRID, **known())),
    "head": lambda kind: (stream(), maps(kind) if kind in DENSE else padded_rows()),
}


def doors(position, x, q, k, v, ctx) -> dict[str, Any]:
    """What each method of a position returns; a bias is written out, and what is shared is given by distance."""
    out = dict(add=position.add(x, ctx), rotate=position.rotate(q, k, ctx), value=position.value(v, ctx))
    bias = position.bias(N, ctx)
    if bias is not None:
        index = jnp.arange(T)
        over = jax.vmap(lambda b: jax.vmap(lambda n: bias.block(b, n, index, index))(jnp.arange(N)))
        out["bias"] = over(jnp.arange(B))
    if type(position).__name__.startswith("Relative") and not bias:
        made = position.share(ctx)["relative"]
        rows = jnp.arange(1 - T, T)
        out["share"] = made.of(rows, D) if hasattr(made, "of") else made.table[made.rows(T)]
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A part built from an example, its parameters, what it takes, and what draws each parameter at first."""

    slot: str
    kind: str
    spec: dict
    part: Any
    params: Any
    inputs: tuple
    starts: dict[str, Callable]

    def apply(self, params: Any, *inputs: Any, **how: Any) -> Any:
        """What the part answers, without its state or its context."""
        method = doors if self.slot == "position" else None
        y = self.part.apply(params, *inputs, method=method, **how)
        return y[0] if self.slot in ("embed", "mixer", "ffn", "down") else y

    @functools.cached_property
    def answer(self) -> tuple[Any, Any]:
        """What it answers, and the gradients of the parameters for some weighted sum of that; one program for both."""

        def loss(params):
            y = self.apply(params, *self.inputs)
            numbers = [a for a in jax.tree.leaves(y) if jnp.issubdtype(a.dtype, jnp.floating)]
            finite = [jnp.where(jnp.isfinite(a), a, 0) for a in numbers]
            return sum((a * jnp.cos(jnp.arange(a.size)).reshape(a.shape)).sum() for a in finite), y

        gradients, y = jax.jit(jax.grad(loss, has_aux=True))(self.params)
        return y, gradients


@functools.cache
def case(slot: str, kind: str, number: int) -> Case:
    """The example of that number."""
    return case_of(slot, kind, EXAMPLES[slot][kind][number])


def case_of(slot: str, kind: str, spec: dict) -> Case:
    """A case of any spec."""
    spec = {"kind": kind, **spec}
    given = INPUTS[slot](kind)
    if kind == "patches" and spec.get("mask") is not None:
        given[0]["hidden"] = normal(11, B, 12) > 0
    part, inputs = build(SLOTS[slot], spec), jax.tree.map(jnp.asarray, given)
    method = doors if slot == "position" else None
    with noted() as starts:
        shapes = jax.eval_shape(lambda: part.init(jax.random.key(0), *inputs, method=method))
    return Case(slot, kind, spec, part, away(shapes), inputs, starts)


@contextlib.contextmanager
def noted():
    """Path -> the function of a key that draws that parameter, of all parameters that are made meanwhile.

    Its attribute `shape` is the one that the module asks for.
    """
    found, own = {}, nn.Module.param

    def param(self, name, init, *args, **how):
        def draw(key):
            return init(key, *args)

        found["/".join((*self.path, name))] = draw
        draw.shape = args[0]
        return own(self, name, init, *args, **how)

    nn.Module.param = param
    try:
        yield found
    finally:
        nn.Module.param = own
