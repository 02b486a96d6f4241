"""Checks of the arrays that a caller passes to a checkpoint."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.errors import XfmError


def whole(input_ids, attention_mask=None, token_type_ids=None, position_ids=None, **more) -> list[np.ndarray | None]:
    """The Hub's inputs as arrays of integers of one shape, None for those that are None.

    Raises XfmError for arrays of another dtype or shape, for rows of different lengths, and without input_ids.
    """
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids", *more)
    arrays = (input_ids, attention_mask, token_type_ids, position_ids, *more.values())
    given = [a if a is None else _array(name, a) for name, a in zip(names, arrays, strict=True)]
    if given[0] is None:
        raise XfmError("input_ids are None; give the ids of at least one text")
    shape = given[0].shape
    if len(shape) not in (2, 3):
        raise XfmError(f"input_ids have the shape {shape}; it must be [batch, length]")
    if 0 in shape:
        raise XfmError(f"input_ids have the shape {shape}, which has no token; give at least one text")
    for name, array in zip(names, given, strict=True):
        if array is None:
            continue
        if array.dtype.kind not in ("biu" if name == "attention_mask" else "iu"):
            raise XfmError(f"{name} are {array.dtype}; they must be whole numbers")
        if array.shape != shape and (name != "position_ids" or array.shape[-1:] != shape[-1:]):
            raise XfmError(f"{name} have the shape {array.shape}; it must be that of input_ids, {shape}")
    return given


def pictures(pixel_values: Any = None, images: Any = None) -> Float[Array, "B height width C"]:
    """The images [B height width C] of a call: `images` themselves, or the Hub's `pixel_values` [B C height width].

    Raises XfmError if both or none are given, and for another shape or dtype, whole numbers and NaN included.
    """
    if (pixel_values is None) == (images is None):
        raise XfmError("give either images [batch, height, width, channels] or pixel_values, with the channels second")
    name, order = ("images", "height, width, channels") if pixel_values is None else ("pixel_values", "channels, …")
    given = images if pixel_values is None else pixel_values
    given = given if isinstance(given, jax.Array) else np.asarray(given)
    if given.ndim != 4 or 0 in given.shape:
        raise XfmError(f"{name} have the shape {given.shape}; it must be [batch, {order}]")
    if not jnp.issubdtype(given.dtype, jnp.floating):
        raise XfmError(f"{name} are {given.dtype}; they must be floats, scaled and normalised as the model was trained")
    if not isinstance(given, jax.core.Tracer) and (broken := np.isnan(given).any(axis=(1, 2, 3))).any():
        raise XfmError(f"{name} have NaN in image {int(np.argmax(broken))}; leave it out")
    return given if pixel_values is None else given.transpose(0, 2, 3, 1)


def marks(name: str, given: Any, rows: int) -> Array:
    """An input [B patches] of an image model that marks patches.  rows: B.

    Raises XfmError for another shape or dtype; the number of patches is checked where they are made.
    """
    given = given if isinstance(given, jax.Array) else np.asarray(given)
    if given.ndim != 2 or len(given) != rows:
        raise XfmError(f"{name} have the shape {given.shape}; it must be [batch, patches], for {rows} images")
    if given.dtype.kind not in "biu":
        raise XfmError(
            f"{name} are {given.dtype}; they must be 1 or True where a patch is hidden, 0 or False elsewhere"
        )
    return given != 0


def _array(name: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:
        raise XfmError(f"{name} have rows of different lengths; pad them, and give an attention_mask") from None


def of_pairs(shape: tuple[int, ...], arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Extra inputs about pairs of tokens as arrays [B K T], without those that are None.

    shape: of input_ids.  Raises XfmError for arrays of another dtype or shape.
    """
    found = {}
    for name, array in arrays.items():
        if array is None:
            continue
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            raise XfmError(f"{name} are {array.dtype}; they must be numbers")
        if array.ndim != len(shape) + 1 or array.shape[:-2] != shape[:-1] or array.shape[-1] != shape[-1]:
            raise XfmError(
                f"{name} have the shape {array.shape}; for input_ids {shape} it must be [batch, any, length]"
            )
        found[name] = array.reshape(-1, *array.shape[-2:])
    return found


def check_ids(batch: Mapping[str, np.ndarray], ids: Mapping[str, tuple[int, int]]) -> None:
    """Checks the ids of a batch. Raises XfmError for a token, type or position without a row in its embedding table.

    ids: see `Structure.ids`.
    """
    for name, called in (("tokens", "input_ids"), ("types", "token_type_ids"), ("positions", "positions")):
        if name in batch and name in ids:
            checked = batch.get("segments", 1) > 0 if name == "positions" else True  # not those of padding
            _check(called, np.where(checked, batch[name], 0), *ids[name])


def _check(name: str, ids: np.ndarray, first: int, end: int) -> None:
    if not ids.size:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < first or high >= end:
        wrong = high if high >= end else low
        raise XfmError(f"{name} contain {wrong}; this checkpoint has {first} to {end - 1}")
