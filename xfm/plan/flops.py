"""Floating-point operations of a traced function: its matrix products and convolutions.

A product of [M K] and [K N] is 2 · M · N · K, a multiplication and an addition each. Element-wise work is left out: on
every machine that matters it is bound by memory, so that counting it would only blur the figure that papers print.

Where an operation states its own count (`xfm.kernels.counting`) that stands for the products which its implementation
marks as included: attention counts 4 · H per head, query and key of the query's window or pattern, whatever else a
blockwise form computes. What autodiff derives from an operation states nothing, and is counted product by product.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from xfm.kernels.counting import INCLUDED, stated_by

Scope = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Work:
    """One equation that the result depends on.

    scopes: the name stack at each level of nesting, outermost first, with how often that level runs.
    times: how often the equation runs.  flops: of one run, 0 for all but products, convolutions and statements.
    """

    scopes: tuple[Scope, ...]
    times: int
    flops: int


def total(jaxpr: Any) -> int:
    """The operations of a jaxpr (of `jax.make_jaxpr(f)(*args).jaxpr`)."""
    return sum(work.times * work.flops for work in walk(jaxpr))


def walk(jaxpr: Any, scopes: tuple[Scope, ...] = (), times: int = 1) -> Iterator[Work]:
    """The equations of a jaxpr and of all inside it, but for those that only run a jaxpr.

    Of a conditional the costliest branch counts; a loop counts as often as it is known to run (see
    `trips`).
    """
    for eqn in live(jaxpr):
        here = (*scopes, (str(eqn.source_info.name_stack), times))
        within = inner(eqn)
        for sub, repeats in within:
            yield from walk(sub, here, times * repeats)
        if not within:
            yield Work(here, times, 0 if _is_included(here) else flops(eqn))


def flops(eqn: Any) -> int:
    """Of one run of one equation: a product, a convolution or a statement."""
    if eqn.primitive.name == "name" and (each := stated_by(eqn.params["name"])) is not None:
        return round(each * math.prod(eqn.outvars[0].aval.shape))
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // features
    return 0


def _is_included(scopes: tuple[Scope, ...]) -> bool:
    """Whether an equation is among those that a statement stands for, which no derived one is."""
    names = [name for name, _ in scopes]
    return any(INCLUDED in name for name in names) and not any("transpose" in name for name in names)


def live(jaxpr: Any) -> list[Any]:
    """The equations whose results are used; tracing leaves others behind, which XLA drops too."""
    wanted, kept = {var for var in jaxpr.outvars if not hasattr(var, "val")}, []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(var in wanted for var in eqn.outvars):
            kept.append(eqn)
            wanted.update(var for var in eqn.invars if not hasattr(var, "val"))
    return kept[::-1]


def inner(eqn: Any) -> list[tuple[Any, int]]:
    """The jaxprs that an equation runs, each with how often."""
    name, params = eqn.primitive.name, eqn.params
    if name == "scan":
        return [(params["jaxpr"].jaxpr, params["length"])]
    if name == "while":
        return [(params["body_jaxpr"].jaxpr, trips(eqn))]
    if name == "cond":
        return [(max((branch.jaxpr for branch in params["branches"]), key=total), 1)]
    times = math.prod(params["grid_mapping"].grid) if name == "pallas_call" else 1
    return [(sub, times) for value in params.values() for sub in _jaxprs(value)]


def trips(eqn: Any) -> int:
    """How often a `while` runs: known for `i < n` with i counted up by 1 from a literal, else 1."""
    cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    consts = eqn.params["cond_nconsts"]
    outer = [*eqn.invars[:consts], *eqn.invars[consts + eqn.params["body_nconsts"] :]]
    if [test.primitive.name for test in cond.eqns] != ["lt"]:
        return 1
    counter, bound = cond.eqns[0].invars
    if hasattr(counter, "val") or counter not in cond.invars[consts:]:
        return 1
    index = cond.invars.index(counter)
    carried = index - consts
    was, now = body.invars[eqn.params["body_nconsts"] + carried], body.outvars[carried]
    steps = [step for step in body.eqns if now in step.outvars and step.primitive.name == "add"]
    if not steps or was not in steps[0].invars:
        return 1
    by = next((var for var in steps[0].invars if var is not was), None)
    bound = bound if hasattr(bound, "val") else outer[cond.invars.index(bound)]
    ends = [getattr(var, "val", None) for var in (by, outer[index], bound)]
    if None in ends or ends[0] != 1:
        return 1
    return max(0, int(ends[2]) - int(ends[1]))


def _jaxprs(value: Any) -> Iterator[Any]:
    if hasattr(value, "eqns"):
        yield value
    elif hasattr(value, "jaxpr"):
        yield value.jaxpr
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _jaxprs(one)
