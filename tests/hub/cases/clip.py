"""CLIP and SigLIP: text towers, image towers, and whole models, which compare both.

Texts are read at the first end token, at the highest id of old files, or at the last position, where a mask may hide
it; patches and images are oblong, of another size than the positions', with each head and without.

The references' hidden states end before the final norm.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=59, hidden_size=20, num_hidden_layers=3, num_attention_heads=5, intermediate_size=36,
             max_position_embeddings=17)  # fmt: skip
CLIP = dict(SMALL, projection_dim=12, pad_token_id=0, bos_token_id=1)

VISION = dict(
    hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=36, image_size=12, patch_size=4
)
ODD = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=28, image_size=15,
           patch_size=5, num_channels=1, layer_norm_eps=1e-4)  # fmt: skip
FEW = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=6, patch_size=2)


def rows(*ends, length=11, end):
    """Ids in some order, with `end` at these positions of each row."""
    made = [[3 + (7 * row + 11 * i + i * i) % 40 for i in range(length)] for row in range(len(ends))]
    for row, positions in zip(made, ends, strict=True):
        for position in positions:
            row[position] = end
    return dict(input_ids=made)


NAFLEX = dict(hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=28, patch_size=2,
              num_patches=9)  # fmt: skip
SPECIAL = ((r"patch_embedding", 0.0, 0.1),)
BESIDE = dict(text_config=SMALL, num_labels=4)  # of a classifier, whose files have no text tower

CASES = {
    "clip_text": Case("CLIPTextModel", dict(CLIP, eos_token_id=50), padding="right",
                      inputs=rows((10,), (6, 8), (0, 5), end=50)),
    "clip_text_old_end": Case("CLIPTextModel", dict(CLIP, num_hidden_layers=2, hidden_act="gelu", eos_token_id=2),
                              inputs=rows((9,), (7, 10), (1,), end=58)),
    "clip_text_projection": Case("CLIPTextModelWithProjection", dict(CLIP, layer_norm_eps=1e-4, eos_token_id=49),
                                 padding="left", inputs=rows((10,), (4, 7), (9,), end=49)),
    "clip_whole": Case("CLIPModel", dict(text_config=dict(CLIP, num_hidden_layers=1, eos_token_id=50),
                                         vision_config=FEW, projection_dim=6),
                       images=(6, 6), texts=True, inputs=rows((10,), (6,), (9,), end=50)),
    "siglip_whole": Case("SiglipModel", dict(text_config=dict(SMALL, num_hidden_layers=1),
                                             vision_config=dict(FEW, hidden_size=20)),
                         images=(6, 6), texts=True, padding="none", rows=4),
    "clip_whole_resized": Case("CLIPModel", dict(text_config=dict(CLIP, num_hidden_layers=1, eos_token_id=2),
                                                 vision_config=ODD, projection_dim=7, logit_scale_init_value=1.5),
                               images=(20, 10), texts=True, padding="left", inputs=rows((10,), (6,), (9,), end=58)),
    "clip_vision": Case("CLIPVisionModel", VISION, images=(12, 12)),
    "clip_vision_projection": Case("CLIPVisionModelWithProjection", dict(ODD, projection_dim=7), images=(15, 15)),
    "clip_vision_larger": Case("CLIPVisionModel", dict(VISION, hidden_act="gelu"), images=(20, 8), rows=2),
    "siglip_vision": Case("SiglipVisionModel", VISION, images=(12, 12), special=SPECIAL),
    "siglip_vision_larger": Case("SiglipVisionModel", ODD, images=(25, 20), rows=2, special=SPECIAL),
    "siglip_vision_headless": Case("SiglipVisionModel", dict(ODD, vision_use_head=False), images=(15, 15)),
    "siglip2_vision": Case("Siglip2VisionModel", NAFLEX, shapes=((3, 4), (2, 5), (1, 9)), special=SPECIAL),
    "clip_pictures": Case("CLIPForImageClassification", dict(BESIDE, vision_config=ODD), images=(15, 15), rows=2),
    "siglip_pictures": Case("SiglipForImageClassification", dict(BESIDE, vision_config=VISION), images=(12, 12), rows=2,
                            special=SPECIAL),
    "siglip2_pictures": Case("Siglip2ForImageClassification", dict(BESIDE, vision_config=NAFLEX),
                             shapes=((3, 4), (2, 5)), rows=2, special=SPECIAL),
    "siglip2_vision_headless": Case("Siglip2VisionModel",
                                    dict(NAFLEX, patch_size=3, num_patches=4, vision_use_head=False, num_channels=1),
                                    shapes=((1, 1), (5, 3)), rows=2),
    "siglip2_whole": Case("Siglip2Model", dict(text_config=dict(SMALL, num_hidden_layers=1), vision_config=dict(
                          NAFLEX, num_hidden_layers=1)), shapes=((2, 3), (4, 1), (2, 2)), texts=True, padding="none"),
    "siglip2_text": Case("Siglip2TextModel", dict(SMALL, num_hidden_layers=1), padding="none"),
    "siglip_text": Case("SiglipTextModel", dict(SMALL, projection_size=14), padding="none", length=17),
    "siglip_text_masked": Case("SiglipTextModel", dict(SMALL, num_hidden_layers=2), padding="left"),
    "siglip_text_filled": Case("SiglipTextModel", dict(SMALL, num_hidden_layers=2), padding="right"),
}  # fmt: skip
