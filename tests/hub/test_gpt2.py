"""GPT-2's rarer files: an output table of its own, and a head that chooses among texts."""

import numpy as np
import pytest
from safetensors.numpy import load_file

import xfm
from tests.hub import small

IDS = np.arange(24).reshape(2, 3, 4) + 5


def test_an_untied_head(tmp_path):
    table = np.random.default_rng(0).normal(size=(53, 20)).astype(np.float32)
    arrays = small.weights("gpt2_lm") | {"lm_head.weight": table}
    m = xfm.load(small.folder(tmp_path / "in", arrays, name="gpt2_lm", tie_word_embeddings=False))
    out = m(input_ids=IDS[0])
    np.testing.assert_allclose(out["logits"], out["last_hidden_state"] @ table.T, atol=1e-4)
    after = load_file(m.save(tmp_path / "out") / "model.safetensors")
    assert after.keys() == arrays.keys() and np.array_equal(after["lm_head.weight"], table)


def choosing():
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(1, 20)).astype(np.float32), np.float32([0.5])
    added = {"multiple_choice_head.summary.weight": weight, "multiple_choice_head.summary.bias": bias}
    return added, small.weights("gpt2_lm") | added


def test_two_heads(tmp_path):
    added, arrays = choosing()
    kind = ["GPT2DoubleHeadsModel"]
    m = xfm.load(small.folder(tmp_path / "in", arrays, name="gpt2_lm", architectures=kind))
    out = m(input_ids=IDS)
    assert list(m.heads) == ["causal_lm", "multiple_choice"] and out["multiple_choice"].shape == (2, 3)
    weight, bias = added.values()
    mine = (out["last_hidden_state"][:, -1] @ weight.T + bias).reshape(2, 3)
    np.testing.assert_allclose(out["multiple_choice"], mine, atol=1e-5)


@pytest.mark.slow
def test_two_heads_in_transformers(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    kind = ["GPT2DoubleHeadsModel"]
    m = xfm.load(small.folder(tmp_path / "in", choosing()[1], name="gpt2_lm", architectures=kind))
    theirs = transformers.GPT2DoubleHeadsModel.from_pretrained(m.save(tmp_path / "out")).eval()
    with torch.no_grad():
        answer = theirs(input_ids=torch.tensor(IDS))
    out = m(input_ids=IDS)
    np.testing.assert_allclose(out["multiple_choice"], answer["mc_logits"], atol=1e-4)
    np.testing.assert_allclose(np.reshape(out["causal_lm"], answer["logits"].shape), answer["logits"], atol=1e-4)
