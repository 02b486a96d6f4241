"""What evaluators draw at the end of a run, as files: workdir/pictures/NAME.png."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from xfm.files import optional

FOLDER = "pictures"


def write_pictures(workdir: Path, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]]) -> list[Path]:
    """Writes each picture, in place of one of that name, and returns the files.

    Raises XfmError if Pillow is not installed (extra: xfm[vision]), and OSError if a file cannot be written.
    """
    image, paths = optional("PIL.Image", "vision"), []
    for name, picture in pictures.items():
        path = workdir / FOLDER / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}")
        image.fromarray(np.ascontiguousarray(picture)).save(part, format="png")
        part.replace(path)
        paths.append(path)
    return paths
