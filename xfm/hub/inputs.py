"""What a caller gives to a checkpoint, checked before it is used."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xfm.errors import XfmError


def whole(input_ids, attention_mask=None, token_type_ids=None, position_ids=None, **more) -> list[np.ndarray | None]:
    """The Hub's inputs as arrays of one shape; XfmError where they are no whole numbers or of another shape."""
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids", *more)
    arrays = (input_ids, attention_mask, token_type_ids, position_ids, *more.values())
    given = [a if a is None else np.asarray(a) for a in arrays]
    shape = given[0].shape
    if len(shape) not in (2, 3):
        raise XfmError(f"input_ids have the shape [batch, length], not {shape}")
    if 0 in shape:
        raise XfmError(f"input_ids have the shape {shape}, and so no token; give at least one text")
    for name, array in zip(names, given, strict=True):
        if array is None:
            continue
        if array.dtype.kind not in ("biu" if name == "attention_mask" else "iu"):
            raise XfmError(f"{name} are whole numbers, not {array.dtype}")
        if array.shape != shape and (name != "position_ids" or array.shape[-1:] != shape[-1:]):
            raise XfmError(f"{name} have shape {array.shape}, and input_ids {shape}")
    return given


def of_pairs(shape: tuple[int, ...], arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Inputs that say something of pairs of tokens, as [B K T] beside input_ids of that shape; XfmError where not."""
    found = {}
    for name, array in arrays.items():
        if array is None:
            continue
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            raise XfmError(f"{name} are numbers, not {array.dtype}")
        if array.ndim != len(shape) + 1 or array.shape[:-2] != shape[:-1] or array.shape[-1] != shape[-1]:
            raise XfmError(f"{name} have shape {array.shape}; beside input_ids {shape} that is [batch, any, length]")
        found[name] = array.reshape(-1, *array.shape[-2:])
    return found


def check_ids(batch: Mapping[str, np.ndarray], ids: Mapping[str, tuple[int, int]]) -> None:
    """Raises XfmError for an id for which a table of the embedding has no row.  ids: see `Structure.ids`."""
    for name, called in (("tokens", "input_ids"), ("types", "token_type_ids"), ("positions", "positions")):
        if name in batch and name in ids:
            real = batch.get("segments", 1) > 0 if name == "positions" else True  # positions there may be anything
            _check(called, np.where(real, batch[name], 0), *ids[name])


def _check(name: str, ids: np.ndarray, first: int, end: int) -> None:
    if not ids.size:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < first or high >= end:
        raise XfmError(f"{name} hold {high if high >= end else low}; those of this checkpoint are {first} to {end - 1}")
