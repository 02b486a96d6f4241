"""Files as DeBERTa's authors published them, which hold more than the encoder and name less of it in config.json."""

import json

import numpy as np
import pytest

from tests.hub.test_parity import GOLDENS, checkpoint, close, of
from xfm.errors import XfmError
from xfm.hub.checkpoint import load


def golden(name):
    with np.load(GOLDENS / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def test_the_authors_files_load(tmp_path):
    arrays = golden("deberta_v2_lm_predictions")
    config = json.loads(str(arrays["config"]))
    for key in ("legacy", "architectures", "dtype", "pad_token_id", "pooler_hidden_size", "tie_word_embeddings"):
        config.pop(key, None)
    config |= dict(pos_att_type="p2c|c2p", padding_idx=0, attention_head_size=8, max_relative_positions=9)
    more = {
        "deberta.embeddings.position_embeddings.weight": np.ones((19, 16), np.float32),
        "mask_predictions.dense.weight": np.ones((16, 16), np.float32),
        "mask_predictions.classifier.bias": np.ones(1, np.float32),
    }
    arrays |= {f"weight/{name}": array for name, array in more.items()}
    m = checkpoint(arrays, json.dumps(config), tmp_path)
    assert list(m.heads) == ["lm_predictions"]
    inputs = of(arrays, "input/")
    real = inputs["attention_mask"] > 0
    close(m(**inputs)["logits"][real], arrays["output/logits"][real], "logits")


def test_two_heads_for_words_in_one_file(tmp_path):
    """The one that transformers reads by default is loaded, and the authors' on demand."""
    arrays = golden("deberta_v2_lm_predictions")
    theirs = of(arrays, "weight/lm_predictions.lm_head.")
    for name, array in theirs.items():
        name = name if name == "bias" else f"transform.{name}"
        arrays[f"weight/cls.predictions.{name}"] = array + 1
    config = str(arrays["config"])
    assert list(checkpoint(arrays, config, tmp_path).heads) == ["masked_lm"]
    m = load(tmp_path, head="lm_predictions")
    np.testing.assert_array_equal(m.params["head_mlm"]["bias"], theirs["bias"])


@pytest.mark.parametrize(
    "changes,message",
    [
        (dict(pos_att_type="c2p|p2p"), "sets pos_att_type to c2p, p2p; xfm supports c2p and p2c"),
        (dict(relative_attention=False), "sets pos_att_type without relative_attention"),
        (dict(talking_head=True), "sets talking_head"),
    ],
)
def test_what_xfm_lacks_is_refused(changes, message, tmp_path):
    arrays = golden("deberta_v1_mlm")
    config = json.loads(str(arrays["config"])) | changes
    with pytest.raises(XfmError, match=message):
        checkpoint(arrays, json.dumps(config), tmp_path)
