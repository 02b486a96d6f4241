"""Writes the golden of rows: random texts with special and added tokens, pairs, cut at either end, by transformers.

    oracle/bin/python -m tests.hub.make_tokenizer_rows

The files are those of tokenizers.json (see `tests.hub.make_tokenizers`), and `files` for the kinds that it lacks. Each
case has `settings` to be put into tokenizer_config.json, which name two more tokens, and rows: [texts, length, side of
truncation, ids, types].
"""

import base64
import json
import pathlib
import random
import tempfile

import transformers

from tests.hub.make_tokenizers import PATH, word_pieces

OUT = PATH.with_name("tokenizer_rows.json")
WORDS = "the code returns one list Hello World naïve café a.b(c) x_1 3,000 don't stop 日本 mixed   tabs\tand".split(" ")
ASCII = {"deberta_v2"}  # transformers 5 has NFC in place of the model's own table of characters
SINGLE = {"deberta"}  # its pairs have two separators without types there
CLASSES = {"funnel": ("funnel", "FunnelTokenizer"), "canine": ("canine", "CanineTokenizer")}
SKIPPED = ("bert_no_chinese", "bert_accents", "bert_cased_no_accents")  # they differ in what another golden holds


def sources():
    known = json.loads(PATH.read_text())
    for name, case in known["cases"].items():
        if name not in SKIPPED:
            files = {file: known["contents"][number] for file, number in case["files"].items()}
            yield name, case["config"], files, {}
    pieces = word_pieces(["<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>"])
    for name, (kind, cls) in CLASSES.items():
        files = {"tokenizer_config.json": json.dumps(dict(tokenizer_class=cls))}
        files |= {"vocab.txt": pieces} if name == "funnel" else {}
        yield name, dict(model_type=kind), files, files


def read(folder, files, settings, side="right"):
    for file, content in files.items():
        data = base64.b64decode(content[7:]) if content.startswith("base64:") else content.encode()
        if file == "tokenizer_config.json":
            data = json.dumps(json.loads(content) | settings | dict(truncation_side=side)).encode()
        (folder / file).write_bytes(data)
    cls = json.loads(files["tokenizer_config.json"])["tokenizer_class"]
    return getattr(transformers, cls).from_pretrained(folder)


def added(name, plain):
    """Two more tokens, beside what such files list anyway: DeBERTa's mask, and all of ByT5's that are no bytes."""
    size = len(plain)
    token = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    made = [dict(token, content="<user>", special=True), dict(token, content="wordy", special=False)]
    if name != "byt5":
        listed = {plain.mask_token_id: dict(token, content="[MASK]", special=True)} if name == "deberta_v2" else {}
        return dict(added_tokens_decoder=listed | {size + i: one for i, one in enumerate(made)})
    spans = [f"<extra_id_{i}>" for i in range(5)]
    first = {i: dict(token, content=name, special=True) for i, name in enumerate(("<pad>", "</s>", "<unk>"))}
    more = {259 + i: dict(token, content=name, special=True) for i, name in enumerate(spans)}
    return dict(extra_ids=5, added_tokens_decoder=first | more | {264: made[0], 265: made[1]})


def text_of(rng, name, tokens):
    words = [word for word in WORDS if name not in ASCII or word.isascii()]
    some = [rng.choice(tokens) if rng.random() < 0.25 else rng.choice(words) for _ in range(rng.randint(1, 14))]
    joined = some[0]
    for word in some[1:]:  # a blank before a mask is the mask's in some releases, and beside ByT5's tokens a byte
        bare = (word in tokens or joined.endswith(tuple(tokens))) and name in ("byt5", "canine")
        joined += ("" if bare or word == "<mask>" else " ") + word
    return joined + "." * joined.endswith("</s>")  # after which ByT5 puts no other


def rows(name, sides, tokens):
    rng = random.Random(name)
    for i in range(16):
        pair = i % 2 and name not in SINGLE
        texts = [text_of(rng, name, tokens) for _ in range(2 if pair else 1)]
        length, side = rng.choice((8, 9, 12, 13, 17, 40)), ("right", "left")[i // 2 % 2]
        more = dict(truncation=True, max_length=length, return_token_type_ids=True)
        found = sides[side](*([text] for text in texts), **more)
        yield [texts, length, side, found["input_ids"][0], found["token_type_ids"][0]]


if __name__ == "__main__":
    made = {}
    for name, config, files, own in sources():
        with tempfile.TemporaryDirectory() as folder:
            plain = read(pathlib.Path(folder), files, {})
        settings = {} if name == "canine" else added(name, plain)
        sides = {}
        for side in ("right", "left"):
            with tempfile.TemporaryDirectory() as folder:
                sides[side] = read(pathlib.Path(folder), files, settings, side)
        roles = ("cls_token", "sep_token", "mask_token", "unk_token", "pad_token", "eos_token")
        tokens = sorted({getattr(plain, role) for role in roles} - {None}) + ["<user>", "wordy"]
        made[name] = dict(config=config, settings=settings, files=own, rows=list(rows(name, sides, tokens)))
    content = dict(version=transformers.__version__, cases=made)
    OUT.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False) + "\n")
    print(OUT.name, OUT.stat().st_size, "bytes")
