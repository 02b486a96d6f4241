"""DINOv3: gated and plain feed-forward parts, biases of some projections, oblong images and patches, hidden patches."""

from tests.hub.cases import Case

SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=36, image_size=12,
             patch_size=4, num_register_tokens=2)  # fmt: skip
SPECIAL = ((r"patch_embeddings", 0.0, 0.1), (r"layer_scale", 0.8, 0.3))
HIDDEN = [[0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]]

CASES = {
    "dinov3_gated": Case("DINOv3ViTModel", dict(SMALL, use_gated_mlp=True, hidden_act="silu"), images=(12, 20),
                         special=SPECIAL),
    "dinov3_backbone": Case("DINOv3ViTBackbone", dict(SMALL, num_hidden_layers=3, out_features=["stage2", "stage3"]),
                            images=(12, 20), rows=2, special=SPECIAL),
    "dinov3_plain": Case(
        "DINOv3ViTModel",
        dict(SMALL, hidden_size=16, num_attention_heads=4, num_channels=1, num_register_tokens=0, key_bias=True,
             query_bias=False, proj_bias=False, mlp_bias=False, rope_theta=30.0, layer_norm_eps=1e-6),
        images=(28, 8), special=SPECIAL,
    ),
    "dinov3_hidden": Case("DINOv3ViTModel", dict(SMALL, value_bias=False), images=(8, 12), rows=2, special=SPECIAL,
                          inputs=dict(bool_masked_pos=HIDDEN)),
}  # fmt: skip
