"""BEiT: relative positions of each layer, shared, or none; other sizes than trained; both pools; visual tokens."""

from tests.hub.cases import Case

SMALL = dict(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=36, image_size=12,
             patch_size=4, num_channels=3, vocab_size=13)  # fmt: skip
ODD = dict(SMALL, hidden_size=18, num_attention_heads=3, image_size=15, patch_size=5, num_channels=1)
SPECIAL = ((r"patch_embeddings", 0.0, 0.1), (r"lambda_", 0.8, 0.3), (r"bias_table", 0.0, 1.0))
HIDDEN = [[0, 1, 1, 0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1, 0, 0, 0], [0] * 9]

CASES = {
    "beit_label": Case(
        "BeitForImageClassification", dict(SMALL, num_labels=5, use_relative_position_bias=True), images=(12, 12),
        special=SPECIAL,
    ),
    "beit_tokens": Case(
        "BeitForMaskedImageModeling",
        dict(SMALL, use_mask_token=True, use_shared_relative_position_bias=True), images=(12, 12),
        special=SPECIAL, inputs=dict(bool_masked_pos=HIDDEN),
    ),
    "beit_larger": Case(
        "BeitModel", dict(ODD, use_relative_position_bias=True, hidden_act="relu"), images=(20, 30), rows=2,
        special=SPECIAL,
    ),
    "beit_shared_smaller": Case(
        "BeitForImageClassification", dict(ODD, use_shared_relative_position_bias=True, layer_norm_eps=1e-5),
        images=(10, 25), rows=2, special=SPECIAL,
    ),
    "beit_absolute": Case(
        "BeitModel", dict(SMALL, use_absolute_position_embeddings=True, layer_scale_init_value=0.0), images=(12, 12),
        special=SPECIAL,
    ),
    "beit_cls": Case(
        "BeitModel", dict(SMALL, use_mean_pooling=False, use_relative_position_bias=True), images=(12, 8), rows=2,
        special=SPECIAL,
    ),
}  # fmt: skip
