"""DINOv2: gated and plain feed-forward parts, with registers and without, other sizes than trained, hidden patches."""

from tests.hub.cases import Case

SMALL = dict(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, mlp_ratio=2, image_size=12, patch_size=4,
             num_channels=3)  # fmt: skip
ODD = dict(SMALL, hidden_size=18, num_attention_heads=3, image_size=15, patch_size=5, num_channels=1)
HIDDEN = [[0, 1, 1, 0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1, 0, 0, 0], [0] * 9]
SPECIAL = ((r"patch_embeddings", 0.0, 0.1), (r"layer_scale", 0.8, 0.3))

CASES = {
    "dinov2_label": Case(
        "Dinov2ForImageClassification", dict(SMALL, num_labels=5, use_swiglu_ffn=True), images=(12, 12), special=SPECIAL
    ),
    "dinov2_larger": Case("Dinov2Model", dict(ODD, qkv_bias=False), images=(20, 30), rows=2, special=SPECIAL),
    "dinov2_hidden": Case(
        "Dinov2Model", dict(SMALL, hidden_act="relu"), images=(12, 12), special=SPECIAL,
        inputs=dict(bool_masked_pos=HIDDEN),
    ),
    "dinov2_backbone": Case(
        "Dinov2Backbone", dict(ODD, num_hidden_layers=3, out_features=["stage1", "stage3"]), images=(20, 15), rows=2,
        special=SPECIAL,
    ),
    "dinov2_with_registers_backbone": Case(
        "Dinov2WithRegistersBackbone", dict(SMALL, num_register_tokens=3, out_indices=[1, 2]), images=(12, 20), rows=2,
        special=SPECIAL,
    ),
    "dinov2_no_mask": Case(
        "Dinov2ForImageClassification", dict(ODD, use_mask_token=False, layer_norm_eps=1e-5), images=(15, 10), rows=2,
        special=SPECIAL,
    ),
    "dinov2_with_registers_label": Case(
        "Dinov2WithRegistersForImageClassification", dict(SMALL, num_labels=4, num_register_tokens=3), images=(12, 12),
        special=SPECIAL,
    ),
    "dinov2_with_registers_larger": Case(
        "Dinov2WithRegistersModel", dict(ODD, use_swiglu_ffn=True, mlp_ratio=3, num_register_tokens=1), images=(25, 10),
        rows=2, special=SPECIAL,
    ),
    "dinov2_with_registers_hidden": Case(
        "Dinov2WithRegistersModel", SMALL, images=(12, 12), special=SPECIAL, inputs=dict(bool_masked_pos=HIDDEN)
    ),
}  # fmt: skip
