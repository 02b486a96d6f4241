"""Towers: several encoders, each of its own part of a batch, and the similarities of the vectors that they make.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP, 2021), figure 3; Zhai,
Mustafa, Kolesnikov, Beyer, "Sigmoid Loss for Language Image Pre-Training" (SigLIP, 2023), algorithm 1. The oracles are
transformers' CLIPModel and SiglipModel.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.batch import part_of, prefixed, prefixes
from xfm.errors import XfmError
from xfm.fields import Name, Number, Positive
from xfm.parts.param import param
from xfm.parts.unit import unit
from xfm.spec import Spec, SpecError, build
from xfm.structures.base import Layer, Structure


def similarities(
    one: Float[Array, "A D"], other: Float[Array, "B D"], scale: Float[Array, ""], bias: Float[Array, ""] | None
) -> Float[Array, "A B"]:
    """exp(scale) · one otherᵀ + bias: the logits of each pair of unit vectors."""
    logits = jnp.exp(scale) * jnp.einsum("ad,bd->ab", one, other, precision="highest")
    return logits if bias is None else logits + bias


class Towers(Structure):
    """A network for each prefix of a batch, compared by the cosine of their vectors.

    towers: prefix in the batch -> spec of a structure, which reads the arrays with this prefix; its parameters are
    below that name. Towers run in the order of their names.  vectors: for each tower, the head whose output is its
    vector.
    scale: what cosines are multiplied by at the start; its logarithm is learned.  bias: added to all products, and
    learned, from this value on; none if None (CLIP).
    dtype: of towers that do not set their own.
    """

    embed: ClassVar[None] = None

    towers: Mapping[str, Spec]
    vectors: Mapping[str, Name]
    scale: Positive = 1 / 0.07
    bias: Number | None = None
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """The outputs of each tower that the batch has arrays for, with the tower's prefix, such as "text/hidden".

        "text/vector" [B D] is the unit vector that the tower "text" makes. If the first tower runs, "vision/similarity"
        [A B] are the logits of its A rows and the B rows of the tower "vision", and likewise of each tower after it.
        Raises XfmError for a batch without arrays for any tower, or with arrays for none.
        """
        given = prefixes(batch)
        if not given or not set(given) <= set(self.towers):
            raise XfmError(
                f"the towers read arrays of a batch with the prefixes {', '.join(self.prefixes)} (as in "
                f"{self.prefixes[0]}/…); this batch has {', '.join(batch) or 'none'}"
            )
        logarithm = nn.initializers.constant(jnp.log(self.scale))
        scale = param(self, "log_scale", logarithm, ())
        bias = None if self.bias is None else param(self, "bias", nn.initializers.constant(self.bias), ())
        out, first = {}, None
        for name, tower in self._built(names=True).items():
            if name not in given:
                continue
            found = tower(part_of(batch, name), train=train)
            vector = self._vector(name, found)
            out |= {prefixed(name, key): value for key, value in found.items()} | {prefixed(name, "vector"): vector}
            if name == self.prefixes[0]:
                first = vector
            elif first is not None:
                out[prefixed(name, "similarity")] = similarities(first, vector, scale, bias)
        return out

    def _vector(self, name: str, found: Mapping[str, Array]) -> Float[Array, "B D"]:
        head = self.vectors.get(name)
        if head not in found:
            raise SpecError(
                f"structure 'towers' needs a head {head!r} of its tower {name!r}, whose outputs are "
                f"{', '.join(found)}; name one of its heads in vectors"
            )
        return unit(found[head])

    @nn.nowrap
    def _built(self, names: bool = False) -> dict[str, nn.Module]:
        """The networks of the towers.  names: whether they are made as submodules of this one."""
        how = {"dtype": self.dtype} if self.dtype is not None else {}
        made = {}
        for name, spec in sorted(self.towers.items()):
            where = dict(name=name) if names else dict(parent=None)
            made[name] = build("structure", {**how, **spec}, **where)
        return made

    @property
    def prefixes(self) -> tuple[str, ...]:
        return tuple(sorted(self.towers))

    @property
    def vocab(self) -> int | None:
        """The smallest vocabulary of the towers that read tokens; None if none does."""
        return min((one.vocab for one in self._built().values() if one.vocab is not None), default=None)

    @property
    def types(self) -> int | None:
        return None

    @nn.nowrap
    def ids(self) -> dict[str, tuple[int, int]]:
        """The ids of each tower's tables, with its prefix."""
        return {prefixed(name, key): ids for name, one in self._built().items() for key, ids in one.ids().items()}

    @nn.nowrap
    def most(self) -> int | None:
        return min((one.most() for one in self._built().values() if one.most() is not None), default=None)

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        """Those of each tower, in groups such as "text/layer"."""
        return [
            layer._replace(path=f"{name}/{layer.path}", group=f"{name}/{layer.group}")
            for name, one in self._built().items()
            for layer in one.sublayers()
        ]

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {
            prefixed(name, key): array for name, one in self._built().items() for key, array in one.row(length).items()
        }
