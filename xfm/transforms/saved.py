"""Saves what was trained of a transformed network in one .npz file, and adds it to the base's parameters again."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from xfm.errors import XfmError
from xfm.files import replacing
from xfm.initial import initial_shapes
from xfm.spec import plain
from xfm.transforms import network
from xfm.transforms.transformed import OWN, Transformed

CONFIG = "config"  # the entry of the file that holds the network's spec and those of its transforms, as JSON
KEYS = ("model", "transforms")


def save(file: str | Path, config: Mapping[str, Any], params: Mapping[str, Any], also: Sequence[str] = ()) -> Path:
    """Writes the transforms' own parameters, and those that a regex of `also` finds, such as a new head.

    config: its `model` and `transforms` are kept as well.  params: all parameters of that network. Those of bfloat16,
    which such a file cannot hold, are saved as float32.
    Raises XfmError where there are no own parameters, and for a regex that is found in no path.
    """
    flat = flatten_dict(params, sep="/")
    kept = {path: x for path, x in flat.items() if path.startswith(f"{OWN}/")}
    if not kept:
        raise XfmError(f"there are no own parameters of transforms to save: no path begins with {OWN}/")
    for regex in also:
        found = {path: x for path, x in flat.items() if re.search(regex, path)}
        if not found:
            raise XfmError(f"also={regex!r} is found in no parameter's path")
        kept |= found
    about = json.dumps({key: plain(config)[key] for key in KEYS})
    with replacing(Path(file)) as part, open(part, "wb") as stream:
        np.savez(stream, **{CONFIG: about}, **{path: _native(np.asarray(x)) for path, x in kept.items()})
    return Path(file)


def load(file: str | Path, params: Mapping[str, Any]) -> tuple[Transformed, dict[str, Any]]:
    """The transformed network of a saved file, and its parameters: the file's, and those of the base for the rest.

    params: of the base, such as `xfm.load(checkpoint).params`; what the network does not have is left out.
    Raises XfmError for a file that `save` did not write, and where file and base do not fit the network together.
    """
    try:
        with np.load(Path(file), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        config = json.loads(str(arrays.pop(CONFIG)))
    except OSError as error:
        raise XfmError(f"{file} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise XfmError(f"{file} does not hold saved transforms: {error}") from None
    one = network(config)
    batch = {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in one.row().items()}
    known = flatten_dict(initial_shapes(one, batch)["params"], sep="/")
    flat = {**flatten_dict(params, sep="/"), **arrays}
    for path, x in known.items():
        if path not in flat or flat[path].shape != x.shape:
            there = f"of shape {flat[path].shape}" if path in flat else "absent"
            where = "in the file" if path in arrays else "in the base"
            raise XfmError(f"the network of {file} has {path} of shape {x.shape}, and {where} it is {there}")
    return one, unflatten_dict({path: jnp.asarray(flat[path]) for path in known}, sep="/")


def _native(x: np.ndarray) -> np.ndarray:
    """The array in a dtype of NumPy's own."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x
