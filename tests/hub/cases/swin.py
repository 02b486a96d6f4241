"""Swin: stages of one, two and four layers, windows that are not the grid's divisors."""

from tests.hub.cases import Case

SMALL = dict(image_size=32, patch_size=4, num_channels=3, embed_dim=12, depths=[2, 1], num_heads=[3, 2],
             window_size=4, mlp_ratio=1.5)  # fmt: skip
SPECIAL = ((r"patch_embeddings", 0.0, 0.1),)

CASES = {
    "swin_label": Case("SwinForImageClassification", dict(SMALL, num_labels=5), images=(32, 32), special=SPECIAL),
    "swin_model": Case("SwinModel", dict(SMALL, hidden_act="relu", window_size=2), images=(16, 48), rows=2),
}
