"""Funnel's config.json of either generation, and what is refused."""

import numpy as np
import pytest

from tests.hub import small
from xfm.configs.text import funnel as recipe
from xfm.errors import XfmError
from xfm.hub.families.funnel import FAMILY
from xfm.hub.matching import match
from xfm.hub.settings import Settings

# as the files of 2020 have it
OLDER = dict(
    architectures=["FunnelModel"], activation_dropout=0.0, attention_dropout=0.1, attention_type="relative_shift",
    block_repeats=[1, 2, 2], block_sizes=[6, 3, 3], d_head=64, d_inner=3072, d_model=768, hidden_act="gelu_new",
    hidden_dropout=0.1, initializer_range=0.1, initializer_std=None, layer_norm_eps=1e-9, max_position_embeddings=512,
    model_type="funnel", n_head=12, num_decoder_layers=2, pool_q_only=True, pooling_type="mean",
    rel_attn_type="factorized", separate_cls=True, truncate_seq=True, type_vocab_size=3, vocab_size=30522,
)  # fmt: skip


def network(**changes):
    settings = Settings({**OLDER, **changes})
    spec = FAMILY.network(settings)
    settings.finish()
    return spec


def test_a_published_file_is_the_published_network():
    for name, decoder in (("FunnelModel", 2), ("FunnelForPreTraining", 2), ("FunnelBaseModel", None),
                          ("FunnelForSequenceClassification", None), ("FunnelForMultipleChoice", None)):  # fmt: skip
        expected = recipe.network(*recipe.SIZES["medium"], vocab=30522, head_width=64, decoder=decoder)
        assert network(architectures=[name]) == expected | {"heads": {}}


def test_both_ways_to_compute_a_score_are_one_network():
    assert network(attention_type="factorized") == network()
    with pytest.raises(XfmError, match="attention_type to 'absolute'"):
        network(attention_type="absolute")


def test_refusals():
    with pytest.raises(XfmError, match="a first block whose layers run once"):
        network(block_repeats=[2, 1, 1])
    assert network(block_repeats=[2, 1, 1], architectures=["FunnelBaseModel"])["loops"] == (2, 1, 1)
    with pytest.raises(XfmError, match="pooling_type to 'sum'"):
        network(pooling_type="sum")
    ids = np.ones((1, 5), np.int32)
    with pytest.raises(XfmError, match="takes no position_ids"):
        FAMILY.calling.inputs(Settings(OLDER), ids, None, None, ids)


def test_many_types_are_one_network_and_are_let_through(tmp_path):
    from xfm.hub.checkpoint import load

    m = load(small.folder(tmp_path / "m", name="funnel_choice", arrays=small.weights("funnel_choice")))
    ids = np.array([[7, 8, 9, 10, 11, 12]])
    alike = m(input_ids=ids)["last_hidden_state"]
    assert (
        alike.shape == (1, 3, 12)
        and np.abs(alike - m(input_ids=ids, token_type_ids=ids * 0 + 5)["last_hidden_state"]).max() == 0
    )
    assert np.abs(alike - m(input_ids=ids, token_type_ids=ids % 2)["last_hidden_state"]).max() > 1e-3


def test_the_class_it_is_written_as():
    """Only the class says whether there is a decoder; and no file names a padding token, which would lose its row."""
    sizes = ((1, 2), (1, 2), 32, 2, 300)
    whole, alone = (dict(recipe.network(*sizes, decoder=decoder), heads={}) for decoder in (1, None))
    for spec, name in ((whole, "FunnelModel"), (alone, "FunnelBaseModel")):
        content = match(spec).settings.content
        assert content["architectures"] == [name] and content["pad_token_id"] is None and content["d_head"] == 16
    with pytest.raises(XfmError, match="no family of the Hub"):  # a head for texts has no decoder there
        match(dict(whole, heads=dict(label=recipe.classifier(3))))
