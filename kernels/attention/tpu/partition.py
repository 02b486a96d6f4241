"""The TPU kernels on several chips: each chip has some rows of the batch and some heads, and all of everything else.

XLA cannot partition a kernel written by hand, and on TPU does not ask JAX how to (jax-ml/jax#38196), so the kernels are
mapped over the mesh that `spread_over` names.
"""

import contextlib
from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from ...platform import devices, spread

ROWS, HEADS, KEYS = "b", "n", "k"


def unknown() -> bool:
    """Whether arrays may lie on several chips in a way that is unknown here."""
    return devices() > 1 and spread() is None and not _by_hand()


def on_each_chip(run: Callable[..., tuple], operands: list[Array], axes: list[str], results: list[str]) -> tuple:
    """run(*operands, rows=…, heads=…) on each chip, with its own rows and heads.

    axes, results: a letter for each axis of each array: "b" for rows, "n" for heads of queries, "k" for those of keys,
    which may be fewer, "-" for an axis that is not cut. Rows or heads that do not divide among the chips are not cut
    either. A result without rows, or heads, is summed over them. rows, heads: the index of the chip's first.
    """
    over = spread()
    if over is None or _by_hand():
        return run(*operands, rows=0, heads=0)
    lengths = [pair for a, letters in zip(operands, axes, strict=True) for pair in zip(letters, a.shape, strict=True)]

    def axis(name: str, *letters: str) -> str | None:
        parts = over.mesh.shape.get(name, 1)
        divides = all(length % parts == 0 for letter, length in lengths if letter in letters)
        return name if parts > 1 and divides else None

    rows, heads = axis(over.rows, ROWS), axis(over.heads, HEADS, KEYS)
    cut = {ROWS: rows, HEADS: heads, KEYS: heads}

    def own(*operands):
        first = {
            letter: 0 if cut[letter] is None else jax.lax.axis_index(cut[letter]) * length
            for letter, length in zip(axes[0], operands[0].shape, strict=True)
            if letter in (ROWS, HEADS)
        }
        out = run(*operands, rows=first[ROWS], heads=first[HEADS])
        return tuple(added_up(a, letters) for a, letters in zip(out, results, strict=True))

    def added_up(a, letters):
        missing = [name for name, own in ((rows, {ROWS}), (heads, {HEADS, KEYS})) if name and not own & set(letters)]
        return jax.lax.psum(a, tuple(missing)) if missing else a

    def specs(arrays):
        return tuple(PartitionSpec(*(cut.get(letter) for letter in letters)) for letters in arrays)

    mapped = jax.shard_map(own, mesh=over.mesh, in_specs=specs(axes), out_specs=specs(results), check_vma=False)
    return mapped(*operands)


def _by_hand() -> bool:
    """Whether this is already traced for one chip, inside a shard_map."""
    with contextlib.suppress(AttributeError):
        mesh = jax.sharding.get_abstract_mesh()
        return not mesh.empty and mesh.are_all_axes_manual
    return False
