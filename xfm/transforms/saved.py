"""What transforms trained, saved alone and put onto the network that it was trained on: one .npz file."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from xfm.errors import XfmError
from xfm.files import replacing
from xfm.spec import Spec, plain
from xfm.transforms import transformed
from xfm.transforms.transformed import OWN, Transformed

SPECS = "transforms"  # the entry of the file that holds their specs, as JSON
Params = Mapping[str, Any]


def save(file: str | Path, params: Params, transforms: Sequence[Spec], also: Sequence[str] = ()) -> Path:
    """Writes the own parameters of a transformed network, and those that a regex of `also` finds, such as a new head.

    transforms: their specs, `config.transforms`.  Raises XfmError where there are no own parameters, and for a regex
    that is found in no path.
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
    file = Path(file)
    with replacing(file) as part, open(part, "wb") as open_file:
        np.savez(open_file, **{SPECS: json.dumps(plain(transforms))}, **{p: np.asarray(x) for p, x in kept.items()})
    return file


def load(file: str | Path, network: nn.Module, params: Params) -> tuple[Transformed, dict[str, Any]]:
    """The network with the transforms of a saved file around it, and `params` with what the file holds in its place.

    network, params: those that the transforms were trained on. Raises XfmError for a file that is none of `save`, and
    where the parameters in it do not fit the network.
    """
    try:
        with np.load(Path(file), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        specs = json.loads(str(arrays.pop(SPECS)))
    except OSError as error:
        raise XfmError(f"{file} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise XfmError(f"{file} does not hold saved transforms: {error}") from None
    made = unflatten_dict({**flatten_dict(params, sep="/"), **{p: jnp.asarray(x) for p, x in arrays.items()}}, sep="/")
    one = transformed(network, specs)
    batch = {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in network.row().items()}
    known = flatten_dict(jax.eval_shape(one.init, jax.random.key(0), batch)["params"], sep="/")
    for path, array in arrays.items():
        there = f"of shape {known[path].shape}" if path in known else "absent"
        if path not in known or known[path].shape != array.shape:
            raise XfmError(f"{file} holds {path} of shape {array.shape}, and in the network it is {there}")
    return one, made
