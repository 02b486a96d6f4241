"""SegFormer in two and three stages, with classes of images and of pixels; batch norms with statistics of their own."""

from tests.hub.cases import Case

SMALL = dict(num_channels=3, num_encoder_blocks=2, depths=[2, 1], hidden_sizes=[8, 12], num_attention_heads=[1, 2],
             mlp_ratios=[2, 1], sr_ratios=[2, 1], patch_sizes=[7, 3], strides=[4, 2],
             decoder_hidden_size=10)  # fmt: skip
THREE = dict(SMALL, num_encoder_blocks=3, depths=[1, 1, 1], hidden_sizes=[6, 9, 10], num_attention_heads=[1, 3, 2],
             mlp_ratios=[2, 1, 1], sr_ratios=[3, 2, 1], patch_sizes=[5, 3, 3], strides=[2, 2, 2],
             num_channels=1)  # fmt: skip

CASES = {
    "segformer_pixels": Case("SegformerForSemanticSegmentation", dict(SMALL, num_labels=5), images=(24, 32), rows=1),
    "segformer_label": Case("SegformerForImageClassification", dict(SMALL, num_labels=3), images=(24, 36), rows=1),
    "segformer_model": Case("SegformerModel", dict(THREE, hidden_act="relu"), images=(26, 18), rows=1),
}
