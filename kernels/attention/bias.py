"""Additive biases on attention scores, as descriptions that a kernel evaluates block by block.

`block(b, n, query, key)` gives the [t, s] bias of row b and head n at those row indices, which are consecutive. Two
other methods are optional: `times(factor)` gives the same bias with every value of head n times factor[n], and
`check(B, N, T, S)` raises ValueError where the bias does not fit scores of that shape.
"""

import dataclasses
import functools
import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..platform import product

_describes = functools.partial(functools.partial, jax.tree_util.register_dataclass)


class Bias(Protocol):
    """Anything with a `block`; a pytree, so that its arrays get gradients. A temperature needs `times`."""

    def block(
        self, b: Int[Array, ""], n: Int[Array, ""], query: Int[Array, " t"], key: Int[Array, " s"]
    ) -> Float[Array, "t s"]:
        """The bias of row b and head n between the queries and the keys at these row indices."""
        ...


@_describes(data_fields=["slopes"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Slopes:
    """-slope · |t - s|, one slope per head (ALiBi). Differences are of row indices, so packing changes nothing."""

    slopes: Float[Array, "N"]

    def block(self, b, n, query, key):
        """[t s]: -slope · |t - s|."""
        return -jnp.asarray(self.slopes)[n] * jnp.abs(query[:, None] - key[None, :]).astype(jnp.float32)

    def times(self, factor: Float[Array, "N"]) -> "Slopes":
        """The bias with all values of head n times factor[n]."""
        return Slopes(self.slopes * factor)

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError unless there is a slope for each of N heads."""
        _of_heads(self.slopes.shape, N)


@_describes(data_fields=["table"], meta_fields=["reach", "sides"])
@dataclasses.dataclass(frozen=True)
class Buckets:
    """One learned number per head and bucket of the distance s - t: a bucket each for small ones, logarithmic beyond.

    Raffel et al. 2020 (T5), section 2.1. sides: 2 where keys before and after get buckets of their own (encoders),
    1 where all later keys share the nearest bucket (decoders). reach: the distance from which on there is one bucket.
    """

    table: Float[Array, "buckets N"]
    reach: int = 128
    sides: int = 2

    def block(self, b, n, query, key):
        """The bias of a block: each distance is looked up once and its value repeated along its diagonal."""
        t, s = len(query), len(key)
        ahead = key[0] - query[0] + jnp.arange(1 - t, s + 1)
        return _along_diagonals(jnp.asarray(self.table)[self.bucket(ahead), n], t, s)

    def bucket(self, ahead: Int[Array, "*any"]) -> Int[Array, "*any"]:
        """The bucket of each difference s - t."""
        buckets = self.table.shape[0] // self.sides
        later = jnp.where(ahead > 0, buckets, 0) if self.sides == 2 else 0
        distance = jnp.abs(ahead) if self.sides == 2 else jnp.maximum(-ahead, 0)
        exact = buckets // 2
        growth = (buckets - exact) / math.log(self.reach / exact)
        far = exact + (jnp.log(jnp.maximum(distance, 1) / exact) * growth).astype(jnp.int32)
        return later + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1))

    def times(self, factor: Float[Array, "N"]) -> "Buckets":
        """The bias with all values of head n times factor[n]."""
        return dataclasses.replace(self, table=self.table * factor)

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError for a table that is not of N heads, or whose buckets `sides` and `reach` do not fit."""
        if self.sides not in (1, 2):
            raise ValueError(f"buckets have 1 side or 2, not {self.sides}")
        buckets, heads = self.table.shape
        _of_heads((heads,), N)
        if buckets % self.sides or buckets // self.sides < 2 or self.reach <= buckets // self.sides // 2:
            raise ValueError(
                f"buckets are an even number, 2 or more on each of {self.sides} sides, with a reach beyond the exact "
                f"half of a side; not {buckets} with reach {self.reach}"
            )


@_describes(data_fields=["values"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Dense:
    """A bias as an array [B or 1, N or 1, T, S]: a last resort, since its memory is quadratic in length."""

    values: Float[Array, "#B #N T S"]

    def block(self, b, n, query, key):
        """[t s]: the part of the array."""
        rows, heads, T, S = self.values.shape
        plane = jnp.asarray(self.values)[jnp.where(rows > 1, b, 0), jnp.where(heads > 1, n, 0)]
        return plane[jnp.clip(query, 0, T - 1)[:, None], jnp.clip(key, 0, S - 1)[None, :]]

    def times(self, factor: Float[Array, "N"]) -> "Dense":
        """The bias with all values of head n times factor[n]."""
        return Dense(self.values * factor[:, None, None])

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError unless the array broadcasts to [B, N, T, S]."""
        shape = self.values.shape
        fits = len(shape) == 4 and shape[0] in (1, B) and shape[1] in (1, N) and shape[2:] == (T, S)
        if not fits:
            raise ValueError(f"a dense bias of shape {shape} does not fit scores of ({B}, {N}, {T}, {S})")


@_describes(data_fields=["table", "own"], meta_fields=["grid", "first"])
@dataclasses.dataclass(frozen=True)
class GridTable:
    """One learned number per head and offset (dy, dx) = query - key between the tokens of a grid, in raster order.

    Liu et al. 2021 (Swin), section 3.2; rows of the table are dy = 1 - h, …, h - 1, columns dx = 1 - w, …, w - 1.
    first: the number of tokens before those of the grid, such as one of a class.  own: the numbers of these: as
    queries, as keys, and among themselves (Bao et al. 2022, BEiT).
    """

    table: Float[Array, "2*h-1 2*w-1 N"]
    grid: tuple[int, int]
    first: int = 0
    own: Float[Array, "3 N"] | None = None

    @property
    def tokens(self) -> int:
        """The number of tokens that have a bias."""
        return self.first + math.prod(self.grid)

    def block(self, b, n, query, key):
        """[t s]: the numbers of the table at the offsets, and those of the first tokens."""
        h, w = self.grid
        (qy, qx), (ky, kx) = (divmod(jnp.clip(index - self.first, 0, h * w - 1), w) for index in (query, key))
        dy, dx = (a[:, None] - c[None, :] for a, c in ((qy, ky), (qx, kx)))
        of_grid = jnp.asarray(self.table)[dy + h - 1, dx + w - 1, n]
        if self.first == 0:
            return of_grid
        as_query, as_key, among = jnp.asarray(self.own)[:, n]
        asks, answers = (query < self.first)[:, None], (key < self.first)[None, :]
        return jnp.where(asks, jnp.where(answers, among, as_query), jnp.where(answers, as_key, of_grid))

    def planes(self) -> Float[Array, "N t s"]:
        """`block` of all tokens and all heads, by products with 0 and 1, which take a TPU less time than a gather."""
        of_rows, of_columns = (
            np.arange(side)[:, None, None] - np.arange(side)[:, None] + side - 1 == np.arange(2 * side - 1)
            for side in self.grid
        )
        numbers = jnp.asarray(self.table, jnp.float32)
        exactly = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
        numbers = exactly("abn,xXb->naxX", numbers, of_columns.astype(np.float32))
        numbers = exactly("naxX,yYa->nyxYX", numbers, of_rows.astype(np.float32))
        heads, tokens = len(numbers), math.prod(self.grid)
        numbers = numbers.reshape(heads, tokens, tokens)
        if self.first == 0:
            return numbers
        as_query, as_key, among = jnp.asarray(self.own, jnp.float32)[:, :, None, None]
        numbers = jnp.pad(numbers, ((0, 0), (self.first, 0), (self.first, 0)))
        later = np.arange(self.tokens) >= self.first
        among = jnp.where(later, as_query, among)
        return jnp.where(later[:, None], jnp.where(later, numbers, as_key), among)

    def times(self, factor: Float[Array, "N"]) -> "GridTable":
        """The bias with all values of head n times factor[n]."""
        own = self.own if self.own is None else self.own * factor
        return dataclasses.replace(self, table=self.table * factor, own=own)

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError unless the table fits the grid and N heads, and the tokens are the queries and the keys."""
        h, w = self.grid
        if self.table.ndim != 3 or self.table.shape[:2] != (2 * h - 1, 2 * w - 1):
            raise ValueError(
                f"a table for a grid of {h} x {w} has shape ({2 * h - 1}, {2 * w - 1}, {N}), not {self.table.shape}"
            )
        _of_heads(self.table.shape[2:], N)
        if (self.own is None) == (self.first > 0) or (self.own is not None and self.own.shape != (3, N)):
            has = None if self.own is None else self.own.shape
            raise ValueError(f"the {self.first} first tokens of a grid have numbers of their own, (3, {N}), not {has}")
        _of_grid(self.grid, T, S, self.first)


@_describes(data_fields=["rates"], meta_fields=["grid"])
@dataclasses.dataclass(frozen=True)
class GridDecay:
    """-rate · (|dy| + |dx|) between tokens of a grid in raster order, one rate per head.

    Fan et al. 2024 (RMT), section 3.2: the logarithm of its decay by Manhattan distance.  grid: (h, w).
    """

    rates: Float[Array, "N"]
    grid: tuple[int, int]

    def block(self, b, n, query, key):
        """[t s]: -rate · (|dy| + |dx|)."""
        (qy, qx), (ky, kx) = (divmod(index, self.grid[1]) for index in (query, key))
        steps = jnp.abs(qy[:, None] - ky[None, :]) + jnp.abs(qx[:, None] - kx[None, :])
        return -jnp.asarray(self.rates)[n] * steps.astype(jnp.float32)

    def times(self, factor: Float[Array, "N"]) -> "GridDecay":
        """The bias with all values of head n times factor[n]."""
        return dataclasses.replace(self, rates=self.rates * factor)

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError unless there is a rate for each of N heads and the grid fits queries and keys."""
        _of_heads(self.rates.shape, N)
        _of_grid(self.grid, T, S)


@_describes(data_fields=["q", "k", "of_key", "of_query", "rows"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Relative:
    """q_t · of_key[row(t - s)] + k_s · of_query[row(t - s)], block by block; a term whose table is None is left out.

    Shaw et al. 2018, Dai et al. 2019 (Transformer-XL), He et al. 2021 (DeBERTa). q and k may differ from those of the
    attention and are not scaled by it.  rows: of the tables, for the distances -(S - 1), …, T - 1.
    """

    q: Float[Array, "B T N H"]
    k: Float[Array, "B S N H"]
    of_key: Float[Array, "rows N H"] | None
    of_query: Float[Array, "rows N H"] | None
    rows: Int[Array, "T+S-1"]

    def block(self, b, n, query, key):
        """[t s]: each vector times the block's t + s distances in one product, whose rows are then shifted to keys."""
        t, s = query.shape[0], key.shape[0]
        T, S = self.q.shape[1], self.k.shape[1]
        distance = query[0] - key[0] + (t - 1) - jnp.arange(t + s)  # column m of a product is that distance
        row = jnp.asarray(self.rows)[jnp.clip(distance + S - 1, 0, T + S - 2)]
        wide = jnp.promote_types(self.q.dtype, jnp.float32)
        scores = jnp.zeros((t, s), wide)
        if self.of_key is not None:  # the score of (t, s) is in column (t - 1 - its row) + s
            met = product("th,mh->tm", self.q[b, jnp.clip(query, 0, T - 1), n], self.of_key[row, n], wide)
            scores += _skewed(met, s)
        if self.of_query is not None:
            met = product("sh,mh->sm", self.k[b, jnp.clip(key, 0, S - 1), n], self.of_query[row, n], wide)
            scores += jnp.pad(met.reshape(-1), (0, s)).reshape(s, t + s + 1)[:, :t][:, ::-1].T
        return scores

    def times(self, factor: Float[Array, "N"]) -> "Relative":
        """The bias with all values of head n times factor[n]."""
        of_key, of_query = (
            a if a is None else (a * factor[:, None]).astype(a.dtype) for a in (self.of_key, self.of_query)
        )
        return dataclasses.replace(self, of_key=of_key, of_query=of_query)

    def check(self, B: int, N: int, T: int, S: int) -> None:
        """Raises ValueError for vectors, tables or rows that do not fit T queries and S keys of N heads."""
        for name, has, want in (("q", self.q, (B, T, N)), ("k", self.k, (B, S, N))):
            if has.ndim != 4 or has.shape[:3] != want:
                raise ValueError(f"the {name} of a relative bias has shape {has.shape}; {want} and a width are needed")
        for name, table in (("of_key", self.of_key), ("of_query", self.of_query)):
            if table is not None and (table.ndim != 3 or table.shape[1:] != self.q.shape[2:]):
                raise ValueError(
                    f"{name} of a relative bias has shape {table.shape}; rows of {self.q.shape[2:]} are needed"
                )
        if self.rows.shape != (T + S - 1,):
            raise ValueError(
                f"the rows of a relative bias are of {self.rows.shape[0]} distances; {T} queries and {S} keys have "
                f"{T + S - 1}"
            )


OF_PLACES = (Dense, GridTable, Relative)  # read by index among the queries given, so an offset would misread them


def check(bias: Bias | None, B: int, N: int, T: int, S: int, offset) -> None:
    """Raises ValueError where a bias does not fit scores of this shape."""
    if bias is None:
        return
    if not hasattr(bias, "block"):
        raise ValueError(f"attention takes a bias with a `block`, such as Slopes or Dense, not {type(bias).__name__}")
    if hasattr(bias, "check"):
        bias.check(B, N, T, S)
    if offset is not None and isinstance(bias, OF_PLACES):
        raise ValueError(
            f"a {type(bias).__name__} bias is read by index among the queries given, which mask.offset moves; give "
            "Slopes or Buckets, or no offset"
        )


def _of_heads(shape: tuple[int, ...], N: int) -> None:
    if shape != (N,):
        raise ValueError(f"the bias is of {shape[0] if len(shape) == 1 else shape} heads, the queries of {N}")


def _of_grid(grid: tuple[int, int], T: int, S: int, first: int = 0) -> None:
    h, w = grid
    if T != S or T != first + h * w:
        raise ValueError(f"a bias of a grid of {h} x {w} fits {first + h * w} queries and keys, not {T} and {S}")


def _skewed(rows: Float[Array, "t t+s"], s: int) -> Float[Array, "t s"]:
    """[i, j] = rows[i, t - 1 - i + j]."""
    t = rows.shape[0]
    return rows.reshape(-1)[t - 1 : -1].reshape(t, t + s - 1)[:, :s]


def _along_diagonals(values: Float[Array, " t+s"], t: int, s: int) -> Float[Array, "t s"]:
    """[i, j] = values[t - 1 - i + j]."""
    return _skewed(jnp.broadcast_to(values, (t, t + s)), s)
