"""Swin V2: windows of images larger and smaller than the model's, biases of other windows than its own."""

from tests.hub.cases import Case

# grids of 6 x 6 and 3 x 3 for the model's own images: windows of 4 and of 3, shifted in the first stage alone
SMALL = dict(image_size=18, patch_size=3, num_channels=1, embed_dim=6, depths=[2, 2], num_heads=[1, 2], window_size=4,
             mlp_ratio=2.5)  # fmt: skip
# biases that are not all at the bounds of the sigmoid, where the references' own float32 gradients are off by a tenth
MLP = ((r"mlp\.0\.weight", 0.0, 1.0), (r"mlp\.2\.weight", 0.0, 0.03))
SPECIAL = ((r"patch_embeddings", 0.0, 0.1), (r"logit_scale", 1.5, 0.5), *MLP)
ABOVE = ((r"patch_embeddings", 0.0, 0.1), (r"0\.blocks\.0\.\S*logit_scale", 4.75, 0.0), *SPECIAL[1:])  # cut at 4.6
HIDDEN = [[int(i % 3 == row) for i in range(36)] for row in range(2)]

CASES = {
    "swinv2_label": Case(
        "Swinv2ForImageClassification", dict(SMALL, num_labels=3), images=(18, 18), rows=2, special=SPECIAL
    ),
    "swinv2_larger": Case(
        "Swinv2ForImageClassification",
        dict(SMALL, num_labels=3, qkv_bias=False, pretrained_window_sizes=[3, 2], layer_norm_eps=1e-3),
        images=(20, 28),
        rows=2,
        special=SPECIAL,
    ),
    "swinv2_model": Case("Swinv2Model", dict(SMALL, depths=[1, 2]), images=(9, 24), rows=2, special=ABOVE),
    "swinv2_hidden": Case(
        "Swinv2ForMaskedImageModeling",
        dict(SMALL, encoder_stride=6, num_heads=[2, 2], depths=[1, 2]),
        images=(18, 18),
        rows=2,
        special=SPECIAL,
        inputs=dict(bool_masked_pos=HIDDEN),
    ),
    "swinv2_backbone": Case(
        "Swinv2Backbone", dict(SMALL, out_features=["stage1", "stage2"]), images=(15, 18), rows=2, special=SPECIAL
    ),
}
