"""A network from top to bottom: each part's shape, parameters and FLOPs, by tracing alone.

Nothing is computed and no parameter is allocated, so a model with billions of them is described in seconds on any
machine.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from xfm.batch import part_of
from xfm.errors import XfmError
from xfm.initial import initial_shapes
from xfm.kernels.platform import compiling_for
from xfm.outside import is_outside
from xfm.parts import SLOTS
from xfm.plan.flops import walk
from xfm.spec import Spec, named, plain
from xfm.spec import build as build_from
from xfm.structures import build
from xfm.transforms import network

COUNTS = "kMBT"  # parameters are counted in billions, operations in giga


@dataclasses.dataclass(frozen=True)
class Part:
    """A part as it runs.

    path: that of its parameters.  kind: its name in the table of its slot, or the class of a module outside the slots.
    shape: that of its output in one repeat.  repeats: how often it runs.  parameters, flops: sums over all repeats.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    flops: int
    repeats: int


@dataclasses.dataclass(frozen=True)
class Description:
    """A network and its parts.

    batch: the shape of each array of a batch of one row.  parameters: the sum over `parts`.
    flops_forward: FLOPs of a forward pass over that batch, the sum over `parts`.
    """

    name: str
    batch: dict[str, tuple[int, ...]]
    parameters: int
    flops_forward: int
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with lists for tuples."""
        return plain(dataclasses.asdict(self))

    def __str__(self) -> str:
        return table(self)


def describe(config: Mapping[str, Any]) -> Description:
    """The network `config.model`, with its parts in the order in which they run.

    FLOPs are those of the matrix products and convolutions (`xfm.plan.flops`) of a forward pass over one row, with
    heads at every token. They are the same on every machine. Attention counts 4 · T · S · D, where S is the number of
    all keys, or of those in its window or its pattern of blocks; a causal mask does not halve it, as in most papers.
    Keys of tokens that a batch marks as global are not counted, because their number depends on the data. A recurrence
    in chunks counts what its chunked form computes.
    Raises XfmError for a model that cannot be built, or cannot read the rows of `config.data`.
    """
    config = _started(config)
    model, batch = network(config), example_batch(config)
    params = initial_shapes(model, batch)["params"]
    calls: list[_Call] = []

    def forward(params, batch):
        with nn.intercept_methods(_recorder(calls)), compiling_for("cpu"):
            return model.apply({"params": params}, batch)

    jaxpr = jax.make_jaxpr(forward)(params, batch).jaxpr
    kinds = {part: kind for table in SLOTS.values() for kind, part in table.items()}
    kinds |= _outside(list(plain(config["model"]).values()))
    found = _parts(calls, params, kinds, *_costs(calls, jaxpr))
    return Description(
        name=str(config.get("name") or model.__class__.__name__.lower()),
        batch={name: array.shape for name, array in batch.items()},
        parameters=sum(part.parameters for part in found),
        flops_forward=sum(part.flops for part in found),
        parts=found,
    )


def example_batch(config: Mapping[str, Any], rows: int = 1) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch for `config.model`, with rows as the source in config.data describes them.

    Without a source, they are what the network reads: config.data.length tokens, or as many as it has positions for;
    or an image of 224 x 224. Raises XfmError if the source, or the network, does not describe its rows.
    """
    data = plain(config.get("data") or {})
    row = (
        _row_of_source(data, config["model"]) if "kind" in data else _row_of_model(config["model"], data.get("length"))
    )
    return {name: jax.ShapeDtypeStruct((rows, *shape), dtype) for name, (shape, dtype) in row.items()}


def _row_of_source(data: Mapping[str, Any], model: Spec) -> Mapping[str, Any]:
    """The arrays of the source's rows that have a prefix which the model reads, in all networks but towers none."""
    from xfm.data import SOURCES  # building a network does not need what reads data

    source = build_from(SOURCES, data)
    if not hasattr(source, "row"):
        raise XfmError(
            f"data {data['kind']!r} does not say what a row of it holds; give its class a method row(), "
            "which returns the shape and the dtype of each array by name"
        )
    row, wanted = source.row(), build(model).prefixes
    found = {name: array for name, array in row.items() if name.rpartition("/")[0] in wanted}
    return found or part_of(row, wanted[0])  # which says what is missing


def _row_of_model(spec: Mapping[str, Any], length: Any) -> Mapping[str, Any]:
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise XfmError(f"config.data.length is {length!r}; it must be a whole number of at least 1")
    model = build(spec)
    if not hasattr(model, "row"):
        raise XfmError(
            f"structure {spec['kind']!r} does not say what a row of its batch holds; give its class a method "
            "row(length), or set config.data to a source that says so"
        )
    return model.row(length)


