"""Checks of buffers: arrays in the files that are no weights, such as positions, sines and masks.

xfm's networks compute these themselves, so the arrays must equal what is computed. `Files.buffers` of a family maps
a regex of the name to a check.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from xfm.errors import XfmError
from xfm.hub.files import BUFFERS, Tensors
from xfm.hub.keys import at
from xfm.hub.settings import Settings
from xfm.parts.position.continuous_grid import log_spaced
from xfm.spec import nested

Holds = Callable[[Settings, Mapping[str, Any], np.ndarray], bool]
CLOSE = {2: 1e-2, 4: 1e-5, 8: 1e-5}  # bytes of a number -> relative and absolute tolerance


def check_buffers(family: Any, c: Settings, spec: Mapping[str, Any], names: Iterable[str], tensors: Tensors) -> None:
    """Checks the buffers among the tensors `names` (as the file names them).

    c: config.json.  spec: of the network.  Raises XfmError for one that differs from what the network computes.
    """
    for name in names:
        today = family.today(name)
        holds = next((holds for regex, holds in family.files.buffers.items() if re.fullmatch(regex, today)), None)
        if holds is None or str(tensors.dtype(name)) not in BUFFERS:
            continue
        array = np.concatenate([block.copy() for _, block in tensors.blocks(name)]).reshape(tensors.shape(name))
        if not holds(c, spec, array):
            raise XfmError(
                f"the file's {name} differs from what this {family.model_type} computes: the weights were "
                "trained with other numbers there, or the file is damaged"
            )


def same(array: np.ndarray, expected: Any) -> bool:
    """Whether an array equals the expected numbers, within the precision of its dtype."""
    near = CLOSE.get(array.dtype.itemsize, 0.0)
    array, expected = np.asarray(array, np.float64), np.asarray(expected, np.float64)
    return array.shape == expected.shape and np.allclose(array, expected, rtol=near, atol=near)


def counting(first: int) -> Holds:
    """A check for the numbers first, first + 1, … along the last axis."""
    return lambda c, spec, array: same(
        array, np.broadcast_to(first + np.arange(array.shape[-1] if array.ndim else 0), array.shape)
    )


def leading(array: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the rows of a table equal the expected ones; either may have more rows than the other."""
    rows = min(len(array), len(expected)) if array.ndim == expected.ndim else 0
    return rows > 0 and same(array[:rows], expected[:rows])


def causal(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A check for a causal mask: 1 where a token attends to another, that is to itself and to earlier ones."""
    return array.ndim >= 2 and same(array, np.broadcast_to(np.tri(*array.shape[-2:]), array.shape))


def far_below(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A check for scores so low that their attention weights are zero."""
    return bool((np.asarray(array, np.float64) <= -1e4).all())


def frequencies(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A check for the frequencies theta^(-2 i / H), i = 0 … H / 2 - 1, of rotary positions."""
    theta = at(spec, "pattern/0/position/theta")
    return theta is not None and array.ndim == 1 and same(array, theta ** (-np.arange(len(array)) / max(len(array), 1)))


COUNTED = counting(0)


def offsets(rows: int, columns: int) -> np.ndarray:
    """The row of a table [(2 rows - 1)(2 columns - 1) …] that each pair of a window's tokens has, in reading order."""
    at = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")).reshape(2, -1)
    down, across = at[:, :, None] - at[:, None, :] + np.array([rows - 1, columns - 1])[:, None, None]
    return down * (2 * columns - 1) + across


def class_offsets(rows: int, columns: int) -> np.ndarray:
    """The same for a class token before the tokens of a grid: the last three rows are from and to it, and its own."""
    last = (2 * rows - 1) * (2 * columns - 1) + 2
    expected = np.pad(offsets(rows, columns), ((1, 0), (1, 0)), constant_values=last - 1)
    expected[0] = last - 2
    expected[0, 0] = last
    return expected


def windowed(spec: Mapping[str, Any]) -> list[tuple[tuple[int, int], int | tuple[int, int] | None]]:
    """For each windowed part of a network the rows and columns of its windows, and the reach of its position."""
    parts = [one for one in nested(spec) if one.get("kind") == "windowed"]
    return [(twice(at(part, "window")), at(part, "mixer/position/reach")) for part in parts]


def twice(side: int | tuple[int, int]) -> tuple[int, int]:
    """Rows and columns, which may be given as one number."""
    return (side, side) if isinstance(side, int) else tuple(side)


def windows(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A check for the offsets within one of the network's windows, [T T] or in one row."""
    return any(same(array.ravel(), offsets(*sides).ravel()) for sides, _ in windowed(spec))


def coordinates(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A check for the logarithms of the offsets within one of the network's windows, [1 2h-1 2w-1 2]."""
    return any(same(array, log_spaced(sides, twice(reach or sides))[None]) for sides, reach in windowed(spec))


def zero(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A check for zeros, such as the bias of keys where they have none."""
    return same(array, np.zeros(array.shape))
