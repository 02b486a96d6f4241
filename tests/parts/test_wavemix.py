"""The wavelet transform of WaveMix loses nothing. The oracle of the network is in tests/parity."""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import shapes
from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts import SLOTS
from xfm.parts.mixer.wavemix import haar, inverse_haar
from xfm.spec import SpecError, build


def test_the_transform_has_an_inverse_and_keeps_the_energy():
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 5), np.float32)
    low, high = jax.jit(haar)(x)
    assert_close(jax.jit(inverse_haar)(low, high), x, rtol=1e-6)
    energy = np.square(low, dtype=np.float64).sum() + np.square(high, dtype=np.float64).sum()
    assert_close(energy, np.square(x, dtype=np.float64).sum(), rtol=1e-6)


def test_a_constant_grid_has_a_low_band_alone():
    low, high = haar(np.full((1, 4, 4, 1), 3.0, np.float32))
    assert_close(low, np.full((1, 2, 2, 1), 6.0))
    assert not np.any(high)


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(SpecError, match="a width of 18 does not divide by 4; set the width of the stream"):
        shapes(build(SLOTS["mixer"], dict(kind="wavemix", hidden=4, inner=4)), np.zeros((2, 13, 18)), Context())


def test_a_stem_refuses_an_image_that_its_patches_do_not_divide():
    stem = build(SLOTS["stem"], dict(kind="linear_convs", width=8, widths=(4,), patch=4))
    with pytest.raises(XfmError, match="an image of 8 x 6 does not divide into patches of 4 x 4"):
        shapes(stem, np.zeros((1, 8, 6, 3), np.float32), Context())
