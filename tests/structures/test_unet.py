"""What a UNet refuses: levels that do not fit, and norms by a lead time that the batch does not have."""

import jax
import jax.numpy as jnp
import pytest

import xfm
from tests.structures.examples import MLP, batch_of, spec_of
from xfm.errors import XfmError
from xfm.parts.norm.timed import Timed
from xfm.spec import SpecError


def traced(batch, **fields):
    model = xfm.build(spec_of("unet", **fields))
    return jax.eval_shape(model.init, jax.random.key(0), batch)


def test_lead_times_are_needed_where_norms_read_them():
    batch = batch_of("unet", {})
    with pytest.raises(
        SpecError, match="norm 'timed' reads the lead time of each row, batch..times.., which structure"
    ):
        traced({"images": batch["images"]})
    with pytest.raises(SpecError, match="norm 'timed' reads the lead time"):
        Timed().init(jax.random.key(0), jnp.zeros((2, 3)))


def test_levels_that_do_not_fit_are_refused():
    batch, spec = batch_of("unet", {}), spec_of("unet")
    thin = [spec["levels"][0], dict(down=dict(kind="patch_merging", width=8), pattern=[MLP])]
    with pytest.raises(
        XfmError, match=r"way up to level 0 makes tokens and width \(8, 4\), and the way down had \(8, 8\)"
    ):
        xfm_model = xfm.build({**spec, "levels": thin})
        jax.eval_shape(xfm_model.init, jax.random.key(0), batch)
    with pytest.raises(SpecError, match="level 0 of a UNet is a mapping with a 'pattern' and no 'kind'"):
        xfm.build({**spec, "levels": [MLP]}).sublayers()
