"""Rows of training are what inference reads, and both what transformers reads, for every kind of tokeniser folder."""

import base64
import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from xfm.data import open_data  # noqa: E402
from xfm.data.tagged import aligned_words  # noqa: E402
from xfm.spec import build  # noqa: E402
from xfm.tokenizers import TOKENIZERS  # noqa: E402
from xfm.tokenizers.checkpoint.tokenizer import read_file, read_tokenizer  # noqa: E402

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hub"
KNOWN = json.loads((GOLDENS / "tokenizers.json").read_text())
CASES = json.loads((GOLDENS / "tokenizer_rows.json").read_text())["cases"]
# transformers gives GPT-2's pairs types, which the network does not have; its release 5 gives CANINE's none.
WITHOUT_TYPES = {"gpt2", "canine"}
SIDES = ("right", "left")


def written(folder, name, side="right"):
    """The folder of a case, with a config.json, as a checkpoint has it."""
    case = CASES[name]
    files = case["files"] or {file: KNOWN["contents"][n] for file, n in KNOWN["cases"][name]["files"].items()}
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        if file == "tokenizer_config.json":
            content = json.dumps(json.loads(content) | case["settings"] | dict(truncation_side=side))
        data = base64.b64decode(content[7:]) if content.startswith("base64:") else content.encode()
        (folder / file).write_bytes(data)
    (folder / "config.json").write_text(json.dumps(case["config"]))
    return folder


def stored(folder, name):
    """The same tokeniser as a tokenizer.json."""
    backend = read_tokenizer(folder, CASES[name]["config"]).backend
    backend.no_truncation()
    for file in folder.iterdir():
        if file.name not in ("config.json", "tokenizer_config.json"):
            file.unlink()
    backend.save(str(folder / "tokenizer.json"))
    return folder


def of_training(folder):
    return build(TOKENIZERS, dict(kind="checkpoint", source=str(folder))).fit(None, "", folder)


@pytest.mark.parametrize("form", ["files", "tokenizer.json"])
@pytest.mark.parametrize("name", CASES)
def test_rows_of_training_are_those_of_inference_and_of_transformers(name, form, tmp_path):
    if form == "tokenizer.json" and name == "canine":
        pytest.skip("code points have no file")
    for side in SIDES:
        folder = written(tmp_path / side, name, side)
        folder = folder if form == "files" else stored(folder, name)
        inference, training = read_tokenizer(folder, CASES[name]["config"]), of_training(folder)
        for texts, length, cut, ids, types in CASES[name]["rows"]:
            if cut == side:
                (row,) = training.joined([[text] for text in texts], length)
                read = inference.read(*([text] for text in texts), max_length=length)
                assert row.ids.tolist() == read[0][0] == ids, texts
                assert row.types.tolist() == read[1][0] and (name in WITHOUT_TYPES or types == read[1][0]), texts
                assert row.cut == (len(inference.read(*([text] for text in texts), max_length=999)[0][0]) > length)


@pytest.mark.parametrize("name", ["bert_lower", "roberta", "xlm_roberta", "xlnet", "t5", "byt5", "canine", "clip"])
def test_bare_ids_and_their_positions(name, tmp_path):
    """A special token in a text is one token at a position of its own, and so words and answers around it are found."""
    tokenizer = of_training(written(tmp_path, name))
    special = {"canine": "\ue001", "byt5": "<extra_id_1>"}.get(name, "<user>")
    words = ["one", special, "code"]
    ids, word = aligned_words(tokenizer, words)
    np.testing.assert_array_equal(ids, tokenizer.encode(" ".join(words)))
    assert set(word[word >= 0]) == {0, 1, 2}
    (number,) = {tokenizer.encode(special)[-1]}
    at = np.flatnonzero(ids == number)
    assert len(at) == 1 and word[at[0]] == 1 and number in tokenizer.vocabulary.special
    joined, types = tokenizer.joined([["one code"]], 32)[0][:2]
    pieces = tokenizer.template(1)
    place = [what for what, _ in pieces].index("a")
    bare = tokenizer.encode("one code")
    np.testing.assert_array_equal(joined[place : place + len(bare)], bare)
    assert [what for what, _ in pieces if what != "a"] == [*joined[:place], *joined[place + len(bare) :]]
    assert [kind for _, kind in pieces] == [*types[: place + 1], *types[place + len(bare) :]]


def test_a_file_and_a_trained_tokeniser_read_as_their_converted_form_does(tmp_path):
    """The kinds "wordpiece" and "file": what the run wrote is read with its specials as ids, and joined alike."""
    texts = ["def area(width): return [MASK] width", "the area of one [SEP] width is two"]
    spec = dict(kind="wordpiece", size=120)
    trained = build(TOKENIZERS, spec).fit(lambda: iter(texts * 20), "c", tmp_path)
    path = tmp_path / "tokenizer.json"
    loaded = build(TOKENIZERS, dict(kind="file", path=str(path))).fit(None, "", tmp_path)
    inference = read_file(path)
    for length in (6, 7, 40):
        for pair in (texts[:1], texts):
            row, again = (one.joined([[text] for text in pair], length)[0] for one in (trained, loaded))
            assert (
                row.ids.tolist() == again.ids.tolist() == inference.read(*([t] for t in pair), max_length=length)[0][0]
            )
            assert row.ids[0] == 2 and row.ids[-1] == 3
    assert 4 in trained.joined([texts[:1]], 40)[0].ids[1:-1] and trained.fingerprint() == loaded.fingerprint()


@pytest.mark.parametrize("name", ["xlnet", "funnel", "bert_lower", "roberta"])
def test_rows_have_the_token_types_that_inference_gives(name, tmp_path):
    """XLNet's and Funnel's first token has a type of its own, whatever number of types the data declares."""
    folder = written(tmp_path / "m", name)
    (tmp_path / "d.jsonl").write_text(
        "".join(json.dumps(dict(a="one", b="code", label=i % 2)) + "\n" for i in range(40))
    )
    tokenizer = dict(kind="checkpoint", source=str(folder))
    spec = dict(kind="labelled", path=str(tmp_path / "d.jsonl"), texts=("a", "b"), length=16, tokenizer=tokenizer)
    row = open_data(spec | dict(kinds=1 if name != "bert_lower" else 2), tmp_path).train[0]
    real = row["segments"] > 0
    found = read_tokenizer(folder, CASES[name]["config"])(["one"], ["code"])
    types = found.get("token_type_ids", np.zeros_like(found["input_ids"]))
    np.testing.assert_array_equal(row["tokens"][real], found["input_ids"][0])
    np.testing.assert_array_equal(row["types"][real], types[0])
    assert real.sum() < 16 and len({*row["tokens"][~real]}) == 1


def test_the_end_that_a_tokenizer_json_cuts_is_kept(tmp_path):
    folder = stored(written(tmp_path, "bert_lower"), "bert_lower")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = dict(direction="Left", max_length=5, strategy="LongestFirst", stride=0)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["truncation_side"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    inference = read_tokenizer(folder, CASES["bert_lower"]["config"])
    whole = inference.read("one code the list")[0][0]
    assert inference.read("one code the list", max_length=6)[0][0][1:-1] == whole[1:-1][-4:]
    alone = build(TOKENIZERS, dict(kind="file", path=str(folder / "tokenizer.json"))).fit(None, "", folder)
    assert alone.joined([["one code the list"]], 6)[0].ids[1:-1].tolist() == whole[1:-1][-4:]
