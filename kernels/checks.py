"""What the operations on a row of tokens check of their arguments, and the sentences in which they refuse them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Sizes(NamedTuple):
    """B rows of T tokens, N heads of H values, and G groups of M keys."""

    B: int
    T: int
    N: int
    H: int
    G: int
    M: int


class Checks:
    """The checks of one call of `operation`.

    values: name and array, to be [B T N H].  keys: name and array, to be [B T G M], where G divides N.
    Raises ValueError where they are not.
    """

    def __init__(self, operation: str, values: tuple[str, jax.Array], keys: tuple[str, jax.Array]):
        self.operation = operation
        (v_name, v), (k_name, k) = values, keys
        if jnp.ndim(v) != 4 or jnp.ndim(k) != 4:
            raise ValueError(
                f"{operation}: {v_name} {jnp.shape(v)} must be [B T N H] and {k_name} {jnp.shape(k)} must be [B T G M]."
            )
        self.sizes = Sizes(*v.shape, *k.shape[2:])
        self._given = f"with {v_name} {v.shape} and {k_name} {k.shape}"
        if min(self.sizes) < 1 or self.sizes.N % self.sizes.G:
            raise ValueError(
                f"{operation}: {v_name} {v.shape} has N = {self.sizes.N} heads and {k_name} {k.shape} "
                f"G = {self.sizes.G} groups; no axis may be empty, and G must divide N."
            )

    def shapes(self, arrays: Mapping[str, tuple]) -> None:
        """arrays: name -> (array or None, each shape that it may have). Raises ValueError for another shape."""
        for name, (array, *legal) in arrays.items():
            if array is not None and jnp.shape(array) not in legal:
                must = f"{legal[0]}" if len(legal) == 1 else f"one of {', '.join(map(str, legal))}"
                raise ValueError(
                    f"{self.operation}: {name} has shape {jnp.shape(array)}; {self._given} it must be {must}."
                )

    def dtypes(self, segments: jax.Array | None, **floating: jax.Array | None) -> None:
        """Raises ValueError for segments that are not integers, and for others that are not of a floating dtype."""
        for name, array in floating.items():
            if array is not None and not jnp.issubdtype(array.dtype, jnp.floating):
                raise ValueError(f"{self.operation}: {name} is {array.dtype}; it must be of a floating dtype.")
        if segments is not None and not jnp.issubdtype(segments.dtype, jnp.integer):
            raise ValueError(f"{self.operation}: segments is {segments.dtype}; it must be of an integer dtype.")


def chosen(operation: str, implementation: str | None, legal: Mapping[str, Callable], chunk: int) -> Callable:
    """The function of that name, the one called "xla" for None.

    Raises NotImplementedError for another name, and ValueError for a chunk that is not a whole number of at least 1.
    """
    if not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"{operation}: chunk is {chunk!r}; it must be a whole number of at least 1.")
    name = "xla" if implementation is None else implementation
    if name not in legal:
        raise NotImplementedError(
            f"{operation}: implementation is {name!r}; it must be None or one of {', '.join(legal)}."
        )
    return legal[name]
