"""Swin: stages of one and of two layers, images that patches, windows and merging do not divide."""

from tests.hub.cases import Case

SMALL = dict(image_size=32, patch_size=4, num_channels=3, embed_dim=8, depths=[2, 1], num_heads=[2, 4],
             window_size=4, mlp_ratio=1.5)  # fmt: skip
SPECIAL = ((r"patch_embeddings", 0.0, 0.1),)

# grids of 5 x 7 and 3 x 4 under windows of 3 x 3, which are shifted in the first
ODD = dict(image_size=18, patch_size=3, num_channels=1, embed_dim=6, depths=[2, 2], num_heads=[1, 2],
           window_size=3, mlp_ratio=2.5, layer_norm_eps=1e-3)  # fmt: skip

HIDDEN = [[int(i % 3 == row) for i in range(36)] for row in range(2)]

CASES = {
    "swin_label": Case("SwinForImageClassification", dict(SMALL, num_labels=5), images=(32, 32), special=SPECIAL),
    "swin_model": Case("SwinModel", dict(SMALL, hidden_act="relu", window_size=2), images=(16, 48), rows=2),
    "swin_odd": Case(
        "SwinForImageClassification", dict(ODD, num_labels=3, qkv_bias=False), images=(14, 20), special=SPECIAL, rows=2
    ),
    "swin_hidden": Case(
        "SwinForMaskedImageModeling",
        dict(ODD, encoder_stride=6, use_absolute_embeddings=True),
        images=(18, 18),
        rows=2,
        special=SPECIAL,
        inputs=dict(bool_masked_pos=HIDDEN),
    ),
    "swin_resized": Case("SwinModel", dict(ODD, use_absolute_embeddings=True), images=(15, 24), rows=2),
    "swin_backbone": Case("SwinBackbone", dict(ODD, out_features=["stage1", "stage2"]), images=(6, 15), rows=2),
}
