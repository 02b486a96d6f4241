"""What transforms trained, saved alone and loaded onto the network again."""

import jax
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.transforms.test_contract import LAST, drawn, output, spec, without_own
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.transforms import saved


def test_saved_alone_and_loaded_onto_the_network(tmp_path):
    """The file holds own parameters and the head that is named, and no others; outputs are the same again."""
    plain, one, params = drawn(LAST)
    file = saved.save(tmp_path / "own.npz", params, LAST, also=["^head_mlm/dense/"])
    with np.load(file) as archive:
        kept = set(archive.files) - {"transforms"}
    assert kept == {path for path in flatten(params) if path.startswith(("own/", "head_mlm/dense/"))}
    other = jax.tree.map(np.zeros_like, params["head_mlm"]["dense"])
    base = without_own(params) | {"head_mlm": {**params["head_mlm"], "dense": other}}
    again, made = saved.load(file, plain, base)
    assert again == one
    assert_close(output(again, made), output(one, params), rtol=1e-7)


def test_what_does_not_fit_is_refused(tmp_path):
    plain, _, params = drawn(LAST)
    with pytest.raises(XfmError, match="there are no own parameters of transforms to save: no path begins with own/"):
        saved.save(tmp_path / "own.npz", without_own(params), LAST)
    with pytest.raises(XfmError, match="also='\\^headd' is found in no parameter's path"):
        saved.save(tmp_path / "own.npz", params, LAST, also=["^headd"])
    file = saved.save(tmp_path / "own.npz", params, LAST)
    short = xfm.build(spec(repeats=1))
    with pytest.raises(XfmError, match=r"own.npz holds own/layers/\S+ of shape \(2, .* in the network it is of shape"):
        saved.load(file, short, without_own(params))
    (tmp_path / "none.npz").write_text("nothing")
    with pytest.raises(XfmError, match="none.npz does not hold saved transforms"):
        saved.load(tmp_path / "none.npz", plain, params)
    with pytest.raises(XfmError, match="gone.npz cannot be read: No such file"):
        saved.load(tmp_path / "gone.npz", plain, params)
