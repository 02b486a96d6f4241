"""ViViT, VideoMAE and TimeSformer with all heads and attentions: oblong frames and tubelets, odd numbers of frames.

TimeSformer's larger frames take the nearest positions; the other references read videos of one size only.
"""

from tests.hub.cases import Case

SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, num_channels=3)
ODD = dict(hidden_size=20, num_hidden_layers=3, num_attention_heads=5, intermediate_size=28, num_channels=1)
SPECIAL = ((r"patch_embeddings", 0.0, 0.1),)


def hidden(*rows, of=12):
    """Marks of the tubelets of these numbers in each row."""
    return dict(bool_masked_pos=[[int(i in row) for i in range(of)] for row in rows])


CASES = {
    "vivit_label": Case(
        "VivitForVideoClassification", dict(SMALL, image_size=8, num_frames=4, tubelet_size=[2, 4, 4], num_labels=5),
        video=(4, 8, 8), special=SPECIAL,
    ),
    "vivit_model": Case(
        "VivitModel", dict(ODD, image_size=[6, 8], num_frames=3, tubelet_size=[1, 3, 2], hidden_act="gelu"),
        video=(3, 6, 8), rows=2,
    ),
    "vivit_biasless": Case(
        "VivitModel", dict(ODD, image_size=6, num_frames=6, tubelet_size=[3, 3, 3], qkv_bias=False, layer_norm_eps=1e-4,
                           pooler_output_size=7, pooler_act="relu"),
        video=(6, 6, 6), rows=2,
    ),
    "videomae_label": Case(
        "VideoMAEForVideoClassification", dict(SMALL, image_size=[8, 12], num_frames=4, patch_size=4, num_labels=3),
        video=(4, 8, 12), special=SPECIAL,
    ),
    "videomae_first": Case(
        "VideoMAEForVideoClassification",
        dict(ODD, image_size=6, num_frames=3, tubelet_size=3, patch_size=[2, 3], use_mean_pooling=False, num_labels=4),
        video=(3, 6, 6), rows=2,
    ),
    "videomae_model": Case(
        "VideoMAEModel", dict(ODD, image_size=6, num_frames=4, patch_size=3, qv_bias=False, hidden_act="gelu_new"),
        video=(4, 6, 6), rows=2,
    ),
    "videomae_pretraining": Case(
        "VideoMAEForPreTraining",
        dict(SMALL, image_size=[8, 12], num_frames=4, patch_size=4, decoder_hidden_size=16, decoder_num_hidden_layers=2,
             decoder_num_attention_heads=2, decoder_intermediate_size=28, layer_norm_eps=1e-4),
        video=(4, 8, 12), special=SPECIAL, inputs=hidden([1, 4, 5, 7, 8, 9, 11], [0, 2, 3, 5, 6, 8, 9]), rows=2,
    ),
    "videomae_pretraining_odd": Case(
        "VideoMAEForPreTraining",
        dict(ODD, image_size=6, num_frames=6, patch_size=3, tubelet_size=3, decoder_hidden_size=12,
             decoder_num_hidden_layers=1, decoder_num_attention_heads=3, decoder_intermediate_size=20, qv_bias=False,
             use_mean_pooling=False, hidden_act="relu"),
        video=(6, 6, 6), inputs=hidden([0, 3, 6], [5, 6, 7], [1, 2, 3], of=8),
    ),
    "videomae_visible": Case(
        "VideoMAEModel", dict(ODD, image_size=6, num_frames=4, patch_size=[2, 3], use_mean_pooling=False),
        video=(4, 6, 6), rows=2, inputs=hidden([0, 3, 4, 5, 6], [5, 6, 7, 8, 10]),
    ),
    "timesformer_label": Case(
        "TimesformerForVideoClassification", dict(SMALL, image_size=8, num_frames=3, patch_size=4, num_labels=5),
        video=(3, 8, 8), special=SPECIAL,
    ),
    "timesformer_joint": Case(
        "TimesformerForVideoClassification",
        dict(SMALL, image_size=8, num_frames=3, patch_size=4, num_labels=3, attention_type="joint_space_time"),
        video=(3, 8, 8), special=SPECIAL, rows=2,
    ),
    "timesformer_space": Case(
        "TimesformerForVideoClassification",
        dict(ODD, image_size=6, num_frames=2, patch_size=2, num_labels=4, attention_type="space_only", qkv_bias=False),
        video=(2, 6, 6), rows=2,
    ),
    "timesformer_larger": Case(
        "TimesformerModel", dict(ODD, num_hidden_layers=2, image_size=6, num_frames=2, patch_size=3, qkv_bias=False),
        video=(2, 12, 6), rows=2,
    ),
    "timesformer_model": Case(
        "TimesformerModel",
        dict(SMALL, num_hidden_layers=1, image_size=9, num_frames=5, patch_size=3, hidden_act="relu"),
        video=(5, 9, 9), rows=2,
    ),
}  # fmt: skip
