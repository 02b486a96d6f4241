"""Initial values by rule: paths that a regex matches are drawn anew."""

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from xfm.errors import XfmError, nearest


def redraw(params: Mapping[str, Any], rules: Sequence[tuple[str, Mapping[str, Any]]], rng) -> dict:
    """`params` with each leaf that a rule's regex finds in "a/b/c" drawn by that rule's spec; the first rule wins.

    A spec is {"kind": one of DRAWS, …its numbers}. Each path draws from a key of its own, so that adding a parameter
    changes no other. XfmError for an unknown kind, and for a rule that matches nothing.
    """
    flat = flatten_dict(params, sep="/")
    unused = {pattern for pattern, _ in rules}
    for path, leaf in flat.items():
        rule = next(((p, s) for p, s in rules if re.search(p, path)), None)
        if rule is not None:
            unused.discard(rule[0])
            spec = dict(rule[1])
            kind = spec.pop("kind", None)
            if kind not in DRAWS:
                raise XfmError(f"init: no kind {kind!r}{nearest(kind, DRAWS)}; there are {', '.join(DRAWS)}")
            key = jax.random.fold_in(rng, zlib.crc32(path.encode()))
            flat[path] = DRAWS[kind](key, leaf.shape, **spec).astype(leaf.dtype)
    if unused:
        raise XfmError(f"init: no parameter's path matches {sorted(unused)}; one path is {next(iter(flat))!r}")
    return unflatten_dict(flat, sep="/")


def _truncated_normal(key, shape, std):
    """Normal of deviation `std`, cut at two deviations and not widened again (as TensorFlow's and BERT's is)."""
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)


DRAWS = {
    "normal": lambda key, shape, std: std * jax.random.normal(key, shape),
    "truncated_normal": _truncated_normal,
    "uniform": lambda key, shape, low, high: jax.random.uniform(key, shape, minval=low, maxval=high),
    "constant": lambda key, shape, value: jnp.full(shape, value),
}