def _started(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with the network of the checkpoint that it starts from, if it is of kind "pretrained"."""
    from xfm.train.start import resolved

    return resolved(config)


@dataclasses.dataclass
class _Call:
    """One call of a module's method while tracing; its number is the index in the list of calls."""

    path: tuple[str, ...]
    module: type
    shape: tuple[int, ...] = ()


def _recorder(calls: list[_Call]) -> Callable:
    """An interceptor that notes each call and puts its number into the names of what it traces."""

    def record(run, args, kwargs, context):
        module = context.module
        path = () if module.scope is None else module.scope.path
        call = _Call(path, type(module))
        calls.append(call)
        with jax.named_scope(f"@{len(calls) - 1}@"):
            out = run(*args, **kwargs)
        if context.method_name == "__call__":
            call.shape = getattr(next(iter(jax.tree.leaves(out)), None), "shape", ())
        return out

    return record


def _costs(calls: list[_Call], jaxpr: Any) -> tuple[dict[tuple, int], dict[tuple, int]]:
    """path -> FLOPs of the module itself, without submodules; path -> how often it runs."""
    flops: dict[tuple, int] = {}
    repeats: dict[tuple, int] = {}
    for work in walk(jaxpr):
        path = None
        for names, times in work.scopes:
            for mark in re.findall(r"@(\d+)@", names):
                call = calls[int(mark)]
                if call.path == path:
                    continue  # a method that another of the same module called
                if path is not None and call.path[: len(path)] != path:
                    continue  # left in a jaxpr that JAX traced elsewhere and took from its cache
                path = call.path
                repeats[path] = max(repeats.get(path, 1), times)
        if work.flops:
            flops[path or ()] = flops.get(path or (), 0) + work.times * work.flops
    return flops, repeats


def _outside(spec: Any) -> dict[type, str]:
    """The classes that a spec names outside the tables, each with its kind."""
    if isinstance(spec, list):
        return {cls: kind for one in spec for cls, kind in _outside(one).items()}
    if not isinstance(spec, Mapping):
        return {}
    own = {named(kind)[0]: kind for kind in [spec.get("kind")] if is_outside(kind)}
    return own | _outside(list(spec.values()))


def _parts(calls, params, kinds, flops, repeats) -> tuple[Part, ...]:
    """A Part for each outermost part, and for each module outside parts that has parameters or FLOPs of its own.

    kinds: class -> kind, for the classes that are parts.
    """
    modules = {call.path: call.module for call in calls}
    shapes = {call.path: call.shape for call in calls if call.shape}

    def owner(path):
        """The part that a module belongs to, or the module itself."""
        above = (path[:i] for i in range(len(path) + 1))
        return next((some for some in above if modules.get(some) in kinds), path)

    sums = {owner(call.path): [0, 0] for call in calls}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        module = tuple(key.key for key in path)[:-1]
        sums.setdefault(owner(module), [0, 0])[0] += math.prod(leaf.shape)
    for path, cost in flops.items():
        sums.setdefault(owner(path), [0, 0])[1] += cost

    def kind(path):
        module = modules.get(path)
        return kinds.get(module) or getattr(module, "__name__", "module").lower()

    return tuple(
        Part("/".join(path), kind(path), tuple(shapes.get(path, ())), *costs, repeats.get(path, 1))
        for path, costs in sums.items()
        if modules.get(path) in kinds or any(costs)
    )


def table(description: Description, width: int = 100) -> str:
    """The description as aligned text; parts with neither parameters nor FLOPs are left out."""
    rows = [("part", "kind", "output", "×", "parameters", "FLOPs")]
    for part in description.parts:
        if part.parameters or part.flops:
            times = f"{part.repeats}" if part.repeats > 1 else ""
            shape = " × ".join(map(str, part.shape))
            cost = human(part.flops) if part.flops else "–"
            rows.append((part.path, part.kind, shape, times, human(part.parameters, COUNTS), cost))
    sums = human(description.parameters, COUNTS), human(description.flops_forward)
    rows.append(("total", "", "", "", *sums))
    sizes = [max(len(row[i]) for row in rows) for i in range(6)]
    sizes[0] = min(sizes[0], width - sum(sizes[1:]) - 10)
    lines = [
        f"{_short(row[0], sizes[0]):{sizes[0]}}  {row[1]:{sizes[1]}}  {row[2]:{sizes[2]}}  "
        f"{row[3]:>{sizes[3]}}  {row[4]:>{sizes[4]}}  {row[5]:>{sizes[5]}}".rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    given = ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in description.batch.items())
    head = (
        f"{description.name}: {description.parameters:,} parameters",
        f"{description.flops_forward:,} FLOPs forward, of one row: {given}",
        "FLOPs are those of matrix products and convolutions; an addition and a multiplication count as two.",
        "Parameters and FLOPs of parts that repeat (×) are sums over their repeats.",
    )
    return "\n".join([*head, "", lines[0], rule, *lines[1:-1], rule, lines[-1]])


def human(number: float, units: str = "kMGT") -> str:
    """A number in short, such as 110.1M for 110106428.  units: letters for thousands, millions and so on."""
    for unit, size in reversed(list(zip(units, (1e3, 1e6, 1e9, 1e12), strict=True))):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:g}"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
