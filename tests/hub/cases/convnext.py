"""ConvNeXt, its second version and DINOv3's in two and three stages, with odd grids, with and without a scale."""

from tests.hub.cases import Case

SMALL = dict(num_channels=3, patch_size=4, num_stages=2, depths=[2, 1], hidden_sizes=[8, 12], image_size=32)
ODD = dict(num_channels=1, patch_size=2, num_stages=3, depths=[1, 1, 1], hidden_sizes=[6, 10, 14], image_size=32,
           hidden_act="relu", layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "convnext_label": Case("ConvNextForImageClassification", dict(SMALL, num_labels=5), images=(32, 20), rows=2),
    "convnext_model": Case("ConvNextModel", dict(ODD, layer_scale_init_value=0.0), images=(18, 22), rows=2),
    "convnextv2_label": Case("ConvNextV2ForImageClassification", dict(SMALL, num_labels=3), images=(20, 36), rows=2),
    "dinov3_convnext": Case(
        "DINOv3ConvNextModel",
        dict(num_channels=3, depths=[2, 1], hidden_sizes=[8, 12], image_size=32, layer_norm_eps=1e-5),
        images=(36, 20), rows=2,
    ),
    "dinov3_convnext_odd": Case(
        "DINOv3ConvNextModel",
        dict(num_channels=1, depths=[1, 2, 1], hidden_sizes=[6, 10, 14], hidden_act="relu", layer_scale_init_value=0.1),
        images=(39, 26), rows=3,
    ),
    "convnext_backbone": Case(
        "ConvNextBackbone", dict(SMALL, out_features=["stage1", "stage2"]), images=(20, 36), rows=2
    ),
    "convnextv2_backbone": Case("ConvNextV2Backbone", dict(ODD, out_indices=[1, 3]), images=(18, 22), rows=2),
    "dinov3_convnext_backbone": Case(
        "DINOv3ConvNextBackbone", dict(num_channels=1, depths=[1, 2, 1], hidden_sizes=[6, 10, 14], image_size=32,
                                       layer_scale_init_value=0.1, out_features=["stage2", "stage3"]),
        images=(36, 52), rows=2,
    ),
    "convnextv2_model": Case("ConvNextV2Model", ODD, images=(22, 18), rows=2),
}  # fmt: skip
