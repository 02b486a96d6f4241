"""CANINE beside parity: its tokeniser, which has no files, and what padding does to a text."""

import json

import numpy as np
import pytest

from tests.hub import small
from xfm.errors import XfmError
from xfm.hub.checkpoint import load
from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer
from xfm.truncation import kept

CLS, SEP, MASK = 0xE000, 0xE001, 0xE003
TEXT = "naïve 中文 😀\n[MASK] \x00"


@pytest.fixture
def tokenizer(tmp_path):
    settings = dict(tokenizer_class="CanineTokenizer", model_max_length=2048, cls_token=dict(content=chr(CLS)))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return read_tokenizer(tmp_path, dict(model_type="canine", max_position_embeddings=16384, type_vocab_size=16))


def test_ids_are_code_points(tokenizer):
    assert tokenizer.read(TEXT)[0] == [[CLS, *map(ord, TEXT), SEP]]
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"]) == [TEXT.removesuffix("\0")]
    assert tokenizer.tokens([CLS, ord("a"), 0x110000]) == ["[CLS]", "a", None]
    ids = (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id)
    assert ids == (0, CLS, SEP, MASK) and len(tokenizer) == 0x110000 and tokenizer.model_max_length == 2048


def test_the_second_of_a_pair_is_of_type_1(tokenizer):
    out = tokenizer(["ab", "a"], ["c", "cde"])
    assert out["input_ids"].tolist() == [
        [CLS, 97, 98, SEP, 99, SEP, 0],
        [CLS, 97, SEP, 99, 100, 101, SEP],
    ]
    assert out["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize("lengths", [(9,), (10, 7), (7, 10), (3, 10), (10, 3), (0, 4), (5, 5)])
@pytest.mark.parametrize("room", [1, 6, 8, 13, 30])
def test_the_longer_text_is_cut_first(lengths, room):
    """One token at a time from the longer, and from the second where they are as long."""
    keep = list(lengths)
    while sum(keep) > room:
        keep[0 if len(keep) == 1 or keep[0] > keep[1] else 1] -= 1
    assert kept(lengths, room, "right") == [(0, k) for k in keep]
    assert kept(lengths, room, "left") == [(n - k, n) for n, k in zip(lengths, keep, strict=True)]


def test_long_texts_and_short_limits(tokenizer):
    assert tokenizer("x" * 1_000_000)["input_ids"].shape == (1, 2048)
    assert tokenizer.read("abcdef", max_length=5)[0] == [[CLS, 97, 98, 99, SEP]]
    with pytest.raises(XfmError, match="no room"):
        tokenizer("a", max_length=2)


def test_a_checkpoint_without_any_file_of_a_tokeniser(tmp_path):
    m = load(small.folder(tmp_path, small.weights("canine_model"), "canine_model"))
    assert m.tokenizer.read("a")[0] == [[CLS, 97, SEP]]
    with pytest.raises(XfmError, match="input_ids contain 1114112; this checkpoint has 0 to 1114111"):
        m(input_ids=np.full((1, 8), 0x110000))


def test_padding_is_read_as_the_reference_reads_it(tmp_path):
    """What stands at padding reaches the characters before it, and how much padding there is does not matter."""
    m = load(small.folder(tmp_path, small.weights("canine_model"), "canine_model"))
    ids = np.random.default_rng(0).integers(1, 0x110000, (1, 20))

    def run(ids, real, length):
        ids = np.where(np.arange(length) < real, ids[:, :length], 0)
        return np.asarray(m(input_ids=ids, attention_mask=ids > 0)["last_hidden_state"])[:, :real]

    assert np.abs(run(ids, 10, 16) - run(ids, 10, 10)).max() > 1e-2
    np.testing.assert_allclose(run(ids, 10, 16), run(ids, 10, 20), rtol=1e-4, atol=1e-5)
