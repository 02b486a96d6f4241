"""XLNet's own: what is refused, inputs between tokens, padding that changes nothing, older files, shapes saved."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.hub import small
from tests.hub.cases.xlnet import ASKED
from xfm.errors import XfmError
from xfm.hub.checkpoint import load

IDS = np.arange(7, 29).reshape(2, 11)
ONE = np.eye(11, dtype=np.float32)[np.array(ASKED[:2])]


def folder(path, name="xlnet_lm", **changes):
    return small.folder(path, small.weights(name), name, **changes)


@pytest.fixture
def model(tmp_path):
    return load(folder(tmp_path))


@pytest.mark.parametrize(
    "given,said",
    [
        (dict(mems=IDS), "xlnet has no input 'mems'"),
        (dict(use_mems=IDS), "xlnet has no input 'use_mems'"),
        (dict(position_ids=IDS), "has relative positions and takes no position_ids"),
        (dict(perm_mask=np.zeros((2, 11))), r"perm_mask have the shape \(2, 11\)"),
        (dict(perm_mask=np.zeros((2, 11, 10))), r"perm_mask have the shape \(2, 11, 10\)"),
        (dict(perm_mask=np.full((2, 11, 11), "a")), "perm_mask are <U1; they must be numbers"),
        (dict(target_mapping=0.5 * ONE), "target_mapping must be 1 at one token"),
        (dict(target_mapping=ONE[:, [0, 0]]), "another token in each"),
        (dict(target_mapping=0 * ONE), "target_mapping must be 1 at one token"),
        (dict(input_ids=IDS + 40), "input_ids contain 68"),
    ],
)
def test_what_is_refused(model, given, said):
    with pytest.raises(XfmError, match=said):
        model(**{"input_ids": IDS} | given)


@pytest.mark.parametrize(
    "name,changes,said",
    [
        ("xlnet_lm", dict(attn_type="both"), "attn_type to 'both'; xfm knows bi, uni"),
        ("xlnet_uni", dict(same_length=True), "same_length to True"),
        ("xlnet_lm", dict(tie_word_embeddings=False), "tie_word_embeddings to False"),
        ("xlnet_labels", dict(summary_type="attn"), "summary_type to 'attn'"),
        ("xlnet_labels", dict(summary_proj_to_labels=True), "summary_proj_to_labels to True"),
        ("xlnet_lm", dict(layerdrop=0.5), "sets layerdrop, which xfm does not know"),
    ],
)
def test_settings_that_are_refused(tmp_path, name, changes, said):
    with pytest.raises(XfmError, match=said):
        load(folder(tmp_path, name, **changes))


def test_half_of_the_rows_need_a_half(tmp_path):
    m = load(folder(tmp_path, "xlnet_tags"))
    assert m(IDS)["logits"].shape == (2, 11, 4)
    with pytest.raises(XfmError, match="half of the rows are read backwards; 3 rows have no half"):
        m(np.concatenate([IDS, IDS[:1]]))


def test_padding_changes_nothing(tmp_path):
    """A row padded on either side gives its class, and each token, what it gives alone."""
    m = load(folder(tmp_path, "xlnet_labels"))
    types = (np.arange(11) > 6)[None].astype(np.int32)
    alone = m(IDS[:1], token_type_ids=types)
    for room in ((4, 0), (0, 4), (2, 2)):
        ids, more = (np.pad(a, ((0, 0), room)) for a in (IDS[:1], types))
        mask = np.pad(np.ones((1, 11), int), ((0, 0), room))
        out = m(ids, mask, more)
        np.testing.assert_allclose(out["logits"], alone["logits"], rtol=0, atol=1e-5)
        stream = np.asarray(out["last_hidden_state"])[mask > 0]
        np.testing.assert_allclose(stream, alone["last_hidden_state"][0], rtol=0, atol=2e-5)


def test_any_number_of_types_may_be_compared(model):
    types = np.arange(11)[None] // 3
    ours, renamed = model(IDS[:1], token_type_ids=types), model(IDS[:1], token_type_ids=100 - types)
    np.testing.assert_array_equal(ours["logits"], renamed["logits"])


def test_answers_are_at_the_positions_asked_for(model):
    out = model(IDS, target_mapping=ONE, output_hidden_states=True)
    assert out["logits"].shape == (2, 4, 53) and out["last_hidden_state"].shape == (2, 4, 20)
    assert [x.shape[1] for x in out["hidden_states"]] == [11, 4] * 3
    assert model(IDS)["logits"].shape == (2, 11, 53)


def test_older_files(tmp_path):
    """Keys of the published config.json files, and a head that repeats the word table."""
    config = small.config("xlnet_lm")
    older = dict(n_token=config["vocab_size"], untie_r=True, output_past=True, reuse_len=None, mem_len=None)
    older |= dict(summary_type="last", summary_use_proj=True, start_n_top=5, end_n_top=5, clamp_len=-1)
    weights = small.weights("xlnet_lm")
    weights["lm_loss.weight"] = weights["transformer.word_embedding.weight"]
    out = load(small.folder(tmp_path / "older", weights, "xlnet_lm", **older))(IDS)["logits"]
    np.testing.assert_array_equal(out, load(folder(tmp_path / "today"))(IDS)["logits"])


def test_saved_shapes_are_the_files(tmp_path):
    out = load(folder(tmp_path / "in")).save(tmp_path / "out")
    before, after = load_file(tmp_path / "in" / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
