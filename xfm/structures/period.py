"""Layers as data: the sublayers of one period, and periods one after the other as one compiled loop."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import nearest
from xfm.outside import in_path
from xfm.spec import Spec, SpecError, freeze, schema
from xfm.structures.sublayer import Sublayer

# What the backward pass keeps of each period; it computes the rest again.
REMAT = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


# What parts sow, by any collection, comes out of both loops along leading axes; only parameters are shared by loops.
SOWN = nn.DenyList(("params",))


class Period(nn.Module):
    """The sublayers of one period, in order, once for each of `depths`; the body of the scan."""

    sublayers: tuple[Spec, ...]

    def __call__(self, x, ctx: Context, states, depths: Float[Array, "L"]):
        """x after them, and the states; with several loops there are no states to continue."""
        if depths.shape[0] == 1:
            return self.once(x, ctx.replace(depth=depths[0]), states or (None,) * len(self.sublayers))
        again = nn.scan(
            lambda period, x, depth: period.once(x, ctx.replace(depth=depth), (None,) * len(period.sublayers)),
            variable_broadcast="params",
            variable_axes={SOWN: 0},
            split_rngs={"params": False, "dropout": True},
        )
        return again(self, x, depths)

    @nn.compact
    def once(self, x, ctx: Context, states):
        after = []
        for i, (sublayer, state) in enumerate(zip(self.sublayers, states, strict=True)):
            x, state = Sublayer(**sublayer, name=f"{_label(sublayer)}_{i}")(x, ctx, state)
            after.append(state)
        return x, tuple(after)


def sublayers_of(specs: Sequence[Spec], norms: Mapping[str, Spec], residual: Spec) -> tuple[Spec, ...]:
    """Each entry as a whole sublayer; SpecError for a field that sublayers do not have."""
    own = dict(norms=norms, residual=residual)
    sublayers = [{**own, **(spec if "part" in spec else {"part": spec})} for spec in specs]
    for part in (part for sublayer in sublayers for part in _parts(sublayer["part"])):
        if not isinstance(part, Mapping) or "kind" not in part:
            raise SpecError(f"an entry of a pattern is a mapping with the 'kind' of a mixer or of an ffn, not {part!r}")
    for field in (field for sublayer in sublayers for field in sublayer):
        if field not in schema(Sublayer):
            raise SpecError(f"a sublayer has no field {field!r}; it has {', '.join(schema(Sublayer))}")
    return freeze(sublayers)


def repeated(sublayers: tuple[Spec, ...], depths: Float[Array, "R L"], remat: str = "none") -> Callable:
    """R periods of L loops each as one compiled loop, "layers" of the calling module: f(x, ctx, states).

    depths: of each loop of each period; see `depths_of`.  remat: what the backward pass keeps, a name of REMAT.
    """
    if remat not in REMAT:
        raise SpecError(f"no remat {remat!r}{nearest(remat, REMAT)}; there are {', '.join(REMAT)}")
    layers = nn.scan(
        nn.remat(Period, prevent_cse=False, policy=REMAT[remat]) if remat != "none" else Period,
        variable_axes={"params": 0, SOWN: 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, 0, 0),
        length=depths.shape[0],
    )(sublayers, name="layers")
    return lambda x, ctx, states=None: layers(x, ctx, states, depths)


def depths_of(*stages: tuple[int, int]) -> list[Float[Array, "R L"]]:
    """The depth of each loop of each period, from 0 for the network's first to 1 for its last.

    stages: repeats and loops of each of the network's parts that run one after the other. A network of one period has
    depth 1.
    """
    ends = list(itertools.accumulate(repeats * loops for repeats, loops in stages))
    depths = jnp.linspace(0.0, 1.0, ends[-1]) if ends[-1] > 1 else jnp.ones(1)
    pieces = jnp.split(depths, ends[:-1])
    return [piece.reshape(stage) for piece, stage in zip(pieces, stages, strict=True)]


def _parts(part: Spec | Sequence[Spec]) -> Sequence[Spec]:
    return part if isinstance(part, list | tuple) else (part,)


def _label(sublayer: Spec) -> str:
    """What a sublayer's name in parameter paths begins with."""
    return sublayer.get("label") or "_".join(in_path(spec["kind"]) for spec in _parts(sublayer["part"]))
