"""The bias of relative attention, block by block: scores of distance and type, and -inf where a key is masked.

Dai et al. 2019 (Transformer-XL), section 3.3; Yang et al. 2019 (XLNet), sections 2.3 and 2.5.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.kernels.attention import Mask
from xfm.kernels.attention import Relative as InOrder
from xfm.kernels.platform import product

_describes = functools.partial(functools.partial, jax.tree_util.register_dataclass, meta_fields=[])


@_describes(data_fields=["q", "of_distance", "at", "rows"])
@dataclasses.dataclass(frozen=True)
class FromPositions:
    """q_t · of_distance[rows[at_t - s]] for queries at any positions; rows are of the distances 1 - S, …, S - 1."""

    q: Float[Array, "B K N H"]
    of_distance: Float[Array, "2*S-1 N H"]
    at: Int[Array, "B K"]
    rows: Int[Array, "2*S-1"]

    def block(self, b, n, query, key):
        """[t s]: the scores of row b and head n between the queries given at these indices and the keys."""
        query, S = jnp.clip(query, 0, self.q.shape[1] - 1), (len(self.rows) + 1) // 2
        met = product("th,mh->tm", self.q[b, query, n], self.of_distance[:, n])
        distance = self.at[b, query][:, None] - key[None, :]
        return jnp.take_along_axis(met, self.rows[jnp.clip(distance + S - 1, 0, 2 * S - 2)], axis=1)


@_describes(data_fields=["distance", "backward", "at", "of_type", "types", "ranks", "unseen", "mask"])
@dataclasses.dataclass(frozen=True)
class Terms:
    """The scores of distance and type, and -inf where a key is masked for a query; a field that is None is left out.

    backward: rows of the batch in which distances count in the other direction.  at: index of the key at the position
    of each query.  of_type: the scores of a key of the same type and of another.  ranks: of queries and of keys; keys
    of lower rank are visible.  unseen: keys masked for the query at each position.  mask: applies to the queries'
    positions, where the kernel's mask would apply to their indices.
    """

    distance: InOrder | FromPositions
    backward: Bool[Array, "B"] | None
    at: Int[Array, "B T"]
    of_type: Float[Array, "B T N 2"] | None
    types: Int[Array, "B S"] | None
    ranks: tuple[Int[Array, "B T"], Int[Array, "B S"]] | None
    unseen: Bool[Array, "B S S"] | None
    mask: Mask | None

    def block(self, b, n, query, key):
        """[t s]: the scores of row b and head n between the queries given at these indices and the keys."""
        distance = self.distance
        if self.backward is not None:
            rows = jnp.where(self.backward[b], distance.rows[::-1], distance.rows)
            distance = dataclasses.replace(distance, rows=rows)
        scores = distance.block(b, n, query, key)
        query = jnp.clip(query, 0, self.at.shape[1] - 1)
        at, hidden = self.at[b, query], []
        if self.of_type is not None:
            same, other = self.of_type[b, query, n, 0], self.of_type[b, query, n, 1]
            alike = self.types[b, at][:, None] == self.types[b, key][None, :]
            scores += jnp.where(alike, same[:, None], other[:, None])
        if self.ranks is not None:
            hidden.append(self.ranks[1][b, key][None, :] >= self.ranks[0][b, query][:, None])
        if self.unseen is not None:
            hidden.append(self.unseen[b][at[:, None], key[None, :]])
        if self.mask is not None and not self.mask.shows_all:
            prefix = None if self.mask.prefix is None else self.mask.prefix[b, key]
            hidden.append(~self.mask.visible(at, key, prefix))
        return jnp.where(functools.reduce(jnp.logical_or, hidden), -jnp.inf, scores) if hidden else scores
