"""Statements of an operation's count of floating-point operations, which become part of a traced program.

An implementation may compute more than its operation needs, such as scores outside a window that are in the same block
of keys, or a padded last block. The operation therefore states its own count, and its implementations mark the products
that are included in it. A caller that knows the count better marks the whole operation as included, and states its own
count. Statements do not change the compiled program.
"""

import contextlib

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

STATED = "xfm_operations="
INCLUDED = "xfm_included"


def stated(y: Array, each: float) -> Array:
    """y itself, with the statement that each of its numbers takes `each` operations in the included products."""
    return checkpoint_name(y, f"{STATED}{each!r}")


def included() -> contextlib.AbstractContextManager:
    """A context in which all products are included in a statement."""
    return jax.named_scope(INCLUDED)


def stated_by(name: str) -> float | None:
    """The count that a name made by `stated` holds; None for other names."""
    return float(name.removeprefix(STATED)) if name.startswith(STATED) else None
