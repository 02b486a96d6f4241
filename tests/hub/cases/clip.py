"""The text towers of CLIP and SigLIP: read at the first end token, at the highest id of old files, at the last
position, where a mask may hide it.

The references' hidden states end before the final norm.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=59, hidden_size=20, num_hidden_layers=3, num_attention_heads=5, intermediate_size=36,
             max_position_embeddings=17)  # fmt: skip
CLIP = dict(SMALL, projection_dim=12, pad_token_id=0, bos_token_id=1)

IMAGES = dict(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=4, patch_size=2
)


def rows(*ends, length=11, end):
    """Ids in some order, with `end` at these positions of each row."""
    made = [[3 + (7 * row + 11 * i + i * i) % 40 for i in range(length)] for row in range(len(ends))]
    for row, positions in zip(made, ends, strict=True):
        for position in positions:
            row[position] = end
    return dict(input_ids=made)


CASES = {
    "clip_text": Case("CLIPTextModel", dict(CLIP, eos_token_id=50), padding="right",
                      inputs=rows((10,), (6, 8), (0, 5), end=50)),
    "clip_text_old_end": Case("CLIPTextModel", dict(CLIP, num_hidden_layers=2, hidden_act="gelu", eos_token_id=2),
                              inputs=rows((9,), (7, 10), (1,), end=58)),
    "clip_text_projection": Case("CLIPTextModelWithProjection", dict(CLIP, layer_norm_eps=1e-4, eos_token_id=49),
                                 padding="left", inputs=rows((10,), (4, 7), (9,), end=49)),
    "clip_whole": Case("CLIPModel", dict(text_config=dict(CLIP, num_hidden_layers=1, eos_token_id=50),
                                         vision_config=IMAGES, projection_dim=6),
                       part="text_model", inputs=rows((10,), (6,), (9,), end=50)),
    "siglip_whole": Case("SiglipModel", dict(text_config=dict(SMALL, num_hidden_layers=1), vision_config=IMAGES),
                         part="text_model", padding="none"),
    "siglip_text": Case("SiglipTextModel", dict(SMALL, projection_size=14), padding="none", length=17),
    "siglip_text_masked": Case("SiglipTextModel", dict(SMALL, num_hidden_layers=2), padding="left"),
    "siglip_text_filled": Case("SiglipTextModel", dict(SMALL, num_hidden_layers=2), padding="right"),
}  # fmt: skip
