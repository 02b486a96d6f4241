"""Checks of the arrays that a caller passes to a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.errors import XfmError

TEXTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def whole(input_ids, attention_mask=None, token_type_ids=None, position_ids=None, **more) -> list[np.ndarray | None]:
    """The Hub's inputs as arrays of integers of one shape, None for those that are None.

    Raises XfmError for arrays of another dtype or shape, for rows of different lengths, and without input_ids.
    """
    names = (*TEXTS, *more)
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


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of array that a model may be given in place of texts, in the Hub's layout or in xfm's.

    name: of the argument in xfm's layout, and in a batch.  axes: of that layout.  hub: the Hub's name.  hub_axes: of
    its layout.  order: the Hub's axes in xfm's order.  one: what a row is called.
    """

    name: str
    axes: str
    hub: str
    hub_axes: str
    order: tuple[int, ...]
    one: str


KINDS = {
    "images": Kind(
        "images", "batch, height, width, channels", "pixel_values", "batch, channels, height, width", (0, 2, 3, 1),
        "image",
    ),
    "video": Kind(
        "video", "batch, time, height, width, channels", "pixel_values", "batch, time, channels, height, width",
        (0, 1, 3, 4, 2), "video",
    ),
    "frames": Kind(
        "frames", "batch, time, bands", "input_values", "batch, time, bands", (0, 1, 2), "spectrogram",
    ),
    "patches": Kind(
        "patches", "batch, patches, numbers", "pixel_values", "batch, patches, numbers", (0, 1, 2), "image",
    ),
}  # fmt: skip


def array_of(kind: Kind, given: Mapping[str, Any]) -> Float[Array, "B *any"]:
    """The array of a call in xfm's layout, from one of its two arguments.

    given: the arguments by name.  Raises XfmError if both or none are given, and for another shape or dtype, whole
    numbers and NaN included.
    """
    names = [name for name in (kind.name, kind.hub) if given.get(name) is not None]
    if len(names) != 1:
        raise XfmError(f"give either {kind.name} [{kind.axes}] or {kind.hub} [{kind.hub_axes}]")
    (name,) = names
    x = given[name] if isinstance(given[name], jax.Array) else np.asarray(given[name])
    axes = kind.axes if name == kind.name else kind.hub_axes
    if x.ndim != len(kind.order) or 0 in x.shape:
        raise XfmError(f"{name} have the shape {x.shape}; it must be [{axes}]")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise XfmError(f"{name} are {x.dtype}; they must be floats, scaled and normalised as the model was trained")
    if not isinstance(x, jax.core.Tracer) and (broken := np.isnan(x).any(axis=tuple(range(1, x.ndim)))).any():
        raise XfmError(f"{name} have NaN in {kind.one} {int(np.argmax(broken))}; leave it out")
    return x if name == kind.name else x.transpose(kind.order)


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
    called = {"tokens": "input_ids", "types": "token_type_ids", "positions": "positions"}
    for path, bounds in ids.items():
        prefix, _, name = path.rpartition("/")
        if path in batch and name in called:
            segments = batch.get(f"{prefix}/segments".lstrip("/"), 1)
            checked = segments > 0 if name == "positions" else True  # not those of padding
            _check(called[name], np.where(checked, batch[path], 0), *bounds)


def _check(name: str, ids: np.ndarray, first: int, end: int) -> None:
    if not ids.size:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < first or high >= end:
        wrong = high if high >= end else low
        raise XfmError(f"{name} contain {wrong}; this checkpoint has {first} to {end - 1}")
