"""Initial values by rule: parameters whose path a regex matches are drawn anew."""

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Key

from xfm.errors import XfmError
from xfm.fields import NotNegative, Number, Regex, fault, shown
from xfm.spec import Spec, SpecError, function_of, lookup

Rules = Sequence[tuple[Regex, Spec]]


def redraw(params: Mapping[str, Any], rules: Rules, rng: Key[Array, ""]) -> dict:
    """`params` with each leaf that a rule's regex finds in "a/b/c" drawn by that rule's spec; the first rule wins.

    A spec is {"kind": one of DRAWS, …its numbers}. Each path draws from a key of its own, so that adding a parameter
    changes no other. A transform's own parameters, `own/…`, start as the transform says and no rule reaches them.
    Raises XfmError for an unknown kind, and for a rule that matches nothing.
    """
    flat = flatten_dict(params, sep="/")
    unused = {pattern for pattern, _ in rules}
    for path, leaf in flat.items():
        rule = None if path.startswith("own/") else next(((p, s) for p, s in rules if re.search(p, path)), None)
        if rule is not None:
            unused.discard(rule[0])
            kind, spec = function_of(DRAWS, rule[1], "initial value")
            key = jax.random.fold_in(rng, zlib.crc32(path.encode()))
            flat[path] = lookup(DRAWS, kind)(key, leaf.shape, **spec).astype(leaf.dtype)
    if unused:
        raise XfmError(f"init: no parameter's path matches {sorted(unused)}; one path is {next(iter(flat))!r}")
    return unflatten_dict(flat, sep="/")


def check_rules(rules: Any) -> Rules:
    """The rules as a tuple.  Raises XfmError, naming config.init, if they are not pairs of a regex and a spec."""
    if wanted := fault(rules, Rules):
        raise SpecError(f"config.init is {shown(rules)}; it must be {wanted}")
    for _, spec in rules:
        function_of(DRAWS, spec, "initial value")
    return tuple(tuple(rule) for rule in rules)


def _normal(key, shape, *, std: NotNegative):
    return std * jax.random.normal(key, shape)


def _truncated_normal(key, shape, *, std: NotNegative):
    """Normal of deviation `std`, cut at two deviations and not widened again (as TensorFlow's and BERT's is)."""
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def _uniform(key, shape, *, low: Number, high: Number):
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _constant(key, shape, *, value: Number):
    return jnp.full(shape, value)


DRAWS = {
    "normal": _normal,
    "truncated_normal": _truncated_normal,
    "uniform": _uniform,
    "constant": _constant,
}
