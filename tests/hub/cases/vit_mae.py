"""ViT-MAE: the encoder and pre-training, by noise that says which patches are hidden; other sizes, one channel."""

from tests.hub.cases import Case

SMALL = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, image_size=12,
             patch_size=4, num_channels=3, decoder_hidden_size=16, decoder_num_hidden_layers=2,
             decoder_num_attention_heads=2, decoder_intermediate_size=28)  # fmt: skip
ODD = dict(SMALL, hidden_size=20, num_attention_heads=5, num_channels=1, patch_size=3, mask_ratio=0.4,
           decoder_hidden_size=12, decoder_num_attention_heads=3, layer_norm_eps=1e-5, hidden_act="relu")  # fmt: skip
SPECIAL = ((r"patch_embeddings", 0.0, 0.1),)


def noise(patches, rows=3):
    """Numbers in another order in each row."""
    return dict(
        noise=[[(7 * i * i + 5 * row + 11 * i) % 101 + 101 * (i % 2) for i in range(patches)] for row in range(rows)]
    )


CASES = {
    "vit_mae_pretraining": Case(
        "ViTMAEForPreTraining", SMALL, images=(12, 12), special=SPECIAL, inputs=noise(9)
    ),
    "vit_mae_odd": Case(
        "ViTMAEForPreTraining", ODD, images=(12, 12), special=SPECIAL, inputs=noise(16), rows=3
    ),
    "vit_mae_model": Case("ViTMAEModel", SMALL, images=(12, 12), special=SPECIAL, inputs=noise(9)),
    "vit_mae_larger": Case(
        "ViTMAEModel", dict(ODD, qkv_bias=False), images=(15, 9), special=SPECIAL, inputs=noise(15)
    ),
}  # fmt: skip
