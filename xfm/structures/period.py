"""Layers as data: the sublayers of one period, and periods one after the other as one compiled loop."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.errors import nearest
from xfm.outside import in_path
from xfm.spec import Spec, SpecError, freeze, schema
from xfm.structures.base import Layer
from xfm.structures.sublayer import Sublayer, branched

# What the backward pass keeps of each period; it computes the rest again.
REMAT = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


# What parts sow, in any collection, leaves both loops with leading axes; loops share nothing but parameters.
SOWN = nn.DenyList(("params",))


class Period(nn.Module):
    """The sublayers of one period, in order, once for each of `depths`; the body of the scan."""

    sublayers: tuple[Spec, ...]

    def __call__(self, carried, ctx: Context, states, depths: Float[Array, "L"], rows: Int[Array, "L"] | None = None):
        """(x, kept) after the sublayers, and their states; with several loops states cannot be continued.

        carried: x, and the streams kept so far, None where none are.  rows: for each loop, the row of the kept streams
        into which the stream after it is written.
        """
        if depths.shape[0] == 1:
            x, kept = carried
            x, states = self.once(x, ctx.replace(depth=depths[0]), states or (None,) * len(self.sublayers))
            return (x, _keeping(kept, x, None if rows is None else rows[0])), states

        def loop(period, carried, of_loop):
            depth, row = of_loop
            x, states = period.once(carried[0], ctx.replace(depth=depth), (None,) * len(period.sublayers))
            return (x, _keeping(carried[1], x, row)), states

        again = nn.scan(
            loop,
            variable_broadcast="params",
            variable_axes={SOWN: 0},
            split_rngs={"params": False, "dropout": True},
            check_constancy_invariants=self.is_initializing(),  # by which shared parameters leave the loop
        )
        return again(self, carried, (depths, rows))

    @nn.compact
    def once(self, x, ctx: Context, states):
        """x after one run of the sublayers, and their states; they find x before it as ctx.shared["period"]."""
        ctx = ctx.replace(shared={**ctx.shared, "period": x})
        after = []
        for name, sublayer, state in zip(names(self.sublayers), self.sublayers, states, strict=True):
            x, state = Sublayer(**sublayer, name=name)(x, ctx, state)
            after.append(state)
        return x, tuple(after)


def sublayers_of(specs: Sequence[Spec], norms: Mapping[str, Spec], residual: Spec) -> tuple[Spec, ...]:
    """Each entry as a whole sublayer; raises SpecError for a field that sublayers do not have."""
    own = dict(norms=norms, residual=residual)
    sublayers = [{**own, **(spec if "part" in spec else {"part": spec})} for spec in specs]
    for part in (part for sublayer in sublayers for part in _parts(sublayer["part"])):
        if not isinstance(part, Mapping) or "kind" not in part:
            raise SpecError(f"an entry of a pattern is a mapping with the 'kind' of a mixer or of an ffn, not {part!r}")
    for field in (field for sublayer in sublayers for field in sublayer):
        if field not in schema(Sublayer):
            raise SpecError(f"a sublayer has no field {field!r}; it has {', '.join(schema(Sublayer))}")
    return freeze(sublayers)


class Ran(NamedTuple):
    """The stream after all periods, their states, and the stream after each run that is tapped."""

    x: Float[Array, "B T D"]
    states: Any
    taps: list[Float[Array, "B T D"]]


def repeated(
    sublayers: tuple[Spec, ...], depths: Float[Array, "R L"], remat: str = "none", taps: Sequence[int] = ()
) -> Callable[..., Ran]:
    """R periods of L loops each as one compiled loop, "layers" of the calling module: f(x, ctx, states).

    depths: of each loop of each period; see `depths_of`.  remat: what the backward pass keeps, a name of REMAT.
    taps: which runs of the period, 1 to R · L, to return the stream after. The other streams are not kept.
    """
    if remat not in REMAT:
        raise SpecError(f"no remat {remat!r}{nearest(remat, REMAT)}; there are {', '.join(REMAT)}")
    layers = nn.scan(
        nn.remat(Period, prevent_cse=False, policy=REMAT[remat]) if remat != "none" else Period,
        variable_axes={"params": 0, SOWN: 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, 0, 0, 0),
        length=depths.shape[0],
        check_constancy_invariants=False,  # the check would trace every layer a second time
    )(sublayers, name="layers")

    def run(x: Float[Array, "B T D"], ctx: Context, states: Any = None) -> Ran:
        if not taps:
            (x, _), states = layers((x, None), ctx, states, depths, None)
            return Ran(x, states, [])
        # Each run writes its stream into one row: its tap's, or the last one, which is not read.
        rows = np.full(depths.size, len(taps), np.int32)
        rows[np.asarray(taps) - 1] = np.arange(len(taps))
        kept = jnp.zeros((len(taps) + 1, *x.shape), x.dtype)
        (x, kept), states = layers((x, kept), ctx, states, depths, jnp.asarray(rows.reshape(depths.shape)))
        return Ran(x, states, list(kept[:-1]))

    return run


def _keeping(kept: Float[Array, "taps+1 B T D"] | None, x: Float[Array, "B T D"], row: Int[Array, ""] | None):
    """The kept streams with x written into the row; None where none are kept."""
    return None if kept is None else jax.lax.dynamic_update_index_in_dim(kept, x, row, 0)


def depths_of(*stages: tuple[int, int]) -> list[Float[Array, "R L"]]:
    """The depth of each loop of each period, from 0 for the network's first to 1 for its last.

    stages: (repeats, loops) of each stage of the network, in order, no repeats for one without layers. A network of
    one period has depth 1.
    """
    ends = list(itertools.accumulate(repeats * loops for repeats, loops in stages))
    depths = jnp.ones(1) if ends[-1] == 1 else jnp.linspace(0.0, 1.0, ends[-1])
    pieces = jnp.split(depths, ends[:-1])
    return [piece.reshape(stage) for piece, stage in zip(pieces, stages, strict=True)]


def names(sublayers: Sequence[Spec]) -> list[str]:
    """The names of a period's sublayers in parameter paths."""
    return [f"{_label(sublayer)}_{i}" for i, sublayer in enumerate(sublayers)]


def alone(path: str, sublayers: Sequence[Spec], group: str) -> list[Layer]:
    """Where the sublayers of a period outside a compiled loop keep their parameters."""
    return [Layer(f"{path}/{name}", False, 0, group) for name in names(sublayers)]


def stacked(path: str, sublayers: Sequence[Spec], repeats: int, group: str) -> list[Layer]:
    """Where the sublayers of a compiled loop of periods keep their parameters."""
    return [Layer(f"{path}/{name}", True, i, group) for i in range(repeats) for name in names(sublayers)]


def _parts(part: Spec | Sequence[Spec]) -> Sequence[Spec]:
    """The parts of a sublayer, those of its branches if it has several."""
    if not isinstance(part, list | tuple):
        return (part,)
    return [branched(one)[0] if isinstance(one, Mapping) else one for one in part]


def _label(sublayer: Spec) -> str:
    """What a sublayer's name in parameter paths begins with."""
    return sublayer.get("label") or "_".join(in_path(spec["kind"]) for spec in _parts(sublayer["part"]))
