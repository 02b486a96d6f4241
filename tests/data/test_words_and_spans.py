"""Tags and answers stand at the tokens of their words, whatever the tokeniser, and every one of them is judged once."""

import json

import numpy as np
import pytest

from xfm.batch import part_of, prefixes, texts_of_row
from xfm.data import open_data
from xfm.data.tagged import aligned_words, owners
from xfm.errors import XfmError
from xfm.spec import build
from xfm.tokenizers import TOKENIZERS
from xfm.tokenizers.template import windows

CONLL = """-DOCSTART- -X- O O

Über NN I-NP I-PER
dinner NN I-NP O

He\tPRP\tB-NP\tB-LOC
sat\tVB\tO\tO
"""


@pytest.mark.parametrize("kind", ["bytes", "wordpiece", "bpe"])
def test_each_token_knows_its_word(tmp_path, kind):
    words = ["def", "über_lang", "(", "x", ")", ":", "naïve", "...", "end"] * 3
    spec = dict(kind=kind) if kind == "bytes" else dict(kind=kind, size=300)
    tokenizer = build(TOKENIZERS, spec).fit(lambda: iter([" ".join(words)]), "x", tmp_path)
    ids, word = aligned_words(tokenizer, words)
    np.testing.assert_array_equal(ids, tokenizer.encode(" ".join(words)))
    assert (np.diff(word[word >= 0]) >= 0).all() and set(word[word >= 0]) == set(range(len(words)))
    for number in range(len(words)):
        text = tokenizer.decode(ids[word == number])
        assert "".join(text.split()) == words[number]


def test_conll_columns(tmp_path):
    (tmp_path / "train.conll").write_text(CONLL)
    (tmp_path / "dev.conll").write_text("it O\nis B-LOC\n")
    spec = dict(kind="tagged", path=str(tmp_path), validation="dev.conll", tokenizer=dict(kind="bytes"), length=24)
    data = open_data(spec, tmp_path)
    assert data.classes == ("B-LOC", "I-PER", "O")
    row = data.train[0]
    judged = np.flatnonzero(row["weights"])
    assert judged.tolist() == [1, 1 + len("Über ".encode())] and row["labels"][judged].tolist() == [1, 2]
    assert data.train.truth[0] == ["I-PER", "O"] and data.train.words(0) == (0, {0: 1, 1: int(judged[1])})
    every = open_data({**spec, "pieces": "all"}, tmp_path).train[0]
    assert every["weights"].sum() == len("Überdinner".encode())
    (tmp_path / "dev.conll").write_text(CONLL)
    assert open_data({**spec, "column": 1}, tmp_path).valid.truth == [["NN", "NN"], ["PRP", "VB"]]
    (tmp_path / "dev.conll").write_text("it O\n\nHe O\nNew York B-LOC\n")
    with pytest.raises(
        XfmError, match="dev.conll:4 has 3 columns where line 3, of the same sentence, has 2; a word cannot"
    ):
        open_data(spec, tmp_path)
    (tmp_path / "dev.conll").write_text("it x O\n\nHe O\n")  # sentences may differ
    assert open_data(spec, tmp_path).valid.truth == [["O"], ["O"]]
    (tmp_path / "dev.conll").write_text("it\n")
    with pytest.raises(XfmError, match="dev.conll:1 has no tag after 'it'"):
        open_data(spec, tmp_path)


def test_long_sentences_are_judged_once(tmp_path):
    rows = [
        dict(tokens=[f"w{i}" for i in range(n)], tags=["B-a" if i % 3 else "O" for i in range(n)])
        for n in (0, 1, 40, 7)
    ]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = dict(kind="tagged", path=str(tmp_path), validation="dev.jsonl", tokenizer=dict(kind="bytes"), length=16)
    source = open_data({**spec, "stride": 6}, tmp_path).train
    judged = [source.words(i) for i in range(len(source))]
    for sentence, row in enumerate(rows):
        found = sorted(word for s, words in judged if s == sentence for word in words)
        assert found == list(range(len(row["tokens"])))
    for i in range(len(source)):
        sentence, words = source.words(i)
        row = source[i]
        for word, position in words.items():
            assert row["weights"][position] and row["labels"][position] == (rows[sentence]["tags"][word] == "O")
    (tmp_path / "dev.jsonl").write_text(json.dumps(dict(tokens=["a"], tags=[])) + "\n")
    with pytest.raises(XfmError, match="dev.jsonl:1 has 1 words and 0 tags"):
        open_data(spec, tmp_path)


