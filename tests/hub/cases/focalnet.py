"""FocalNet in two and three stages: both kinds of stem and of norms, odd images, hidden patches."""

from tests.hub.cases import Case

SMALL = dict(image_size=16, patch_size=2, embed_dim=6, depths=[2, 1], focal_levels=[2, 1], focal_windows=[3, 5],
             mlp_ratio=2.0, encoder_stride=4)  # fmt: skip
ODD = dict(image_size=16, num_channels=1, use_conv_embed=True, embed_dim=4, depths=[1, 1, 1], focal_levels=[1, 3, 2],
           focal_windows=[5, 3, 3], mlp_ratio=1.5, use_layerscale=True, layerscale_value=0.1, use_post_layernorm=True,
           use_post_layernorm_in_modulation=True, normalize_modulator=True, layer_norm_eps=1e-4,
           hidden_act="relu")  # fmt: skip
HIDDEN = [[int((5 * i + i * i // 3 + row) % 7 < 3) for i in range(64)] for row in range(2)]

CASES = {
    "focalnet_label": Case("FocalNetForImageClassification", dict(SMALL, num_labels=5), images=(15, 12), rows=2),
    "focalnet_masked": Case(
        "FocalNetForMaskedImageModeling", SMALL, images=(16, 16), rows=2, inputs=dict(bool_masked_pos=HIDDEN)
    ),
    "focalnet_backbone": Case(
        "FocalNetBackbone",
        dict(ODD, hidden_sizes=[4, 8, 16], out_features=["stage1", "stage3"]),
        images=(26, 19),
        rows=2,
    ),
    "focalnet_model": Case("FocalNetModel", ODD, images=(26, 19), rows=2),
}
