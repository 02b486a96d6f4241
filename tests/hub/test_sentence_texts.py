"""How sentence encoders take texts and how much of them they read, against two releases of sentence-transformers."""

import json
import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

from tests.hub import small
from xfm.errors import XfmError
from xfm.hub.sentence.modules import Modules, Pooling, read_modules, write_modules

pytest.importorskip("tokenizers")

from xfm.hub.sentence.encoder import QUANTISED, SentenceEncoder, longest, sentence_encoder  # noqa: E402
from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer  # noqa: E402

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
GOLDEN = json.loads((GOLDENS / "sentences" / "texts.json").read_text())
TOKENS = json.loads((GOLDENS / "hub" / "tokenizers.json").read_text())
MODULES = [
    dict(idx=0, name="0", path="", type="sentence_transformers.models.Transformer"),
    dict(idx=1, name="1", path="1_Pooling", type="sentence_transformers.models.Pooling"),
]


def written(root, tokens, own=None, release=None, **told):
    for file, number in TOKENS["cases"][tokens]["files"].items():
        content = TOKENS["contents"][number]
        if file == "tokenizer_config.json":
            content = json.dumps(json.loads(content) | told)
        (root / file).write_text(content)
    (root / "1_Pooling").mkdir(exist_ok=True)
    (root / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (root / "modules.json").write_text(json.dumps(MODULES))
    if own is not None:
        (root / "sentence_bert_config.json").write_text(json.dumps(own))
    if release is not None:
        about = {"__version__": {"sentence_transformers": release}}
        (root / "config_sentence_transformers.json").write_text(json.dumps(about))
    return root


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize(
    "release, golden", [("2.2.2", "5"), ("5.1.2", "5"), (None, "5"), ("6.2.0", "6"), ("10.0", "6")]
)
def test_texts_are_taken_as_the_release_of_the_folder_takes_them(release, golden, lower, tmp_path):
    own = dict(max_seq_length=40, do_lower_case=lower)
    modules = read_modules(written(tmp_path, "roberta", own, release))
    tokenizer = read_tokenizer(tmp_path, dict(model_type="bert", max_position_embeddings=48))
    spec = dict(embed=dict(width=8))
    SentenceEncoder(SimpleNamespace(tokenizer=tokenizer, spec=spec), modules)
    found = [tokenizer.read(modules.taken(text))[0][0] for text in GOLDEN["texts"]]
    assert found == GOLDEN[golden]["ids"][str(lower).lower()]
    write_modules(tmp_path / "again", Modules(tmp_path, Pooling(), lower=lower, texts=modules.texts), 8, {}, 40)
    assert read_modules(tmp_path / "again").texts == modules.texts


def test_a_length_without_end_is_none(tmp_path):
    assert read_modules(written(tmp_path, "roberta", dict(max_seq_length=int(1e30)))).max_length is None


def test_a_checkpoint_without_modules_takes_texts_whole(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert read_modules(tmp_path).texts == "whole"


@pytest.mark.parametrize("case", GOLDEN["6"]["limits"])
def test_the_folders_own_length_counts(case, tmp_path):
    model, own, said = (None if word == "None" else word for word in case.split())
    told = {} if said is None else dict(model_max_length=int(said))
    modules = read_modules(written(tmp_path, "roberta", dict(max_seq_length=own and int(own)), "5.1.2", **told))
    config = dict(model_type=model, max_position_embeddings=48, vocab_size=380)
    found = longest(modules.max_length, read_tokenizer(tmp_path, config), config)
    theirs = {GOLDEN[release]["limits"][case] for release in ("5", "6")}
    assert {found} == theirs or (model, found, theirs) == ("bert", 48, {64})  # theirs ends in an index error


@pytest.mark.parametrize(
    "config, rows",
    [
        (dict(model_type="bert", max_position_embeddings=64), 64),
        (dict(model_type="bert", max_position_embeddings=64, position_embedding_type="alibi"), None),
        (dict(model_type="deberta-v2", max_position_embeddings=32, position_biased_input=False), None),
        (dict(model_type="deberta-v2", max_position_embeddings=32), 32),
        (dict(model_type="modernbert", max_position_embeddings=32), None),
        (dict(model_type="eurobert", max_position_embeddings=32), None),
        (dict(model_type="t5", n_positions=512), None),
        (dict(model_type="xlnet", max_position_embeddings=-1), None),
        (dict(model_type="gpt2", n_positions=128), 128),
        (dict(model_type="roberta", max_position_embeddings=514, pad_token_id=1), 512),
    ],
)
def test_only_a_table_of_positions_caps(config, rows):
    from xfm.tokenizers.checkpoint.tokenizer import positions_of

    assert positions_of(config) == rows


def test_no_texts_at_all(tmp_path):
    folder = written(small.folder(tmp_path), "bert_lower", dict(max_seq_length=16))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]) + "\n")
    encoder = sentence_encoder(folder)
    for precision, dtype in dict(float32="f4", int8="i1", uint8="u1", binary="i1", ubinary="u1").items():
        found, one = encoder.encode([], precision=precision), encoder.encode(["a", "a a"], precision=precision)
        assert found.shape == (0, one.shape[1]) and found.dtype == one.dtype == np.dtype(dtype)
        assert QUANTISED[precision](np.zeros((0, 12), np.float32)).shape[0] == 0
    batch = encoder.checkpoint.tokenizer([])
    assert {name: a.shape for name, a in batch.items()} == dict.fromkeys(batch, (0, 0)) and len(batch) == 3
    with pytest.raises(XfmError, match="no token; give at least one text"):
        encoder.checkpoint(**batch)
