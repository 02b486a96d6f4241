"""The four models of ViViT: the FLOPs of the paper's table 2. Takes six seconds."""

import pytest

from xfm.configs.vision import vivit
from xfm.describe import describe

# Multiplications and additions together, in 1e9, of 32 frames of 224 x 224.
TABLE_2 = {
    "joint": 455.2, "factorised_encoder": 284.4, "factorised_attention": 372.3, "factorised_heads": 277.1,
}  # fmt: skip


@pytest.mark.parametrize("model", vivit.MODELS)
def test_operations_are_those_of_the_paper(model):
    found = describe(vivit.get_config(model)).flops_forward / 2e9
    assert abs(found / TABLE_2[model] - 1) < 0.01
