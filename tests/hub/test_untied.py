"""Heads that predict words from a table of their own, which config.json does not tie to the embedding."""

import numpy as np
import pytest
from safetensors.numpy import load_file

import xfm
from tests.hub import small
from xfm.hub import keys
from xfm.hub.checkpoint import prepared
from xfm.hub.matching import match

DECODER = "cls.predictions.decoder"


def test_the_decoder_has_a_table_and_a_bias_of_its_own(tmp_path):
    """transformers' logits, and a file that holds again what was read."""
    with np.load(small.GOLDENS / "bert_mlm_untied.npz") as file:
        inputs, logits = file["input/input_ids"], file["output/logits"]
        mask = file["input/attention_mask"]
    m = xfm.load(small.folder(tmp_path / "in", name="bert_mlm_untied"))
    mine = np.asarray(m(input_ids=inputs, attention_mask=mask)["logits"])
    np.testing.assert_allclose(mine[mask > 0], logits[mask > 0], rtol=0, atol=1e-5 * np.abs(logits).max())
    m.save(tmp_path / "out")
    before, after = small.weights("bert_mlm_untied"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() - after.keys() == {"cls.predictions.bias"}  # which adds to nothing
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_files_without_the_decoders_bias(tmp_path):
    """They are of releases in which both biases were one."""
    arrays = {n: x for n, x in small.weights("bert_mlm_untied").items() if n != f"{DECODER}.bias"}
    with prepared(small.folder(tmp_path, arrays, name="bert_mlm_untied")) as plan:
        (piece,) = plan.assigned["head_mlm/bias"]
        assert piece.at.name == "cls.predictions.bias" and plan.assigned["head_mlm/table"]


@pytest.mark.parametrize("name", ["bert_mlm_relu", "roberta_mlm", "electra_generator", "albert_mlm", "distilbert_mlm",
                                  "convbert_mlm", "mpnet_mlm", "roformer_mlm", "nystromformer_mlm", "fnet_mlm",
                                  "bigbird_mlm", "longformer_mlm"])  # fmt: skip
def test_every_family_of_berts_kind(name, tmp_path):
    """Each finds its own table under its own name, and its config.json is found back from the network."""
    arrays = small.weights(name)
    names = ("cls.predictions.decoder", "lm_head.decoder", "generator_lm_head", "predictions.decoder")
    wanted = {"distilbert_mlm": "vocab_projector"}.get(name)
    bias = next(n.removesuffix(".bias") for n in arrays if n.endswith("bias") and n.split(".")[0] in
                ("cls", "lm_head", "generator_lm_head", "predictions", "vocab_projector")
                and "dense" not in n and "orm" not in n)  # fmt: skip
    table = wanted or next(one for one in names if one.startswith(bias.split(".")[0]))
    config = small.config(name)
    rows, width = config["vocab_size"], config.get("embedding_size") or config.get("dim") or config["hidden_size"]
    arrays |= {f"{table}.weight": np.ones((rows, width), np.float32)}
    with prepared(small.folder(tmp_path, arrays, name=name, tie_word_embeddings=False), "masked_lm") as plan:
        (piece,) = plan.assigned["head_mlm/table"]
        assert piece.at.name == f"{table}.weight"
        m = match(keys.complete(plan.checkpoint.spec), family=plan.checkpoint.family.model_type)
    assert m.settings.content["tie_word_embeddings"] is False
