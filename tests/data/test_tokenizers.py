"""Every tokeniser gives back what it was given, or what its docstring says is left of it."""

import subprocess
import sys

import numpy as np
import pytest

from xfm.errors import XfmError
from xfm.spec import build
from xfm.tokenizers import SPECIALS, TOKENIZERS

pytest.importorskip("tokenizers")

CODE = "def area(width, height):\n    if width:\n\treturn width * height\n\n    # über\nclass A:\n"
TEXTS = [CODE, *(f"The area of {w} by {h} is {w * h}.\n" for w in range(30) for h in range(9))]


def fit(spec, workdir, texts=TEXTS, corpus="c"):
    return build(TOKENIZERS, spec).fit(lambda: iter(texts), corpus, workdir)


@pytest.fixture(params=["bytes", "wordpiece", "bpe"])
def tokenizer(request, tmp_path):
    size = {} if request.param == "bytes" else {"size": 400}
    return fit({"kind": request.param, **size}, tmp_path)


def test_specials_come_first(tokenizer):
    v = tokenizer.vocabulary
    assert (v.pad, v.unknown, v.cls, v.sep, v.mask) == (0, 1, 2, 3, 4)
    assert v.special == (0, 1, 2, 3, 4) and len(SPECIALS) == 5


def test_ids_fit_the_vocabulary(tokenizer):
    ids = np.concatenate(tokenizer.encode_batch(TEXTS))
    assert ids.dtype == np.int32 and ids.min() >= 5 and ids.max() < tokenizer.vocabulary.size
    one = tokenizer.encode(CODE)
    assert np.array_equal(one, tokenizer.encode_batch([CODE])[0])


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_lossless_round_trip(kind, tmp_path):
    tokenizer = fit({"kind": kind, **({"size": 300} if kind == "bpe" else {})}, tmp_path)
    for text in (CODE, "", " \t\r\n", "never seen: 漢字 🙂 \x00", "<s> [MASK" if kind == "bpe" else "[MASK] <s>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_characters_are_code_points(tmp_path):
    tokenizer = fit({"kind": "characters"}, tmp_path)
    v, text = tokenizer.vocabulary, "naïve 漢字\n\x00🙂\ue000"
    want = [*map(ord, "naïve 漢字\n"), 0, 0xFFFD, 0xE000]  # special ones are ids in a text too, as in CANINE
    assert tokenizer.encode(text).tolist() == want and tokenizer.encode(text).dtype == np.int32
    assert tokenizer.decode([v.cls, *want, v.sep, v.pad]) == "naïve 漢字\n\ufffd"
    assert (v.size, v.pad, v.cls, v.sep, v.mask, v.unknown) == (0x10000, 0, 0xE000, 0xE001, 0xE003, 0xFFFD)
    assert np.flatnonzero(v.starts_word[tokenizer.encode("a b\n c")]).tolist() == [1, 3, 4]
    every = fit({"kind": "characters", "limit": 0x110000}, tmp_path)
    assert every.encode("🙂")[0] == ord("🙂")
    assert every.vocabulary.starts_word.sum() == sum(chr(i).isspace() for i in range(0x110000))
    with pytest.raises(XfmError, match="a limit from 65534 to 1114112, not 256"):
        fit({"kind": "characters", "limit": 256}, tmp_path)


def test_wordpiece_keeps_case_newlines_and_indents(tmp_path):
    tokenizer = fit({"kind": "wordpiece", "size": 400}, tmp_path)
    want = "def area ( width , height ) :\n    if width :\n\treturn width * height\n\n    # über\nclass A :\n"
    assert tokenizer.decode(tokenizer.encode(CODE)) == want
    assert 1 in tokenizer.encode("漢")  # a character it never saw makes its word unknown


def test_specials_in_text_are_ids_where_they_have_names(tokenizer):
    ids = tokenizer.encode("of [MASK] and [PAD]").tolist()
    named = tokenizer.vocabulary.size != 5 + 256
    assert [i for i in ids if i < 5 and i != 1] == ([4, 0] if named else [])
    text = "area [SEP] of"
    ids, characters = tokenizer.aligned(text)
    if named:
        (at,) = np.flatnonzero(ids == 3)
        assert text[slice(*characters[at])] == "[SEP]" and text[slice(*characters[0])] == "area"[: characters[0][1]]


def test_decode_drops_specials(tokenizer):
    ids = tokenizer.encode("area")
    assert tokenizer.decode(np.array([2, *ids, 3, 0, 0])) == "area"


def test_starts_word(tmp_path):
    assert fit({"kind": "bytes"}, tmp_path).vocabulary.starts_word is None
    wordpiece = fit({"kind": "wordpiece", "size": 400}, tmp_path / "w")
    text = "The area\n    unheardof"
    starts = wordpiece.vocabulary.starts_word[wordpiece.encode(text)]
    assert starts.dtype == bool and starts.sum() == 4  # three words, and the newline with its indent
    assert starts[0]
    bpe = fit({"kind": "bpe", "size": 300}, tmp_path / "b")
    ids = bpe.encode(" area of unheardof")
    assert bpe.vocabulary.starts_word[ids].sum() == 3 and len(ids) > 3


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_training_is_the_same_in_every_process(kind, tmp_path):
    script = (
        "import sys, pathlib; from xfm.tokenizers import TOKENIZERS\n"
        "pairs = [(a, b) for a in range(25) for b in range(25)]\n"
        "texts = [f'{a}{b}c{a * b} {chr(97 + a)}{chr(98 + b)}' for a, b in pairs]\n"
        f"TOKENIZERS['{kind}'](size=350).fit(lambda: iter(texts), '', pathlib.Path(sys.argv[1]))"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name)], check=True)
    one, two = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_trained_once_per_workdir(tmp_path):
    first = fit({"kind": "bpe", "size": 300}, tmp_path)
    again = fit({"kind": "bpe", "size": 300}, tmp_path, texts=None)  # not asked for its texts
    assert first.fingerprint() == again.fingerprint()
    for spec, corpus in (({"kind": "bpe", "size": 301}, "c"), ({"kind": "bpe", "size": 300}, "d")):
        with pytest.raises(XfmError, match=r"tokenizer.json was trained on another .* new workdir"):
            fit(spec, tmp_path, corpus=corpus)