def test_a_token_belongs_where_it_stands_deepest():
    spans = list(windows(20, 8, 4))
    owner = owners(20, spans)
    assert owner.tolist() == sorted(owner) and owner[0] == 0 and owner[-1] == len(spans) - 1
    assert all(i in spans[w] for i, w in enumerate(owner)) and owner[5] == 0 and owner[6] == 1


CONTEXT = "The café of Zoë stands by the river. " * 3 + "It opened in 1875 and closed late."


def squad(tmp_path, impossible=False):
    ask = dict(id="1", question="When did it open?", answers=[dict(text="1875", answer_start=CONTEXT.index("1875"))])
    none = dict(id="2", question="Who?", answers=[], is_impossible=True)
    content = dict(data=[dict(paragraphs=[dict(context=CONTEXT, qas=[ask, *([none] if impossible else [])])])])
    for name in ("train", "dev"):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return dict(
        kind="spans", path=str(tmp_path), validation="dev.json", tokenizer=dict(kind="bytes"), length=64, stride=20
    )


@pytest.mark.parametrize("stride", [20, 1])
def test_answers_stand_in_the_windows_that_hold_them(tmp_path, stride):
    data = open_data(squad(tmp_path, impossible=True) | dict(stride=stride), tmp_path)
    source, held, seen = data.train, 0, {0: set(), 1: set()}
    for i in range(len(source)):
        row = source[i]
        number, characters = source.characters(i)
        start = source.start(i)
        assert row["types"][start] == 1 and row["tokens"][start - 1] == 3
        text = CONTEXT[characters[0, 0] : characters[-1, 1]]
        assert data.tokenizer.decode(row["tokens"][start : start + len(characters)]).strip("\ufffd") in text
        seen[number] |= set(range(characters[0, 0], characters[-1, 1]))
        first, last = row["labels"]
        if first:
            held += 1
            assert number == 0 and data.tokenizer.decode(row["tokens"][first : last + 1]) == "1875"
        else:
            assert last == 0 and (number == 1 or "1875" not in text)
    assert held >= 1 and all(chars == set(range(len(CONTEXT))) for chars in seen.values())


def test_a_file_that_is_no_squad(tmp_path):
    spec = squad(tmp_path)
    text = (tmp_path / "dev.json").read_text()
    for wrong, words in (
        (text.replace('"answer_start": ', '"answer_start": 1'), "does not read '1875' at character"),
        (text.replace("paragraphs", "pages"), "not in SQuAD's format .KeyError: 'paragraphs'"),
        ("[]", "not in SQuAD's format"),
    ):
        (tmp_path / "dev.json").write_text(wrong)
        with pytest.raises(XfmError, match=words):
            open_data(spec, tmp_path)
    squad(tmp_path)
    with pytest.raises(XfmError, match="length=8 leaves no room for a context after a question of 17 tokens"):
        open_data({**spec, "length": 8}, tmp_path)


def test_pairs_and_triples(tmp_path):
    rows = [dict(query=f"q{i}", positive=f"p{i}", negative=f"n{i}", score=i / 2) for i in range(8)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = dict(kind="pairs", path=str(tmp_path), validation=0.4, tokenizer=dict(kind="bytes"), length=12)
    data = open_data({**spec, "texts": ("query", "positive", "negative"), "prompts": ("ask: ", "", "")}, tmp_path)
    row = data.train[0]
    assert prefixes(row) == ("", "negative", "positive") and len(row) == 9
    parts = [part_of(row, prefix) for prefix in texts_of_row(3)]
    assert all(part["tokens"].shape == (12,) and set(part) == {"tokens", "segments", "types"} for part in parts)
    texts = [data.tokenizer.decode(part["tokens"]) for part in parts]
    assert [t[:-1] for t in texts] == ["ask: q", "p", "n"] and len({t[-1] for t in texts}) == 1
    scored = open_data({**spec, "label": "score", "scale": 5.0}, tmp_path)
    scores = [side[i]["labels"] for side in (scored.train, scored.valid) for i in range(len(side))]
    assert {score.dtype for score in scores} == {np.dtype("float32")}
    np.testing.assert_allclose(np.sort(scores), np.arange(8) / 10, rtol=1e-6)
