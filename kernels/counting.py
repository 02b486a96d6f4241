"""What an operation's products count as, written into a traced program for those who count it.

An implementation may compute more than its operation needs: scores outside a window that a block of keys holds as
well, or a padded last block. The operation therefore states its own count, and its implementations mark the products
that the statement stands for. A caller that knows the count better marks the whole operation as included and states
its own. Nothing of it reaches the compiled program.
"""

import contextlib

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

STATED = "xfm_operations="
INCLUDED = "xfm_included"


def stated(y: Array, each: float) -> Array:
    """y, with the statement that each of its numbers takes `each` operations in the products marked as included."""
    return checkpoint_name(y, f"{STATED}{each!r}")


def included() -> contextlib.AbstractContextManager:
    """Within, products are those that a statement stands for."""
    return jax.named_scope(INCLUDED)


def stated_by(name: str) -> float | None:
    """What `stated` wrote into a name; None for any other name."""
    return float(name.removeprefix(STATED)) if name.startswith(STATED) else None
