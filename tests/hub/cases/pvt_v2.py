"""PVT v2 in two and three stages: keys of tiles and of a fixed number, grids that tiles and pools do not divide."""

from tests.hub.cases import Case

SMALL = dict(image_size=32, num_channels=3, num_encoder_blocks=2, depths=[2, 1], hidden_sizes=[8, 12],
             num_attention_heads=[1, 2], mlp_ratios=[2, 1], sr_ratios=[2, 1], patch_sizes=[7, 3],
             strides=[4, 2])  # fmt: skip
THREE = dict(SMALL, num_encoder_blocks=3, depths=[1, 1, 1], hidden_sizes=[6, 9, 10], num_attention_heads=[1, 3, 2],
             mlp_ratios=[2, 1, 1], sr_ratios=[3, 2, 1], patch_sizes=[5, 3, 3], strides=[2, 2, 2],
             num_channels=1, layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "pvt_v2_label": Case("PvtV2ForImageClassification", dict(SMALL, num_labels=5), images=(24, 32), rows=1),
    "pvt_v2_backbone": Case("PvtV2Backbone", dict(THREE, out_features=["stage1", "stage3"]), images=(26, 18), rows=1),
    "pvt_v2_model": Case("PvtV2Model", dict(THREE, hidden_act="relu"), images=(26, 18), rows=1),
    "pvt_v2_linear": Case(
        "PvtV2ForImageClassification", dict(SMALL, linear_attention=True, strides=[2, 2]), images=(36, 20), rows=1
    ),
}
