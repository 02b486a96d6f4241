"""Images with what a teacher answered for them before, and the seeds of the augmentation that it saw.

Wu et al. 2022 (TinyViT), section 3.1: the student gets exactly the images that the teacher got, since the random
numbers of the augmentation follow from stored seeds (`config.augment.draws="seeds"`). A folder is written by `teach`:

    data = xfm.data.open_data(spec_of_images, workdir)
    augment = dataclasses.replace(augment_of(config), draws="seeds")
    answer = lambda params, batch: teacher.apply({"params": params}, augment(batch, None, 0))["label"]
    teach("answers", data, answer, params, make_mesh({}), kept=100, epochs=90)
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jax.sharding import Mesh

from xfm import locations
from xfm.data.images import Images
from xfm.data.source import Data, Row, Source
from xfm.errors import XfmError
from xfm.evaluators.rows import predict
from xfm.fields import Count, Name
from xfm.files import fingerprint
from xfm.objectives.stored_distillation import sparse
from xfm.spec import SpecError, build

ARRAYS = ("shares", "classes", "seeds")
FACTS = "taught.json"


@dataclasses.dataclass(frozen=True)
class Seeded:
    """The rows of a source with a seed each."""

    source: Source
    seeds: np.ndarray
    decodes: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> Row:
        return {**self.source[index], "seeds": np.int32(self.seeds[index])}


def teach(
    folder: str | Path,
    data: Data,
    answer: Callable[[Any, Mapping[str, Any]], Any],
    params: Any,
    mesh: Mesh,
    *,
    kept: int,
    epochs: int = 1,
    seed: int = 0,
    batch: int = 256,
) -> None:
    """Writes what a teacher answers for the training images of `data`, each augmented once for every epoch.

    answer: (params, batch) -> logits [B classes]; the batch has images as the source stores them, and "seeds", by which
    it augments them.  kept: the number of probabilities that are stored of each image.  seed: of the seeds.
    """
    folder, rows = Path(folder), len(data.train)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)  # written last, so that unfinished answers are not taken for whole ones
    made = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (epochs, rows, *more))
        for name, dtype, more in (
            ("shares", np.float16, (kept,)),
            ("classes", np.int32, (kept,)),
            ("seeds", np.int32, ()),
        )
    }
    for epoch in range(epochs):
        seeds = np.random.default_rng((seed, epoch)).integers(0, 2**31, rows).astype(np.int32)
        found = predict(lambda p, b: sparse(answer(p, b), kept), params, Seeded(data.train, seeds), mesh, batch)
        made["shares"][epoch], made["classes"][epoch], made["seeds"][epoch] = *found, seeds
    for array in made.values():
        array.flush()
    (folder / FACTS).write_text(json.dumps(dict(images=data.fingerprint)))


@dataclasses.dataclass(frozen=True)
class Taught:
    """A data source of images with the answers of a teacher that were written for them.

    images: fields of the source "images", the same as when the answers were written, without `augment`.
    path: the folder of the answers.  kept: the number of probabilities of each image.
    Each epoch of answers makes a row of each image, with the same `images` and `labels`, and "taught/shares" [kept],
    "taught/classes" [kept] and "seeds" []. Rows of validation have their label with the share 1.
    """

    images: Mapping[str, Any]
    path: Name
    kept: Count = 100

    PATHS: ClassVar = {"images": locations.fields(Images.PATHS), "path": locations.path}

    def open(self, workdir: Path) -> Data:
        """Both splits. Raises XfmError for answers that are missing, or that were written for other images."""
        self.check()
        data = self._images().open(workdir)
        folder = Path(self.path)
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
            facts = json.loads((folder / FACTS).read_text())
        except (OSError, ValueError) as error:
            raise XfmError(
                f"{folder} has no answers of a teacher ({error}); xfm.data.taught.teach writes them"
            ) from error
        if facts.get("images") != data.fingerprint:
            raise XfmError(f"the answers in {folder} were written for other images, or for images read in another way")
        epochs, rows, kept = arrays["shares"].shape
        if kept != self.kept:
            raise XfmError(f"the answers in {folder} have {kept} probabilities of each image; set data.kept to {kept}")
        train, valid = Answers(data.train, arrays), Labels(data.valid, self.kept)
        notes = {**data.facts, "train_rows": len(train), "epochs_of_answers": epochs}
        own = fingerprint(data.fingerprint, [int(arrays["seeds"][e, 0]) for e in range(epochs)], rows, kept)
        return dataclasses.replace(data, train=train, valid=valid, fingerprint=own, facts=notes)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        more = {"taught/shares": ((self.kept,), np.float32), "taught/classes": ((self.kept,), np.int32)}
        return {**self._images().row(), **more, "seeds": ((), np.int32)}

    def check(self) -> None:
        """Raises SpecError for augmentations of the images that no seed re-creates."""
        if self._images().augment:
            raise SpecError("taught: data.images.augment draws on the host, where no seed re-creates it; leave it out")

    def _images(self) -> Images:
        return build({"images": Images}, {"kind": "images", **self.images})


@dataclasses.dataclass(frozen=True)
class Answers:
    """Rows of images with the answers for them, the images of one epoch of answers after those of the one before."""

    source: Source
    arrays: Mapping[str, np.ndarray]
    decodes: ClassVar[bool] = True

    def __len__(self) -> int:
        return self.arrays["seeds"].size

    def __getitem__(self, index: int) -> Row:
        epoch, image = divmod(range(len(self))[index], len(self.source))
        shares, classes, seed = (self.arrays[name][epoch, image] for name in ARRAYS)
        taught = {"taught/shares": shares.astype(np.float32), "taught/classes": np.array(classes)}
        return {**self.source[image], **taught, "seeds": np.int32(seed)}


@dataclasses.dataclass(frozen=True)
class Labels:
    """Rows of images whose label is the whole distribution."""

    source: Source
    kept: int
    decodes: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Row:
        row, first = self.source[index], np.arange(self.kept) == 0
        taught = {
            "taught/shares": first.astype(np.float32),
            "taught/classes": np.full(self.kept, row["labels"], np.int32),
        }
        return {**row, **taught, "seeds": np.int32(0)}
