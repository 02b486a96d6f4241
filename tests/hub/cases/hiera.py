"""Hiera in two and three stages: oblong grids of units, units in one or two stages, patches that overlap or not."""

from tests.hub.cases import Case

SMALL = dict(embed_dim=8, image_size=[12, 16], patch_size=[5, 5], patch_stride=[2, 2], patch_padding=[2, 2],
             mlp_ratio=1.5, depths=[2, 2], num_heads=[1, 2], num_query_pool=1, masked_unit_size=[2, 2],
             masked_unit_attention=[True, False])  # fmt: skip
THREE = dict(SMALL, depths=[1, 2, 3], num_heads=[2, 1, 3], embed_dim_multiplier=1.5, num_query_pool=2,
             image_size=[8, 16], masked_unit_size=[4, 4], masked_unit_attention=[True, True, False], num_channels=1,
             layer_norm_eps=1e-5, hidden_act="relu")  # fmt: skip

CASES = {
    "hiera_label": Case("HieraForImageClassification", dict(SMALL, num_labels=5), images=(12, 16), rows=2),
    "hiera_model": Case("HieraModel", THREE, images=(8, 16), rows=2),
}
