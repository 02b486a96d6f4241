"""Hiera in two and three stages: oblong grids of units, units in one or two stages, patches that overlap or not.

Pre-training takes noise, of which the least numbers are those of visible units.
"""

from tests.hub.cases import Case

SMALL = dict(embed_dim=8, image_size=[12, 16], patch_size=[5, 5], patch_stride=[2, 2], patch_padding=[2, 2],
             mlp_ratio=1.5, depths=[2, 2], num_heads=[1, 2], num_query_pool=1, masked_unit_size=[2, 2],
             masked_unit_attention=[True, False])  # fmt: skip
THREE = dict(SMALL, depths=[1, 2, 3], num_heads=[2, 1, 3], embed_dim_multiplier=1.5, num_query_pool=2,
             image_size=[8, 16], masked_unit_size=[4, 4], masked_unit_attention=[True, True, False], num_channels=1,
             layer_norm_eps=1e-5, hidden_act="relu")  # fmt: skip

DECODER = dict(decoder_hidden_size=12, decoder_depth=2, decoder_num_heads=3)


def noise(*rows):
    """Numbers whose order says which units are visible, in each row."""
    return dict(noise=[[(7 * i * i + row * i) % 101 for i in range(units)] for row, units in rows])


CASES = {
    "hiera_label": Case("HieraForImageClassification", dict(SMALL, num_labels=5), images=(12, 16), rows=2),
    "hiera_model": Case("HieraModel", THREE, images=(8, 16), rows=2),
    "hiera_pretraining": Case(
        "HieraForPreTraining", dict(SMALL, **DECODER), images=(12, 16), rows=2, inputs=noise((3, 12), (11, 12))
    ),
    "hiera_pretraining_odd": Case(
        "HieraForPreTraining",
        dict(
            THREE,
            decoder_hidden_size=10,
            decoder_depth=1,
            decoder_num_heads=2,
            image_size=[16, 16],
            mask_ratio=0.4,
            masked_unit_attention=[True, False, False],
        ),
        images=(16, 16),
        rows=3,
        inputs=noise((3, 4), (11, 4), (25, 4)),
    ),
}
