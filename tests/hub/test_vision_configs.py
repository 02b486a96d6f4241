"""What config.json of LeViT, FocalNet, TimeSformer and DINOv3's ConvNeXts may not say, and names of other generations.

Takes four seconds.
"""

import jax
import numpy as np
import pytest

import xfm
from tests.hub import small
from xfm.errors import XfmError
from xfm.hub.checkpoint import prepared

WRONG = [
    ("levit_label", dict(patch_size=8), "convolutions of stride 2 make patches of 16, which have to divide the image"),
    ("levit_label", dict(image_size=50), "make patches of 16, which have to divide the image"),
    ("levit_label", dict(padding=0), "xfm has square images, and an odd size with half of it as padding"),
    ("levit_label", dict(key_dim=[4]), "2 depths, 1 key_dim, .* give one for each stage"),
    ("levit_label", dict(down_ops=[["Merge", 4, 3, 3, 2, 2]]), "each of 1 is like .'Subsample', 4, 4, 4, 2, 2."),
    ("focalnet_label", dict(use_conv_embed=True), "a patch_size of 2; its stem has a stride of 4"),
    ("focalnet_label", dict(patch_size=[2, 2]), "it must be the side of a square in pixels"),
    ("focalnet_label", dict(focal_levels=[2]), "1 focal_levels, .* give one for each stage"),
    ("focalnet_label", dict(mlp_ratio=0), "sets mlp_ratio to 0; it must be above 0"),
    ("focalnet_label", dict(focal_windows=[4, 5]), "has odd windows, not one of 4"),
    ("dinov3_convnext", dict(depths=[2]), "depths for 1 stages and hidden_sizes for 2; give one each"),
    ("dinov3_convnext", dict(layer_scale_init_value="none"), "layer_scale_init_value to 'none'; it must be a number"),
    ("timesformer_joint", dict(attention_type="time_only"), "xfm has this family with 'divided_space_time'"),
]


@pytest.mark.parametrize("name,changes,said", WRONG)
def test_refused(name, changes, said, tmp_path):
    with pytest.raises(XfmError, match=said), prepared(small.folder(tmp_path, name=name, **changes)):
        pass


def test_the_names_that_dinov3_has_in_memory_are_read(tmp_path):
    inner = {f"model.{name}" if name.startswith("stages") else name: x for name, x in small.weights(NAME).items()}
    assert sum(name.startswith("model.") for name in inner) > 20
    one, other = (xfm.load(small.folder(tmp_path / str(i), a, name=NAME)) for i, a in enumerate((None, inner)))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


NAME = "dinov3_convnext"


def test_images_of_focalnet_are_filled_to_whole_patches_and_grids_to_halve_are_even(tmp_path):
    m = xfm.load(small.folder(tmp_path, name="focalnet_label"), head="none")
    image = np.random.default_rng(0).normal(size=(1, 15, 12, 3)).astype(np.float32)
    filled = np.pad(image, ((0, 0), (0, 1), (0, 0), (0, 0)))
    np.testing.assert_array_equal(m(images=image)["last_hidden_state"], m(images=filled)["last_hidden_state"])
    with pytest.raises(XfmError, match="do not fill a grid of 7 x 6|grid of 7 x 6"):
        m(images=image[:, :14])
