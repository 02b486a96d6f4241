"""PVT in one to three stages: grids that tiles do not divide, convolutions larger than their strides, no biases."""

from tests.hub.cases import Case

SMALL = dict(image_size=44, num_channels=3, num_encoder_blocks=2, depths=[2, 1], hidden_sizes=[8, 12],
             num_attention_heads=[1, 2], mlp_ratios=[2, 1], sequence_reduction_ratios=[2, 1], patch_sizes=[4, 2],
             strides=[4, 2])  # fmt: skip
THREE = dict(image_size=45, num_channels=1, num_encoder_blocks=3, depths=[1, 2, 1], hidden_sizes=[6, 9, 10],
             num_attention_heads=[1, 3, 2], mlp_ratios=[2, 1, 3], sequence_reduction_ratios=[3, 2, 1],
             patch_sizes=[4, 2, 2], strides=[5, 3, 2], layer_norm_eps=1e-5)  # fmt: skip
ONE = dict(image_size=20, num_channels=2, num_encoder_blocks=1, depths=[2], hidden_sizes=[8], num_attention_heads=[2],
           mlp_ratios=[2], sequence_reduction_ratios=[1], patch_sizes=[4], strides=[4])  # fmt: skip

CASES = {
    "pvt_label": Case("PvtForImageClassification", dict(SMALL, num_labels=5), images=(44, 44), rows=1),
    "pvt_model": Case(
        "PvtModel", dict(THREE, hidden_act="relu"), images=(45, 45), rows=1, keep="position|cls|reduction"
    ),
    "pvt_one_stage": Case("PvtModel", dict(ONE, qkv_bias=False), images=(20, 20), rows=2),
}
