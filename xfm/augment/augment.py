"""The augmentation of a batch of images on the device, as part of the training step."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int, Key

from xfm.augment.operations import OPERATIONS
from xfm.errors import XfmError
from xfm.fields import Number, Positive
from xfm.spec import Spec, SpecError, build, freeze


@dataclasses.dataclass(frozen=True)
class Augment:
    """config.augment: what happens to batch["images"] in training, before the objective sees them.

    ops: specs of OPERATIONS, in order; each row draws its own numbers, which follow from the run's seed, the step and
    the row. views: instead, name of an array of the new batch -> the ops that make it of the images, such as
    {"images": …, "other/images": …} of an objective that compares views.
    draws: from what each row's numbers follow: the "run", or the row's own entry of batch["seeds"] [B] alone, so that a
    stored seed re-creates an image at any time (Wu et al. 2022, TinyViT, section 3.1); an operation that changes with
    the steps of a run does so only at the same step.
    mean, std: those by which the images are normalised, config.data's if None. Operations on levels come before
    those on normalised values (`erase`).
    """

    ops: Sequence[Spec] = ()
    views: Mapping[str, Sequence[Spec]] = FrozenDict()
    mean: Number | tuple[Number, ...] | None = None
    std: Positive | tuple[Positive, ...] | None = None
    draws: Literal["run", "seeds"] = "run"

    def __call__(self, batch: Mapping[str, Array], rng: Key[Array, ""], step: Int[Array, ""]) -> dict[str, Array]:
        """The batch with augmented images, and with all else as it was. Raises XfmError if it has no images."""
        if "images" not in batch:
            raise XfmError(f"config.augment changes images, and this data has {', '.join(batch)}; leave it out")
        views = self.views or {"images": self.ops}
        keys = self._keys(batch, rng, len(views))
        made = {name: self._all(ops, batch["images"], keys[i], step) for i, (name, ops) in enumerate(views.items())}
        return {name: x for name, x in batch.items() if name != "images"} | made

    def _keys(self, batch: Mapping[str, Array], rng: Key[Array, ""], views: int) -> Key[Array, "views B"]:
        """A key for each view and row. Raises XfmError if the batch has no seeds and each row's key follows from them.

        Seeds have one generator, whatever jax_default_prng_impl says, so that they mean the same everywhere.
        """
        if self.draws == "run":
            rows = batch["images"].shape[0]
            return jnp.stack([jax.random.split(key, rows) for key in jax.random.split(rng, views)])
        if "seeds" not in batch:
            raise XfmError(
                f"config.augment.draws is 'seeds', and this data has {', '.join(batch)}; use data of kind 'taught', or "
                "set draws to 'run'"
            )
        of_rows = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed, impl="threefry2x32"), views))
        return of_rows(batch["seeds"]).swapaxes(0, 1)

    def check(self) -> None:
        """Builds every operation. Raises SpecError for a mistake."""
        if self.ops and self.views:
            raise SpecError("augment has either ops or views; set one of them")
        for ops in (self.views or {"images": self.ops}).values():
            _built(ops)

    def _all(self, ops: Sequence[Spec], images: Float[Array, "B H W C"], keys: Key[Array, "B"], step: Int[Array, ""]):
        made = _built(ops)
        mean, std = (jnp.asarray(np.asarray(x, np.float32)) for x in (self.mean, self.std))

        def one(x, rng):
            keys = jax.random.split(rng, max(len(made), 1))
            x = jnp.floor((x * std + mean) * 255 + 0.5)
            normal = False
            for op, key in zip(made, keys, strict=False):
                if hasattr(op, "values") and not normal:
                    x, normal = (x / 255 - mean) / std, True
                x = op(x, key, step)
            return x if normal else (x / 255 - mean) / std

        return jax.vmap(one)(images.astype(jnp.float32), keys).astype(images.dtype)


def augment_of(config: Mapping[str, Any]) -> Augment | None:
    """config.augment, None if there is none.  Raises SpecError for a mistake."""
    spec = config.get("augment")
    if not spec:
        return None
    made = build({"augment": Augment}, {"kind": "augment", **spec})
    made.check()
    given = {name: getattr(made, name) for name in ("mean", "std")}
    known = {name: config["data"].get(name, 0.5) if value is None else value for name, value in given.items()}
    return dataclasses.replace(made, **{name: freeze(value) for name, value in known.items()})


def _built(ops: Sequence[Spec]) -> list[Any]:
    made = [build(OPERATIONS, op) for op in ops]
    on_values = [hasattr(op, "values") for op in made]
    if on_values != sorted(on_values):
        raise SpecError("an operation on normalised values, such as erase, stands before one on levels; put it last")
    return made
