"""Tokenisers and sentence folders that are damaged or made to do harm end in a sentence, soon and in little memory."""

import copy
import json
import resource
import time

import numpy as np
import pytest

from xfm.errors import XfmError

pytest.importorskip("tokenizers")

from tests.hub.evil_tokenizers import EVIL, GOOD, SENTENCES, charsmap, write, write_sentences  # noqa: E402
from xfm.hub.files import read_json  # noqa: E402
from xfm.hub.sentence.modules import read_modules  # noqa: E402
from xfm.spec import build  # noqa: E402
from xfm.tokenizers import TOKENIZERS  # noqa: E402
from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer  # noqa: E402

SECONDS, BYTES = 5, 2**30
WAIT = 60  # seconds by the clock, which on a busy machine runs ahead of those of the processor
TEXTS = ["a b", "b" * 50, "a" * 60, "aaab" * 40 + "c"]


def refused(call) -> str:
    """The sentence in which a call ends."""
    start, began, before = time.process_time(), time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(XfmError) as caught:
        call()
    assert time.process_time() - start < SECONDS and time.monotonic() - began < WAIT
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES
    says = str(caught.value)
    assert "\n" not in says and 20 < len(says) < 600
    return says


@pytest.mark.parametrize("what", EVIL)
def test_a_tokeniser(what, tmp_path):
    write(tmp_path, what)
    refused(lambda: read_tokenizer(tmp_path, read_json(tmp_path / "config.json"))(TEXTS))


@pytest.mark.parametrize("what", SENTENCES)
def test_the_files_of_a_sentence_encoder(what, tmp_path):
    write_sentences(tmp_path, what)
    says = refused(lambda: read_modules(tmp_path))
    assert ".json" in says or str(tmp_path) in says


@pytest.mark.parametrize("what", [what for what, evil in EVIL.items() if callable(evil)])
def test_a_tokenizer_json_given_to_training(what, tmp_path):
    path = write(tmp_path, what) / "tokenizer.json"
    refused(lambda: build(TOKENIZERS, dict(kind="file", path=str(path))).fit(None, "", tmp_path).joined([TEXTS], 16))


def test_what_they_were_made_of_is_good(tmp_path):
    """Else the tables would show nothing; with a table of characters too."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    assert read_tokenizer(tmp_path, {})(TEXTS)["input_ids"].shape[0] == len(TEXTS)
    content = copy.deepcopy(GOOD)
    charsmap(b"\0" * 1024, b"x\0")(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert np.size(read_tokenizer(tmp_path, {})("a")["input_ids"]) == 1
    write_sentences(tmp_path, "pooling is a list")
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    assert read_modules(tmp_path).pooling.modes == ("mean",)
