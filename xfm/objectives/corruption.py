"""Which tokens a masked language model predicts, and what its input has at their positions. All shapes are static.

Tokens are grouped into units: single tokens, whole words, or spans of random length. Units are taken in random order
until the row's budget is spent, so that one function chooses for all kinds.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from xfm.errors import XfmError
from xfm.fields import Count, Fraction
from xfm.spec import function_of, lookup
from xfm.vocabulary import Vocabulary

Tokens = Int[Array, "B T"]


def single(tokens: Tokens, vocabulary: Vocabulary, rng: Key[Array, ""]) -> Tokens:
    """Makes each token a unit. Devlin et al. 2019, section 3.1."""
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)


def whole_word(tokens: Tokens, vocabulary: Vocabulary, rng: Key[Array, ""]) -> Tokens:
    """Makes each word a unit, with all tokens that continue it. (BERT's release of May 2019.)"""
    if vocabulary.starts_word is None:
        raise XfmError(
            "masking of whole words needs a tokeniser whose ids show where words start; those of bytes do not"
        )
    return jnp.cumsum(jnp.asarray(vocabulary.starts_word)[tokens], axis=1)


def span(
    tokens: Tokens, vocabulary: Vocabulary, rng: Key[Array, ""], end: Fraction = 0.2, longest: Count = 10
) -> Tokens:
    """Divides the row into spans of geometric length, at most `longest`. Joshi et al. 2020 (SpanBERT), section 3.1."""
    B, T = tokens.shape
    # Inverse of the geometric distribution; T spans are always enough to cover T tokens.
    u = jax.random.uniform(rng, (B, T), minval=jnp.finfo(jnp.float32).tiny)
    lengths = jnp.clip(jnp.ceil(jnp.log(u) / jnp.log1p(-end)), 1, longest).astype(jnp.int32)
    ends = jnp.cumsum(lengths, axis=1)
    return jax.vmap(lambda e: jnp.searchsorted(e, jnp.arange(T), side="right"))(ends)


def choose(
    units: Int[Array, "B T"], allowed: Bool[Array, "B T"], rate: float, most: int, rng: Key[Array, ""]
) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
    """Positions to predict [B K = most], and their weights: 1, or 0 where the row has fewer positions.

    A row's budget is round(rate · allowed tokens), at least 1 if any is allowed. Units are taken until one would exceed
    the budget; if that is the first, a part of it is taken.
    """
    B, T = units.shape
    order = jax.random.uniform(rng, (B, T))
    of_unit = jnp.take_along_axis(order, units % T, axis=1)  # tokens of a unit share their unit's draw
    rank = jnp.argsort(jnp.where(allowed, of_unit, 2.0), axis=1, stable=True)
    unit, taken = (jnp.take_along_axis(a, rank, axis=1) for a in (units, allowed))

    index = jnp.arange(T)
    last = jnp.concatenate([unit[:, 1:] != unit[:, :-1], jnp.ones((B, 1), bool)], axis=1)
    end = jax.lax.cummin(jnp.where(last, index, T), axis=1, reverse=True)  # where this unit's tokens end
    count = allowed.sum(axis=1, keepdims=True)
    budget = jnp.clip(jnp.round(rate * count), 1, most)
    fits = (end < budget) | (unit == unit[:, :1])
    counts = taken & fits & (index < budget)
    return rank[:, :most], counts[:, :most].astype(jnp.float32)


def replaced(
    tokens: Int[Array, "B K"], split: tuple[float, float, float], vocabulary: Vocabulary, rng: Key[Array, ""]
) -> Int[Array, "B K"]:
    """The input at chosen positions: the mask, a random id, or the token itself, with the probabilities of `split`."""
    masked, random, _ = split
    first, second = jax.random.split(rng)
    u = jax.random.uniform(first, tokens.shape)
    other = jax.random.randint(second, tokens.shape, 0, vocabulary.size)
    return jnp.where(u < masked, vocabulary.mask, jnp.where(u < masked + random, other, tokens))


def units_of(spec: Mapping[str, Any], tokens: Tokens, vocabulary: Vocabulary, rng: Key[Array, ""]) -> Tokens:
    """The unit that each token belongs to, counted along the row, by {"kind": a name of UNITS, …}."""
    kind, settings = unit_of(spec)
    return lookup(UNITS, kind)(tokens, vocabulary, rng, **settings)


def unit_of(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind and the settings of {"kind": a name of UNITS, …}.  Raises XfmError for settings that it lacks."""
    return function_of(UNITS, spec, "masking unit")


def check_corruption(kind: str, split: tuple[float, float, float], units: Mapping[str, Any]) -> None:
    """Raises XfmError if the shares of the objective `kind` do not add up to 1, and for an unknown kind of unit."""
    if abs(sum(split) - 1) > 1e-6:
        raise XfmError(f"{kind}: split is three shares that add up to 1, not {tuple(split)}")
    unit_of(units)


UNITS = {
    "token": single,
    "whole_word": whole_word,
    "span": span,
}
