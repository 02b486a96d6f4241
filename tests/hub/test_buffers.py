"""Tensors of a file that a network computes itself: equal ones stay unread, others are refused by name."""

import numpy as np
import pytest

import xfm
from tests.hub import small
from xfm.errors import XfmError
from xfm.hub import buffers
from xfm.hub.checkpoint import prepared
from xfm.hub.families import FAMILIES, roformer
from xfm.hub.settings import Settings

TRIANGLE = np.tri(12, dtype=np.bool_)[None, None]
WINDOW = np.array([[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]])  # of 2 x 2 tokens
FOUR, THREE = (  # of 4 x 4 and of 3 x 3 tokens, which those of the goldens have
    np.array(
        [[(i // n - j // n + n - 1) * (2 * n - 1) + i % n - j % n + n - 1 for j in range(n * n)] for i in range(n * n)]
    )
    for n in (4, 3)
)
ACROSS = np.float32([-np.log2(9) / 3, -np.log2(5) / 3, 0, np.log2(5) / 3, np.log2(9) / 3])
LOGARITHMS = np.stack(np.meshgrid(ACROSS, ACROSS, indexing="ij"), axis=-1)[None]  # of 3 x 3 tokens
PATCHES = np.array([  # of a class token and 3 x 3 patches, as transformers' BeitModel computes it
    [27, 25, 25, 25, 25, 25, 25, 25, 25, 25], [26, 12, 11, 10, 7, 6, 5, 2, 1, 0], [26, 13, 12, 11, 8, 7, 6, 3, 2, 1],
    [26, 14, 13, 12, 9, 8, 7, 4, 3, 2], [26, 17, 16, 15, 12, 11, 10, 7, 6, 5], [26, 18, 17, 16, 13, 12, 11, 8, 7, 6],
    [26, 19, 18, 17, 14, 13, 12, 9, 8, 7], [26, 22, 21, 20, 17, 16, 15, 12, 11, 10],
    [26, 23, 22, 21, 18, 17, 16, 13, 12, 11], [26, 24, 23, 22, 19, 18, 17, 14, 13, 12],
])  # fmt: skip


def sines(rows):
    config = small.config("roformer_model")
    (table,) = roformer.sines(Settings({**config, "max_position_embeddings": rows})).values()
    return table


# golden, tensor, what is right there, what is wrong there
STORED = [
    ("bert_model", "embeddings.position_ids", np.arange(16)[None], np.arange(1, 17)[None]),
    ("nystromformer_model", "embeddings.position_ids", np.arange(2, 9)[None], np.arange(7)[None]),
    ("roformer_model", "encoder.embed_positions.weight", sines(5), sines(5) + 0.01),
    ("roformer_model", "encoder.embed_positions.weight", sines(5).astype(np.float16), sines(5)[::-1]),
    ("gpt2_lm", "transformer.h.0.attn.bias", TRIANGLE, np.ones_like(TRIANGLE)),
    ("gpt2_lm", "transformer.h.1.attn.masked_bias", np.float32(-1e4), np.float32(0.0)),
    ("swin_label", "swin.encoder.layers.0.blocks.0.attention.self.relative_position_index", FOUR, FOUR.T),
    ("swin_label", "swin.encoder.layers.0.blocks.0.attention.self.relative_position_index", FOUR.ravel(), WINDOW),
    ("swinv2_label", "swinv2.encoder.layers.0.blocks.0.attention.self.relative_position_index", THREE, THREE + 1),
    ("swinv2_label", "swinv2.encoder.layers.0.blocks.0.attention.self.relative_coords_table", LOGARITHMS, -LOGARITHMS),
    (
        "beit_label",
        "beit.encoder.layer.0.attention.attention.relative_position_bias.relative_position_index",
        PATCHES,
        np.zeros_like(PATCHES),
    ),
    ("clip_text", "text_model.embeddings.position_ids", np.arange(9), np.arange(9) * 2),
]


@pytest.mark.parametrize("name,tensor,right,wrong", STORED)
def test_they_are_what_the_network_computes(name, tensor, right, wrong, tmp_path):
    arrays = {n: x for n, x in small.weights(name).items() if n != tensor}
    with prepared(small.folder(tmp_path / "right", arrays | {tensor: np.array(right)}, name=name)) as plan:
        assert tensor in plan.unused
    folder = small.folder(tmp_path / "wrong", arrays | {tensor: np.ascontiguousarray(wrong)}, name=name)
    with pytest.raises(XfmError, match=f"the file's {tensor} differs from what this"), prepared(folder):
        pass


def test_the_frequencies_of_rotary_positions():
    spec = dict(pattern=[dict(position=dict(theta=1000.0))])
    right = 1000.0 ** (-np.arange(0, 16, 2) / 16)
    assert buffers.frequencies(None, spec, right.astype(np.float32))
    assert not buffers.frequencies(None, spec, (right * 1.01).astype(np.float32))


def test_every_family_that_ignores_positions_looks_at_them():
    counted = [f for f in FAMILIES.values() if any("position_ids" in regex for regex in f.files.ignored)]
    assert len(counted) > 12
    for family in counted:
        assert any("position_ids" in regex for regex in family.files.buffers), family.model_type


def test_a_number_beyond_float32_is_refused(tmp_path):
    """Every layout: a matrix that is transposed, a vector, a part of a fused tensor."""
    for name, tensor in (("bert_model", "encoder.layer.0.output.dense.weight"), ("bert_model", "pooler.dense.bias"),
                         ("gpt2_lm", "transformer.h.0.attn.c_attn.weight")):  # fmt: skip
        arrays = small.weights(name)
        arrays[tensor] = arrays[tensor].astype(np.float64)
        fine = xfm.load(small.folder(tmp_path / "fine", arrays, name=name), place=lambda path, array: array)
        assert fine.params
        arrays[tensor].flat[-1] = -1e300
        with pytest.raises(XfmError, match=f"{tensor} has 1e.300, which is too large for float32"):
            xfm.load(small.folder(tmp_path / "huge", arrays, name=name), place=lambda path, array: array)
