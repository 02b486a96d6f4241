"""LeViT in two and three stages, with one head or two, odd grids, and layers between stages of other sizes."""

from tests.hub.cases import Case

SMALL = dict(image_size=48, hidden_sizes=[16, 24], num_attention_heads=[2, 3], depths=[1, 2], key_dim=[4, 5],
             mlp_ratio=[2, 1], attention_ratio=[2, 1], down_ops=[["Subsample", 4, 3, 3, 2, 2]])  # fmt: skip
THREE = dict(image_size=80, hidden_sizes=[8, 16, 24], num_attention_heads=[2, 1, 3], depths=[1, 1, 1],
             key_dim=[4, 3, 5], mlp_ratio=[1, 2, 1], attention_ratio=[3, 2, 2], num_channels=1)  # fmt: skip
# Without a norm of the tokens themselves, these leave neither an attention that is even nor one that is all or nothing,
# for which float32 gives no gradient to 3e-5: of the settings tried, those where it agrees with float64.
NORMS = ((r"batch_norm\.weight$", 1.0, 0.3), (r"attention_biases", 0.0, 1.0))
SPECIAL = (*NORMS, (r"convolution", 0.0, 0.4), (r"linear", 0.0, 0.3))
OF_THREE = (*NORMS, (r"batch_norm\.bias$", 0.0, 0.1), (r"convolution", 0.0, 0.6), (r"linear", 0.0, 0.4))

CASES = {
    "levit_label": Case(
        "LevitForImageClassification", dict(SMALL, num_labels=5), images=(48, 48), rows=2, special=SPECIAL
    ),
    "levit_teacher": Case(
        "LevitForImageClassificationWithTeacher", dict(SMALL, num_labels=3), images=(48, 48), rows=2, special=SPECIAL
    ),
    "levit_model": Case("LevitModel", THREE, images=(80, 80), rows=3, special=OF_THREE),
}
