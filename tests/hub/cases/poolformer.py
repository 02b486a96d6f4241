"""PoolFormer in two and three stages, odd grids, pools of three and five tokens, with and without a scale."""

from tests.hub.cases import Case

SMALL = dict(num_channels=3, num_encoder_blocks=2, depths=[2, 1], hidden_sizes=[8, 12], mlp_ratio=2.0,
             patch_sizes=[7, 3], strides=[4, 2], padding=[2, 1])  # fmt: skip
ODD = dict(num_channels=1, num_encoder_blocks=3, depths=[1, 1, 1], hidden_sizes=[6, 10, 14], mlp_ratio=1.5,
           patch_sizes=[5, 3, 2], strides=[2, 2, 2], padding=[1, 1, 0], pool_size=5, hidden_act="relu",
           use_layer_scale=False)  # fmt: skip

CASES = {
    "poolformer_label": Case("PoolFormerForImageClassification", dict(SMALL, num_labels=5), images=(30, 42), rows=2),
    "poolformer_model": Case("PoolFormerModel", ODD, images=(26, 22), rows=2),
}
