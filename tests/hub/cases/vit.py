"""ViT and DeiT: oblong images and patches, another size than the positions', heads, poolers of other widths."""

from tests.hub.cases import Case

SMALL = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, image_size=[12, 20],
             patch_size=4, num_channels=3)  # fmt: skip
SQUARE = dict(SMALL, image_size=12)
ODD = dict(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=36, image_size=15,
           patch_size=5, num_channels=1, layer_norm_eps=1e-5)  # fmt: skip
SPECIAL = ((r"patch_embeddings", 0.0, 0.1),)
HIDDEN = [[0, 1, 1, 0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1, 0, 0, 0], [0] * 9]

CASES = {
    "vit_label": Case("ViTForImageClassification", dict(SMALL, num_labels=5), images=(12, 20), special=SPECIAL),
    "vit_larger": Case("ViTForImageClassification", dict(SQUARE, hidden_act="gelu_new"), images=(20, 28), rows=2),
    "vit_smaller": Case("ViTModel", dict(ODD, hidden_act="relu"), images=(10, 20), special=SPECIAL),
    "vit_hidden": Case(
        "ViTForMaskedImageModeling",
        dict(SQUARE, encoder_stride=4, qkv_bias=False),
        images=(12, 12),
        special=SPECIAL,
        inputs=dict(bool_masked_pos=HIDDEN),
    ),
    "msn_model": Case("ViTMSNModel", dict(SQUARE, hidden_act="gelu_new"), images=(16, 12), rows=2, special=SPECIAL),
    "ijepa_label": Case("IJepaForImageClassification", dict(ODD, num_labels=3), images=(15, 15), special=SPECIAL),
    "ijepa_model": Case("IJepaModel", SMALL, images=(12, 20), rows=2, special=SPECIAL),
    "ijepa_larger": Case("IJepaModel", dict(ODD, qkv_bias=False), images=(20, 25), rows=2, special=SPECIAL),
    "vit_pooler": Case("ViTModel", dict(ODD, pooler_output_size=7, pooler_act="relu"), images=(15, 15)),
    "deit_teacher": Case("DeiTForImageClassificationWithTeacher", dict(SMALL, num_labels=4), images=(12, 20)),
    "deit_label": Case("DeiTForImageClassification", dict(ODD, num_labels=3), images=(15, 25), special=SPECIAL),
    "deit_hidden": Case(
        "DeiTForMaskedImageModeling",
        dict(ODD, encoder_stride=5),
        images=(15, 15),
        rows=3,
        special=SPECIAL,
        inputs=dict(bool_masked_pos=HIDDEN),
    ),
    "deit_model": Case("DeiTModel", ODD, images=(15, 15), rows=2),
}
