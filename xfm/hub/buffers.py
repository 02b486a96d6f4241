"""What files hold beside weights and a network computes itself: positions, sines, masks; it must be what is computed.

A family's `buffers` name them, regex of the name -> whether an array is as the network has it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from xfm.errors import XfmError
from xfm.hub.files import BUFFERS, Tensors
from xfm.hub.keys import at
from xfm.hub.settings import Settings

Holds = Callable[[Settings, Mapping[str, Any], np.ndarray], bool]
CLOSE = {2: 1e-2, 4: 1e-5, 8: 1e-5}  # what may be lost in numbers of so many bytes, of their size or of 1


def check_buffers(family: Any, c: Settings, spec: Mapping[str, Any], names: Iterable[str], tensors: Tensors) -> None:
    """Raises XfmError for a tensor among `names`, by the file's names, that differs from what the network computes.

    spec: of the network.
    """
    for name in names:
        today = family.today(name)
        holds = next((holds for regex, holds in family.files.buffers.items() if re.fullmatch(regex, today)), None)
        if holds is None or str(tensors.dtype(name)) not in BUFFERS:
            continue
        array = np.concatenate([block.copy() for _, block in tensors.blocks(name)]).reshape(tensors.shape(name))
        if not holds(c, spec, array):
            raise XfmError(
                f"the file holds {name}, which is not what this {family.model_type} computes in its place: the weights "
                "were trained with other numbers there, or the file is damaged"
            )


def same(array: np.ndarray, expected: Any) -> bool:
    """Whether an array holds the expected numbers, as far as its dtype tells them."""
    near = CLOSE.get(array.dtype.itemsize, 0.0)
    array, expected = np.asarray(array, np.float64), np.asarray(expected, np.float64)
    return array.shape == expected.shape and np.allclose(array, expected, rtol=near, atol=near)


def counting(first: int) -> Holds:
    """first, first + 1, … along the last axis."""
    return lambda c, spec, array: same(
        array, np.broadcast_to(first + np.arange(array.shape[-1] if array.ndim else 0), array.shape)
    )


def leading(array: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a table has the expected rows; the file may hold fewer or more of them than config.json says."""
    rows = min(len(array), len(expected)) if array.ndim == expected.ndim else 0
    return rows > 0 and same(array[:rows], expected[:rows])


def causal(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """1 where a token attends to another, which is at itself and before it."""
    return array.ndim >= 2 and same(array, np.broadcast_to(np.tri(*array.shape[-2:]), array.shape))


def far_below(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """A score so low that its weight is zero."""
    return bool((np.asarray(array, np.float64) <= -1e4).all())


def frequencies(c: Settings, spec: Mapping[str, Any], array: np.ndarray) -> bool:
    """theta^(-2 i / H) for i in 0 … H / 2, of rotary positions."""
    theta = at(spec, "pattern/0/position/theta")
    return theta is not None and array.ndim == 1 and same(array, theta ** (-np.arange(len(array)) / max(len(array), 1)))


COUNTED = counting(0)
