"""A network with transforms around it, which is initialised and applied as the network itself is."""

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Key

from xfm.errors import XfmError
from xfm.initial import shapes_only
from xfm.transforms.base import SITES, Interceptor, OwnAt, Params, Site, Transform, acts_around, merges

OWN = "own"  # the subtree of the parameters that holds what the transforms add


@dataclasses.dataclass(frozen=True)
class Transformed:
    """`network` with `transforms`, pairs of a name and a transform. It has the network's other attributes as well.

    All weights are made before any interceptor runs. Among the weights, as among the interceptors, transforms act in
    their order: the second one's weights are made of the first one's, and its interceptor runs around the first one's.
    """

    network: nn.Module
    transforms: tuple[tuple[str, Transform], ...]

    def init(self, rng: Any, batch: Mapping[str, Array], **how: Any) -> dict[str, Any]:
        """The network's variables, drawn as without transforms, with the transforms' own parameters as params/own."""
        variables = self.network.init(rng, batch, **how)
        key, sites = rng["params"] if isinstance(rng, Mapping) else rng, sites_of(self.network, batch, **how)
        flat = {}
        for name, transform in self.transforms:
            start = transform.start(jax.random.fold_in(key, zlib.crc32(f"{OWN}/{name}".encode())), sites)
            flat |= {f"{path}/{name}/{leaf}": x for path, leaves in start.items() for leaf, x in leaves.items()}
        own = {OWN: unflatten_dict(flat, sep="/")} if flat else {}
        return {**variables, "params": {**variables["params"], **own}}

    def apply(self, variables: Mapping[str, Any], batch: Mapping[str, Array], *, rngs: Any = None, **how: Any) -> Any:
        """What the network makes of the batch with the transforms at work; the arguments are those of Linen's apply."""
        params, around = self._params(variables["params"], _for_dropout(rngs))
        with contextlib.ExitStack() as stack:
            for interceptor in reversed(around):  # Linen runs the one that is added last nearest to the module
                stack.enter_context(nn.intercept_methods(interceptor))
            return self.network.apply({**variables, "params": params}, batch, rngs=rngs, **how)

    def merged(self, params: Params) -> dict[str, Any]:
        """Parameters with which `network` alone computes the same in evaluation.

        Raises XfmError, naming it, for a transform that cannot be written into them.
        """
        params, own = separated(params)
        if lasting := [name for name, transform in self.transforms if not merges(transform)]:
            raise XfmError(f"transform {lasting[0]!r} cannot be merged into the weights of the network")
        for name, transform in sorted(self.transforms, key=lambda one: acts_around(one[1])):
            params = transform.merged(params, own_of(own, name, params))
        return dict(params)

    def _params(self, params: Params, rng: Key[Array, ""] | None) -> tuple[Params, list[Interceptor]]:
        """The parameters that the network runs with, and the interceptors around it."""
        params, own = separated(params)
        added, around = {}, []
        for name, transform in self.transforms:
            mine = own_of(own, name, params)
            key = None if rng is None else jax.random.fold_in(rng, zlib.crc32(name.encode()))
            params = transform.weights(params, mine, key)
            interceptor = transform.around(_at(name))
            if interceptor is not None:
                around.append(_of_calls(interceptor))
                added |= {f"{path}/{name}/{leaf}": x for path, leaves in mine.items() for leaf, x in leaves.items()}
        if added:  # among the module's parameters, so that a scan over layers hands each layer its own
            params = unflatten_dict({**flatten_dict(params, sep="/"), **added}, sep="/")
        return params, around

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "network":
            raise AttributeError(name)
        return getattr(self.network, name)


def _for_dropout(rngs: Any) -> Key[Array, ""] | None:
    """The key from which Linen draws dropout: its own, or else that of "params", which a single key is."""
    return rngs.get("dropout", rngs.get("params")) if isinstance(rngs, Mapping) else rngs


def separated(params: Params) -> tuple[dict[str, Any], Params]:
    """The network's parameters, and the transforms' own."""
    return {name: leaf for name, leaf in params.items() if name != OWN}, params.get(OWN, {})


def own_of(own: Params, name: str, params: Params) -> dict[str, dict[str, Array]]:
    """The own parameters of the transform of that name: path of a module -> leaf -> array.

    Raises XfmError where `params`, the network's, have no module of such a path.
    """
    found: dict[str, dict[str, Array]] = {}
    for (*path, owner, leaf), x in flatten_dict(own).items():
        if owner == name:
            found.setdefault("/".join(path), {})[leaf] = x
    for path in found:
        inside = params
        for step in path.split("/"):
            if not isinstance(inside, Mapping) or step not in inside:
                raise XfmError(f"transform {name!r} has parameters for {path}, and the network has no such module")
            inside = inside[step]
    return found


def _at(name: str) -> OwnAt:
    def at(module):
        return None if module.scope is None else module.scope.get_variable("params", name)

    return at


def _of_calls(interceptor: Interceptor) -> Interceptor:
    """The interceptor for `__call__` alone, not for `setup` and a module's other methods."""

    def run(call, args, kwargs, context):
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        return interceptor(call, args, kwargs, context)

    return run


def sites_of(network: nn.Module, batch: Mapping[str, Array], **how: Any) -> dict[str, Site]:
    """Every linear map and sublayer that runs on the batch, by its path, found by tracing alone."""
    called: dict[str, tuple[type, int, tuple, tuple]] = {}

    def note(call, args, kwargs, context):
        out, module = call(*args, **kwargs), context.module
        if context.method_name == "__call__" and isinstance(module, SITES):
            x, y, axes = args[0], jax.tree.leaves(out)[0], getattr(module, "axes", 1)
            first = next(_leaves(module.scope.variables()["params"]), None)
            outs = y.shape[x.ndim - axes :]
            called["/".join(module.scope.path)] = type(module), first and first[1].ndim, x.shape[-axes:], outs
        return out

    with nn.intercept_methods(note), shapes_only():
        shapes = jax.eval_shape(partial(network.init, **how), jax.random.key(0), batch)["params"]
    found = {}
    for path, (module, dims, ins, outs) in called.items():
        inside = shapes
        for step in path.split("/"):
            inside = inside.get(step, {})
        first = next(_leaves(inside), None)
        stack = () if first is None else first[1].shape[: first[1].ndim - dims]
        found[path] = Site(module, stack, ins, outs)
    return found


def _leaves(tree: Params) -> Iterator[tuple[str, Any]]:
    return iter(sorted(flatten_dict(tree, sep="/").items()))
