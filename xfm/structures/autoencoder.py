"""Autoencoder: an encoder of the visible patches of an image or a video, and a decoder that predicts the hidden ones.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022), section 3; Tong et al., "VideoMAE" (2022).
I-JEPA's predictor (Assran et al. 2023) is such a decoder too. Decoders of several layers: Wang et al. (LocalMIM, 2023).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.errors import XfmError, nearest
from xfm.fields import Count, CountOrZero
from xfm.spec import Pattern, Spec, build
from xfm.structures.base import Layer, Structure
from xfm.structures.stack import NO_HEADS, Stack
from xfm.structures.sublayer import NO_NORMS, PLAIN

SHARED = ("remat", "dtype")  # fields that the decoder has too, where it has none of its own


def decoded(
    decoder: nn.Module,
    batch: Mapping[str, Array],
    hidden: Float[Array, "B L+V E"],
    visible: Int[Array, "B V"],
    predicted: Int[Array, "B *G K"],
    train: bool,
) -> dict[str, Any]:
    """The outputs of the decoder's heads, [B V+K …], or [B G V+K …] for G groups of patches by themselves.

    hidden: the encoder's leading tokens and visible patches.
    """
    groups = predicted.shape[1:-1]
    seen = {name: batch[name] for name in ("images", "video") if name in batch}
    given = dict(latents=hidden, encoded=visible) | seen
    given |= {"real": batch["real"].astype(jnp.int32)} if "real" in batch else {}
    given = {name: jnp.repeat(a, groups[0], axis=0) for name, a in given.items()} if groups else given
    given["predicted"] = predicted.reshape(len(given["latents"]), predicted.shape[-1])
    lead, count = hidden.shape[1] - visible.shape[1], visible.shape[1] + predicted.shape[-1]
    given["at"] = jnp.broadcast_to(jnp.arange(lead, lead + count), (len(given["latents"]), count))
    if "real" in given:
        beside = (0, 0), (lead, predicted.shape[-1])
        given["segments"] = jnp.pad(given.pop("real"), beside, constant_values=1)
    made = decoder(given, train=train)
    return {name: a.reshape(len(hidden), *groups, *a.shape[1:]) for name, a in made.items() if name != "hidden"}


class Autoencoder(Structure):
    """A Stack, whose fields and parameters these are, and below "decoder" another one.

    decoder: the fields of a Stack whose embedding is of kind "latents"; norms, residual, norm and heads are its own.
    The decoder runs where the batch has `visible` [B V] and `predicted` [B K], the numbers of patches. It reads the
    encoder's tokens, and its heads are at all patches: first the visible ones, then those to predict. With `predicted`
    [B G K] each of G groups of patches is predicted by itself, from one run of the encoder. Without these arrays the
    network is the encoder, which reads whole images. Visible patches where `real` [B V] is 0 are padding.
    beside: further decoders, each with the fields of `decoder`, by the name of the stream that it reads in place of the
    last one, such as "layer_2" where `taps` has 2. Their parameters are below "decoder_layer_2"; no two decoders have
    heads of the same name. The streams that the decoder's own `taps` put out are "inner_0", …; a decoder of one of
    these has an embedding of kind "stream".
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    embed: Spec
    pattern: Pattern
    decoder: Spec
    repeats: Count = 1
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    taps: tuple[CountOrZero, ...] = ()
    beside: Mapping[str, Spec] = NO_HEADS
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """What the encoder returns, and beside it the output of each head of the decoder [B V+K …] by its name."""
        encoder = self._encoder(name="encoder")
        nn.share_scope(self, encoder)
        out = encoder(batch, train=train)
        if "predicted" in batch:
            return self._with_decoded(batch, out, batch["visible"], batch["predicted"], train)
        if self.is_initializing():  # so that a batch of images is enough to make all parameters
            first = jnp.zeros((out["hidden"].shape[0], 1), jnp.int32)
            streams = {name: a[:, : self.lead + 1] for name, a in out.items() if name in ("hidden", *self.beside)}
            self._with_decoded(batch, streams, first, first, train)
        return out

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        decoders = [
            one._replace(path=f"{name}/{one.path}", group="decoder")
            for name, fields in self._decoders().items()
            for one in self._decoder(fields, parent=None).sublayers()
        ]
        return [*self._encoder(parent=None).sublayers(), *decoders]

    @nn.nowrap
    def _decoders(self) -> dict[str, Spec]:
        """The fields of all decoders by the names of their parameters, in the order in which they run."""
        return {"decoder": self.decoder, **{f"decoder_{name}": fields for name, fields in self.beside.items()}}

    def _with_decoded(self, batch, out, visible, predicted, train) -> dict[str, Any]:
        """`out`, and the outputs of all decoders' heads; raises XfmError for two heads of one name."""
        made, inner, none = dict(out), {}, predicted[..., :0]
        for (name, fields), read in zip(self._decoders().items(), ("hidden", *self.beside), strict=True):
            if read not in made:
                raise XfmError(
                    f"{name} reads {read!r}{nearest(read, made)}, and there are {', '.join(made)}; set taps of the "
                    "encoder or of the decoder to the layers that are read"
                )
            shown = (jnp.concatenate([visible, predicted], axis=1), none) if read in inner else (visible, predicted)
            answers = decoded(self._decoder(fields, name=name), batch, made[read], *shown, train)
            if name == "decoder":
                inner = {f"inner_{i}": answers.pop(f"layer_{i}") for i in fields.get("taps", ())}
                answers |= inner
            if twice := sorted(answers.keys() & made.keys()):
                raise XfmError(f"{name} has a head {twice[0]!r}, and there is an output of that name; rename the head")
            made |= answers
        return made

    @nn.nowrap
    def _encoder(self, **given: Any) -> Stack:
        own = ("embed", "pattern", "repeats", "norms", "residual", "norm", "heads", "taps", *SHARED)
        return Stack(**{name: getattr(self, name) for name in own}, **given)

    @nn.nowrap
    def _decoder(self, fields: Spec, **given: Any) -> Stack:
        shared = {name: getattr(self, name) for name in SHARED}
        return build({"stack": Stack}, {"kind": "stack", **shared, **fields}, **given)
