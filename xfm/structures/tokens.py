"""Layers over real tokens only: texts of padded rows are laid one after the other, and put back afterwards.

Zhai et al., "ByteTransformer" (2023), whose padding-free algorithm packs before the layers and unpacks after them;
Warner et al., "Smarter, Better, Faster, Longer" (ModernBERT, 2024), section 2.1.2, who unpad once, before the
embedding, and not again in each layer. Where each text is put is data, `cells`, made on the host by `xfm.data.layout`.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from xfm.context import Context, positions_within
from xfm.outside import is_outside
from xfm.spec import SpecError, build, named, nested
from xfm.structures.base import refusal

Cells = Int[Array, "G R L"]

# The arrays of a batch that embeddings and layers read for each token.
PER_TOKEN = ("tokens", "types", "positions", "segments", "global", "heard", "prefix")


def unpad(x: Shaped[Array, "B T *any"], cells: Cells) -> Shaped[Array, "G*R L *any"]:
    """The tokens of x in their cells, and 0 in cells that hold none.

    cells: for each of G equal parts of the batch R rows of L indices into its B/G · T tokens; B/G · T or more for none.
    No token has two cells. If each part is on a device of its own, no token leaves its device.
    """
    G, R, L = cells.shape
    parts = x.reshape(G, -1, *x.shape[2:])
    taken = jax.vmap(lambda part, cell: part.at[cell].get(mode="fill", fill_value=0, unique_indices=True))
    return taken(parts, cells.reshape(G, -1)).reshape(G * R, L, *x.shape[2:])


def repad(y: Shaped[Array, "G*R L *any"], cells: Cells, shape: tuple[int, int]) -> Shaped[Array, "B T *any"]:
    """The inverse of `unpad`: each token back in its row of `shape` (B, T), and 0 where the row holds padding."""
    (G, R, L), rest = cells.shape, y.shape[2:]
    empty = jnp.zeros((G, shape[0] * shape[1] // G, *rest), y.dtype)
    put = jax.vmap(lambda part, cell, token: part.at[cell].set(token, mode="drop", unique_indices=True))
    return put(empty, cells.reshape(G, -1), y.reshape(G, R * L, *rest)).reshape(*shape, *rest)


def laid(batch: Mapping[str, Array]) -> dict[str, Array]:
    """The batch as embedding and layers read it: rows of several texts, each with its own segment and positions.

    Segments of a row that was packed before stay apart; they are numbers up to T, as packing makes them.
    """
    cells, (B, T) = batch["cells"], batch["tokens"].shape
    segments = batch.get("segments", jnp.ones((B, T), jnp.int32))
    text = jnp.arange(B)[:, None] % (B // cells.shape[0])
    whole = {
        "positions": positions_within(segments),
        **batch,
        "segments": jnp.where(segments > 0, segments + text * (T + 1), 0),
    }
    return {name: unpad(whole[name], cells) for name in PER_TOKEN if name in whole}


def check_unpadded(*specs: Any) -> None:
    """Raises SpecError for a part, anywhere in the specs but in their heads, that needs a row per text."""
    for spec in nested(specs, but=("heads",)):
        _check_kind(spec["kind"])
        if named(spec["kind"], "residual") and not is_outside(spec["kind"]):
            why = getattr(build("residual", spec, parent=None), "whole_row", None)
            if why is not None:
                raise SpecError(refusal(spec["kind"], why))


def _check_kind(kind: Any) -> None:
    """Raises SpecError for a mixer, sight, embedding or structure that needs a row per text, or does not say so."""
    part = next(iter(named(kind, "embed", "mixer", "sight", "structure")), None)
    if part is None:
        return
    if not hasattr(part, "whole_row"):
        raise SpecError(
            refusal(kind, f"does not say whether it allows that: {part.__name__} has no class attribute whole_row")
        )
    if part.whole_row is not None:
        raise SpecError(refusal(kind, part.whole_row))


def mapped(x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *grid D"]:
    """The tokens of the grid, which come after any others, as a map, with zeros in padding; [B T D] without a grid."""
    x = x if ctx.segments is None else jnp.where(ctx.real(x)[..., None], x, 0)
    if ctx.grid is None:
        return x
    return x[:, x.shape[1] - math.prod(ctx.grid) :].reshape(x.shape[0], *ctx.grid, x.shape[2])
