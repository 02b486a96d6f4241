"""What was trained of a transformed network, saved alone and put onto the base again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.transforms.test_contract import LAST, drawn, output, spec, without_own
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.transforms import saved

CONFIG = dict(model=spec(), transforms=LAST)


def test_saved_alone_and_put_onto_the_base(tmp_path):
    """The file holds own parameters and the head that is named, and no others; outputs are the same again."""
    _, one, params = drawn(LAST)
    file = saved.save(tmp_path / "own.npz", CONFIG, params, also=["^head_mlm/"])
    with np.load(file) as archive:
        kept = set(archive.files) - {"config"}
    assert kept == {path for path in flatten(params) if path.startswith(("own/", "head_mlm/"))}
    base = {name: x for name, x in params.items() if name not in ("own", "head_mlm")} | {"head_other": {"bias": 1.0}}
    again, made = saved.load(file, base)
    assert again == one
    jax.tree.map(np.testing.assert_array_equal, made, params)
    assert_close(output(again, made), output(one, params), rtol=1e-7)


def test_bfloat16_comes_back_as_float32(tmp_path):
    _, one, params = drawn(LAST)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    _, made = saved.load(saved.save(tmp_path / "own.npz", CONFIG, half), without_own(params))
    for path, x in flatten(made["own"]).items():
        assert x.dtype == jnp.float32
        np.testing.assert_array_equal(x, flatten(half["own"])[path])


def test_what_does_not_fit_is_refused(tmp_path):
    _, _, params = drawn(LAST)
    with pytest.raises(XfmError, match="there are no own parameters of transforms to save: no path begins with own/"):
        saved.save(tmp_path / "own.npz", CONFIG, without_own(params))
    with pytest.raises(XfmError, match="also='\\^headd' is found in no parameter's path"):
        saved.save(tmp_path / "own.npz", CONFIG, params, also=["^headd"])
    file = saved.save(tmp_path / "own.npz", CONFIG, params)
    base = without_own(params)
    short = {**base, "layers": jax.tree.map(lambda x: x[:1], base["layers"])}
    with pytest.raises(XfmError, match=r"own.npz has layers/\S+ of shape \(2, .*, and in the base it is of shape \(1,"):
        saved.load(file, short)
    with pytest.raises(XfmError, match="own.npz has head_mlm/.* of shape .*, and in the base it is absent"):
        saved.load(file, {name: x for name, x in base.items() if name != "head_mlm"})
    (tmp_path / "none.npz").write_text("nothing")
    with pytest.raises(XfmError, match="none.npz does not hold saved transforms"):
        saved.load(tmp_path / "none.npz", base)
    with pytest.raises(XfmError, match="gone.npz cannot be read: No such file"):
        saved.load(tmp_path / "gone.npz", base)