def test_killed_between_two_files(tmp_path):
    fit({"kind": "bpe", "size": 300}, tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    fit({"kind": "bpe", "size": 300}, tmp_path, corpus="other")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_too_small(kind, tmp_path):
    with pytest.raises(XfmError, match="size=8 has no room .* raise size"):
        fit({"kind": kind, "size": 8}, tmp_path)


@pytest.mark.parametrize("size", [10**9, -1, 0, 5, 1e3, True, "many", None])
@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_size_that_cannot_be_is_refused_before_anything_is_read(kind, size, tmp_path):
    with pytest.raises(XfmError, match="size is .*it must be a whole number from 6 to 1000000"):
        fit({"kind": kind, "size": size}, tmp_path, texts=None)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(XfmError, match="tokenizer.* cannot be written: No space left"):
        fit({"kind": "bpe", "size": 300}, tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()


def test_file_of_another_library(tmp_path):
    """A RoBERTa-like file, with truncation and padding stored in it, which must not act."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel()
    raw.decoder = decoders.ByteLevel()
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    raw.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=names,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    raw.enable_truncation(4)
    raw.enable_padding(length=50)
    raw.save(str(tmp_path / "theirs.json"))
    tokenizer = fit({"kind": "file", "path": str(tmp_path / "theirs.json")}, tmp_path, texts=None)
    v = tokenizer.vocabulary
    assert (v.cls, v.pad, v.sep, v.unknown, v.mask, v.size) == (0, 1, 2, 3, 4, 300)
    assert tokenizer.decode(tokenizer.encode(CODE)).strip() == CODE.strip()
    assert v.starts_word[tokenizer.encode(" area of")].sum() == 2


def test_bad_files(tmp_path):
    with pytest.raises(XfmError, match="none.json does not exist"):
        fit({"kind": "file", "path": str(tmp_path / "none.json")}, tmp_path)
    (tmp_path / "bad.json").write_text('{"model": 3}')
    with pytest.raises(XfmError, match="bad.json is not a tokenizer.json"):
        fit({"kind": "file", "path": str(tmp_path / "bad.json")}, tmp_path)
    with pytest.raises(XfmError, match="did you mean 'wordpiece'"):
        fit({"kind": "wordpeice"}, tmp_path)
