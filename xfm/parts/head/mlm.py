"""A score for every word of the vocabulary at each chosen token. Devlin et al. 2019 (BERT), section 3.1, task 1."""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.platform import product
from xfm.parts.activation import activation
from xfm.parts.head.at import chosen
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build


class MLM(nn.Module):
    """Logits [B T V], or [B K V] at the positions ctx.at; causal models use it too.

    vocab: V.  table: "tied" to the embedding's, or its "own".  activation: of a linear map before the table, which
    has the table's width; no map if None.  norm: after that map, none if None.  bias: one number per word.
    width: of an own table, D if None (Chung et al. 2021, RemBERT: wider than the stream).
    """

    vocab: Count
    table: Literal["tied", "own"] = "tied"
    activation: str | None = None
    norm: Spec | None = None
    bias: bool = True
    width: Count | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B K V"]:
        table = self._table(x.shape[-1], ctx)
        x = chosen(x, ctx)
        if self.activation is not None:
            x = activation(self.activation)(Linear(table.shape[1], name="dense")(x))
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        logits = product("bkd,vd->bkv", x, table.astype(x.dtype))
        return logits + param(self, "bias", nn.initializers.zeros, (self.vocab,)) if self.bias else logits

    def _table(self, D: int, ctx: Context) -> Float[Array, "V D"]:
        if self.table == "own":
            table = param(self, "table", nn.initializers.normal(0.02), (self.vocab, self.width or D))
            return self._fits(table, D)
        if self.width is not None:
            raise SpecError("head 'mlm' takes a width for its own table only; this one is tied to the embedding's")
        if ctx.embedding is None:
            raise SpecError("head 'mlm' is tied to an embedding table, and this embedding has none; set table='own'")
        table = ctx.embedding
        if table.shape[0] != self.vocab:
            raise SpecError(f"head 'mlm' has vocab={self.vocab}, the table it is tied to {table.shape[0]} rows")
        return self._fits(table, D)

    def _fits(self, table: Float[Array, "V D"], D: int) -> Float[Array, "V D"]:
        if self.activation is None and table.shape[1] != D:
            raise SpecError(f"head 'mlm' needs an activation: its table is {table.shape[1]} wide, the stream {D}")
        return table
