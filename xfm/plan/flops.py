"""Counts the floating-point operations of a traced function: its matrix products and convolutions.

A product of [M K] and [K N] takes 2 · M · N · K operations (multiplications and additions). Element-wise operations are
not counted, as in the figures of papers; their time is bound by memory.

An operation may state its own count (`xfm.kernels.counting`), which replaces that of the products that its
implementation marks as included: attention counts 4 · H per head, query and key in the query's window or pattern, even
if a blockwise implementation computes more. Derivatives of an operation have no statement, so their products are
counted.
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

    scopes: for each level of nesting, outermost first, its name stack and how often it runs.
    times: how often the equation runs.  flops: operations of one run; 0 except for products, convolutions, statements.
    """

    scopes: tuple[Scope, ...]
    times: int
    flops: int


def total(jaxpr: Any) -> int:
    """The number of operations of a jaxpr, such as `jax.make_jaxpr(f)(*args).jaxpr`."""
    return sum(work.times * work.flops for work in walk(jaxpr))


def walk(jaxpr: Any, scopes: tuple[Scope, ...] = (), times: int = 1) -> Iterator[Work]:
    """All equations of a jaxpr and of the jaxprs nested in it, without those that only run a nested jaxpr.

    Of a conditional only the costliest branch is included. scopes, times: of the jaxpr itself.
    """
    for eqn in live(jaxpr):
        here = (*scopes, (str(eqn.source_info.name_stack), times))
        within = inner(eqn)
        for sub, repeats in within:
            yield from walk(sub, here, times * repeats)
        if not within:
            yield Work(here, times, 0 if _is_included(here) else flops(eqn))


def flops(eqn: Any) -> int:
    """The operations of one run of an equation; 0 if it is not a product, a convolution or a statement."""
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
    """Whether a statement already counts an equation; this is never so for equations that autodiff derives."""
    names = [name for name, _ in scopes]
    return any(INCLUDED in name for name in names) and not any("transpose" in name for name in names)


def live(jaxpr: Any) -> list[Any]:
    """The equations whose results are used. A traced function may have others, which XLA removes too."""
    wanted, kept = {var for var in jaxpr.outvars if not hasattr(var, "val")}, []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(var in wanted for var in eqn.outvars):
            kept.append(eqn)
            wanted.update(var for var in eqn.invars if not hasattr(var, "val"))
    return kept[::-1]


def inner(eqn: Any) -> list[tuple[Any, int]]:
    """The jaxprs that an equation runs, and how often it runs each."""
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
    """How often the body of a `while` runs if it loops over `i < n` and i grows by 1 from a literal; else 1."""
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
