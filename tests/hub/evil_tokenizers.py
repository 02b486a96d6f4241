"""Folders whose tokeniser is damaged or made to do harm: name -> what is written over a good folder.

A value is a function of the content of tokenizer.json, which it changes in place, or a dict of files. `SENTENCES` is of
the files that make a checkpoint a sentence encoder.
"""

import base64
import copy
import json
import math
import struct
from pathlib import Path
from typing import Any

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b ##a".split()
GOOD = dict(
    version="1.0",
    truncation=None,
    padding=None,
    added_tokens=[
        dict(id=i, content=token, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        for i, token in enumerate(WORDS[:5])
    ],
    normalizer=dict(
        type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    ),
    pre_tokenizer=dict(type="BertPreTokenizer"),
    post_processor=None,
    decoder=None,
    model=dict(
        type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100,
        vocab={word: i for i, word in enumerate(WORDS)},
    ),
)  # fmt: skip
HUGE = 10**9


def changed(**parts: Any):
    return lambda content: content.update(parts)


def model(**parts: Any):
    return lambda content: content["model"].update(parts)


def added(**parts: Any):
    return lambda content: content["added_tokens"].append(dict(content["added_tokens"][0], id=8, content="<x>") | parts)


def settings(**parts: Any) -> dict[str, str]:
    return {"tokenizer_config.json": json.dumps(parts)}


def deep(kind: str, key: str, levels: int) -> str:
    content = json.dumps(GOOD)
    nested = "".join(f'{{"type":"Sequence","{key}":[' for _ in range(levels)) + "]}" * levels
    return content.replace(json.dumps(GOOD[kind]), nested)


def replace(pattern: Any, content: str) -> dict[str, Any]:
    return dict(type="Replace", pattern=pattern, content=content)


def sequence(*steps: Any) -> dict[str, Any]:
    return dict(type="Sequence", normalizers=list(steps))


def unigram(**parts: Any):
    vocab = [["<unk>", 0.0], ["[PAD]", 0.0], ["a", -1.0]]
    return changed(model=dict(type="Unigram", unk_id=0, vocab=vocab, byte_fallback=False) | parts, added_tokens=[])


def bpe(**parts: Any):
    usual = dict(
        type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
        fuse_unk=False, byte_fallback=False, vocab={"a": 0, "b": 1, "ab": 2, "[PAD]": 3}, merges=["a b"],
    )  # fmt: skip
    return changed(model=usual | parts, added_tokens=[])


def template(*single: Any, **more: Any):
    usual = dict(
        type="TemplateProcessing", single=list(single), pair=[A, B],
        special_tokens={"[CLS]": dict(id="[CLS]", ids=[2], tokens=["[CLS]"])},
    )  # fmt: skip
    return changed(post_processor=usual | more)


def split(regex: str):
    return changed(pre_tokenizer=dict(type="Split", pattern=dict(Regex=regex), behavior="Removed", invert=False))


def charsmap(trie: bytes, texts: bytes):
    whole = base64.b64encode(struct.pack("<I", len(trie)) + trie + texts).decode()
    return changed(normalizer=dict(type="Precompiled", precompiled_charsmap=whole))


def built(name: str, files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tokenizer.json": None} | settings(tokenizer_class=name, **more) | files


def pieces(*some: tuple[str, float, int]) -> bytes:
    """A model of SentencePiece: text, score and type of each piece."""
    made = b""
    for text, score, kind in some:
        one = (
            b"\x0a" + bytes([len(text)]) + text.encode() + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])
        )
        made += b"\x0a" + bytes([len(one)]) + one
    return made


A, B = (dict(Sequence=dict(id=name, type_id=0)) for name in "AB")
CLS = dict(SpecialToken=dict(id="[CLS]", type_id=0))
BYTES = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)

EVIL: dict[str, Any] = {
    # what is no tokenizer.json
    "empty": {"tokenizer.json": ""},
    "no object": {"tokenizer.json": "[]"},
    "null": {"tokenizer.json": "null"},
    "cut off": {"tokenizer.json": json.dumps(GOOD)[:300]},
    "not UTF-8": {"tokenizer.json": b"\xff\xfe{"},
    "brackets without end": {"tokenizer.json": "[" * 200_000},
    "objects without end": {"tokenizer.json": '{"a":' * 100_000},
    "normalisers in normalisers": {"tokenizer.json": deep("normalizer", "normalizers", 3000)},
    "cutters in cutters": {"tokenizer.json": deep("pre_tokenizer", "pretokenizers", 3000)},
    "cutters behind another key": changed(
        pre_tokenizer=dict(type="Sequence", normalizers=[], pretokenizers=[dict(type="BertPreTokenizer")] * 300)
    ),
    # wrong types, missing keys
    "no model": lambda content: content.pop("model"),
    "model is a number": changed(model=3),
    "model of no kind": model(type="Nothing"),
    "no vocabulary": lambda content: content["model"].pop("vocab"),
    "vocabulary is a list": model(vocab=["a"]),
    "vocabulary of texts": model(vocab={"a": "0"}),
    "vocabulary is null": model(vocab=None),
    "negative id": model(vocab={"[PAD]": 0, "a": -1}),
    "fraction as id": model(vocab={"[PAD]": 0, "a": 1.5}),
    "added tokens are an object": changed(added_tokens={}),
    "added token without content": lambda content: content["added_tokens"][0].pop("content"),
    "added token is a text": changed(added_tokens=["[PAD]"]),
    "normaliser of no kind": changed(normalizer=dict(type="Nothing")),
    "normaliser is a list": changed(normalizer=[]),
    "cutter is a text": changed(pre_tokenizer="BertPreTokenizer"),
    "processor is a number": changed(post_processor=3),
    "truncation is a text": changed(truncation="Left"),
    "padding is a number": changed(padding=3),
    # numbers
    "id of 10^9 in the vocabulary": model(vocab={"[PAD]": 0, "[UNK]": 1, "a": HUGE}),
    "id of 2^32-1 in the vocabulary": model(vocab={"[PAD]": 0, "[UNK]": 1, "a": 2**32 - 1}),
    "id of 2^64": model(vocab={"[PAD]": 0, "[UNK]": 1, "a": 2**64}),
    "added token with id 10^9": added(id=HUGE),
    "truncation of 2^64": changed(
        truncation=dict(direction="Right", max_length=2**64, strategy="LongestFirst", stride=0)
    ),
    "template with an id of 10^9": template(
        CLS, A, special_tokens={"[CLS]": dict(id="[CLS]", ids=[HUGE], tokens=["[CLS]"])}
    ),
    # what makes much of little
    "each letter becomes a million": changed(normalizer=replace(dict(Regex="."), "x" * 1_000_000)),
    "nothing becomes a million": changed(normalizer=replace(dict(Regex=""), "x" * 1_000_000)),
    "sixty doublings": changed(normalizer=sequence(*[replace(dict(String="a"), "aa")] * 60)),
    "sixty prefixes of themselves": changed(normalizer=sequence(*[replace(dict(Regex="(a)"), "aaa")] * 60)),
    "a hundred times bytes of bytes": changed(pre_tokenizer=dict(type="Sequence", pretokenizers=[BYTES] * 100)),
    "a hundred times bytes of bytes, normalised": changed(normalizer=sequence(*[dict(type="ByteLevel")] * 100)),
    "five times ten": changed(normalizer=sequence(*[replace(dict(Regex="a"), "a" * 10)] * 5)),
    "a prefix of a million": changed(normalizer=dict(type="Prepend", prepend="x" * 10_000_000)),
    "a text ten thousand times in its row": template(*[A] * 10_000),
    "thousands of specials around a text": template(*[CLS] * 20_000, A),
    "a special of a million ids": template(
        CLS, A, special_tokens={"[CLS]": dict(id="[CLS]", ids=[2] * 1_000_000, tokens=["[CLS]"])}
    ),
    "templates in a row": changed(
        post_processor=dict(
            type="Sequence",
            processors=[dict(type="TemplateProcessing", single=[A, A], pair=[A, B], special_tokens={})] * 40,
        )
    ),
    # regular expressions
    "regex that is none": split("(("),
    "regex without end": split("(?:" * 50_000 + "a" + ")" * 50_000),
    # models
    "unknown token that is not there": model(unk_token="<none>"),
    "unigram without unknown": unigram(unk_id=None, vocab=[["[PAD]", 0.0], ["a", -1.0]]),
    "unigram with unknown of 10^9": unigram(unk_id=HUGE),
    "unigram of nothing": unigram(vocab=[]),
    "unigram without numbers": unigram(vocab=[["<unk>", None], ["[PAD]", 0.0]]),
    "unigram of 10^400": {"tokenizer.json": json.dumps(GOOD).replace('"a": 5', '"a": 1e400')},
    "BPE with a merge of nothing": bpe(merges=["x y"]),
    "BPE with merges of three": bpe(merges=["a b c"]),
    "BPE with merges of numbers": bpe(merges=[1, 2]),
    "BPE with dropout of 7": bpe(dropout=7.0),
    "charsmap that is no base64": changed(normalizer=dict(type="Precompiled", precompiled_charsmap="§§")),
    "charsmap of nothing": changed(normalizer=dict(type="Precompiled", precompiled_charsmap="")),
    "charsmap that says it is larger": changed(
        normalizer=dict(type="Precompiled", precompiled_charsmap="/////wAAAAA=")
    ),
    "charsmap of rubbish": changed(
        normalizer=dict(type="Precompiled", precompiled_charsmap="CAAAAAEAAAD///////8BAgME")
    ),
    "charsmap that points outside": charsmap(b"\xff" * 1024, b"x\0"),
    "charsmap of a million": charsmap(b"\0" * 1024, b"x" * 1_000_000 + b"\0"),
    "an empty added token": added(content=""),
    # beside it
    "settings are a list": {"tokenizer_config.json": "[]"},
    "class is a list": settings(tokenizer_class=["BertTokenizer"]),
    "class is a number": settings(tokenizer_class=3),
    "auto_map is a number": settings(auto_map=3),
    "token is a number": settings(mask_token=3),
    "token is a list": settings(mask_token=["[MASK]"]),
    "token without content": settings(mask_token=dict(lstrip=True)),
    "token's content is a number": settings(mask_token=dict(content=4)),
    "decoder is a list": settings(added_tokens_decoder=["<x>"]),
    "decoder without numbers": settings(added_tokens_decoder={"x": dict(content="<x>")}),
    "decoder without content": settings(added_tokens_decoder={"8": {}}),
    "decoder of texts": settings(added_tokens_decoder={"8": "<x>"}),
    "decoder with id 10^9": settings(added_tokens_decoder={str(HUGE): dict(content="<x>")}),
    "decoder with an id of a million digits": settings(added_tokens_decoder={"9" * 1_000_000: dict(content="<x>")}),
    "decoder with a gap": settings(added_tokens_decoder={"99": dict(content="<x>")}),
    "additional is a number": settings(additional_special_tokens=3),
    "additional of numbers": settings(additional_special_tokens=[3]),
    "additional without end": settings(additional_special_tokens=[f"<{i}>" for i in range(110_000)]),
    "added_tokens.json is a list": {"added_tokens.json": "[]"},
    "added_tokens.json of texts": {"added_tokens.json": '{"<x>": "eight"}'},
    "added_tokens.json with 10^9": {"added_tokens.json": '{"<x>": 1000000000}'},
    "lower case is a text": settings(tokenizer_class="BertTokenizer", do_lower_case="no"),
    "Chinese is a number": settings(tokenizer_class="BertTokenizer", tokenize_chinese_chars=5),
    "accents are a list": settings(tokenizer_class="BertTokenizer", strip_accents=[]),
    "length is a text": settings(model_max_length="many"),
    "length is a list": settings(model_max_length=[512]),
    "length is not a number": {"tokenizer_config.json": '{"model_max_length": NaN}'},
    "length is negative": settings(model_max_length=-5),
    "length of a fraction": settings(model_max_length=0.5),
    "padding at the top": settings(padding_side="top"),
    "truncation is a number": settings(truncation_side=1),
    "type of padding is a text": settings(pad_token_type_id="one"),
    "type of padding is 10^30": settings(pad_token_type_id=10**30),
    "positions are a text": {"config.json": '{"model_type": "bert", "max_position_embeddings": "many"}'},
    "positions are a list": {"config.json": '{"model_type": "bert", "max_position_embeddings": []}'},
    "types are a text": {"config.json": '{"model_type": "bert", "type_vocab_size": "two"}'},
    "model_type is a list": {"config.json": '{"model_type": ["bert"]}'},
    "padding's id is a text": {
        "config.json": '{"model_type": "roberta", "max_position_embeddings": 9, "pad_token_id": "x"}'
    },
    # vocabularies without a tokenizer.json
    "words that are not UTF-8": built("BertTokenizer", {"vocab.txt": b"\xff\xfe"}),
    "words without [UNK]": built("BertTokenizer", {"vocab.txt": "a\nb\n"}),
    "no words": built("BertTokenizer", {"vocab.txt": ""}),
    "merges of others": built("RobertaTokenizer", {"vocab.json": '{"a": 0}', "merges.txt": "x y\n"}),
    "merges of one": built("RobertaTokenizer", {"vocab.json": '{"a": 0}', "merges.txt": "a\n"}),
    "vocabulary that is a list": built("RobertaTokenizer", {"vocab.json": "[]", "merges.txt": ""}),
    "vocabulary with texts": built("RobertaTokenizer", {"vocab.json": '{"a": "0"}', "merges.txt": ""}),
    "vocabulary with 10^12": built("RobertaTokenizer", {"vocab.json": '{"a": 1000000000000}', "merges.txt": ""}),
    "10^9 spans of ByT5": built("ByT5Tokenizer", {}, extra_ids=HUGE),
    "-1 spans of ByT5": built("ByT5Tokenizer", {}, extra_ids=-1),
    "spans of ByT5 as a text": built("ByT5Tokenizer", {}, extra_ids="many"),
    "10^9 spans of T5": built("T5Tokenizer", {"spiece.model": pieces(("<unk>", 0.0, 2))}, extra_ids=HUGE),
    "pieces of nothing": built("T5Tokenizer", {"spiece.model": b""}),
    "pieces without unknown": built("T5Tokenizer", {"spiece.model": pieces(("a", 0.0, 1))}),
    "pieces without numbers": built("T5Tokenizer", {"spiece.model": pieces(("<unk>", 0.0, 2), ("a", math.nan, 1))}),
    "pieces that end outside": built("T5Tokenizer", {"spiece.model": pieces(("<unk>", 0.0, 2))[:-3]}),
    "a field of 2^60 bytes": built("T5Tokenizer", {"spiece.model": b"\x0a" + b"\xff" * 8 + b"\x0f"}),
    "pieces with a damaged table of characters": built(
        "T5Tokenizer", {"spiece.model": pieces(("<unk>", 0.0, 2)) + b"\x1a\x0a\x12\x08\xff\xff\xff\xff\0\0\0\0"}
    ),
}


def write(root: Path, what: str) -> Path:
    """A good folder with one thing that is evil."""
    evil, content = EVIL[what], copy.deepcopy(GOOD)
    if callable(evil):
        evil(content)
        evil = {}
    files = {"config.json": '{"model_type": "bert"}', "tokenizer_config.json": "{}"}
    files |= {"tokenizer.json": json.dumps(content)} | evil
    for name, text in files.items():
        if text is not None:
            (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def rows(*types: Any) -> str:
    return json.dumps([dict(idx=i, name=str(i), path=path, type=kind) for i, (kind, path) in enumerate(types)])


T, P = (f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling"))
DENSE = "sentence_transformers.models.Dense"
BEGINNING = ((T, ""), (P, "1_Pooling"))
SETTINGS = "config_sentence_transformers.json"


def dense(**config: Any) -> dict[str, str]:
    return {"modules.json": rows(*BEGINNING, (DENSE, "2_Dense")), "2_Dense/config.json": json.dumps(config)}


SENTENCES: dict[str, dict[str, Any]] = {
    "modules are a number": {"modules.json": "3"},
    "modules are an object": {"modules.json": '{"idx": 0}'},
    "modules are texts": {"modules.json": '["Transformer"]'},
    "modules are nothing": {"modules.json": "[]"},
    "modules are null": {"modules.json": "[null]"},
    "modules in modules": {"modules.json": "[" * 100_000},
    "modules without a path": {"modules.json": '[{"idx": 0, "type": "x"}]'},
    "modules of mixed numbers": {"modules.json": '[{"idx": 0, "type": "x", "path": ""}, {"idx": "1"}]'},
    "modules not of UTF-8": {"modules.json": b"\xff"},
    "one module": {"modules.json": rows((T, ""))},
    "two poolings": {"modules.json": rows(*BEGINNING, (P, "1_Pooling"))},
    "two transformers": {"modules.json": rows(*BEGINNING, (T, ""))},
    "a module of another package": {"modules.json": rows((T, ""), ("os.system", "1_Pooling"))},
    "a type that is a list": {"modules.json": rows((T, ""), ([P], "1_Pooling"))},
    "a path to elsewhere": {"modules.json": rows((T, ""), (P, "../1_Pooling"))},
    "a path that is a list": {"modules.json": rows((T, ""), (P, ["1_Pooling"]))},
    "a path that is not there": {"modules.json": rows((T, ""), (P, "9_Pooling"))},
    "pooling is a list": {"1_Pooling/config.json": "[]"},
    "mode is a number": {"1_Pooling/config.json": '{"pooling_mode": 3}'},
    "mode is a list of lists": {"1_Pooling/config.json": '{"pooling_mode": [["mean"]]}'},
    "no mode": {"1_Pooling/config.json": '{"pooling_mode": []}'},
    "mode that is none": {"1_Pooling/config.json": '{"pooling_mode": "median"}'},
    "mode is a text": {"1_Pooling/config.json": '{"pooling_mode_mean_tokens": "yes"}'},
    "prompt is a text": {"1_Pooling/config.json": '{"include_prompt": "yes"}'},
    "length is a text": {"sentence_bert_config.json": '{"max_seq_length": "64"}'},
    "length is a list": {"sentence_bert_config.json": '{"max_seq_length": [64]}'},
    "length is nothing": {"sentence_bert_config.json": '{"max_seq_length": 0}'},
    "length is negative": {"sentence_bert_config.json": '{"max_seq_length": -1}'},
    "length is true": {"sentence_bert_config.json": '{"max_seq_length": true}'},
    "length is infinite": {"sentence_bert_config.json": '{"max_seq_length": Infinity}'},
    "lower is a text": {"sentence_bert_config.json": '{"do_lower_case": "no"}'},
    "settings are a list": {SETTINGS: "[]"},
    "prompts are a list": {SETTINGS: '{"prompts": ["query"]}'},
    "prompts are numbers": {SETTINGS: '{"prompts": {"query": 3}}'},
    "prompts are a text": {SETTINGS: '{"prompts": "query"}'},
    "default prompt is a list": {SETTINGS: '{"default_prompt_name": ["query"]}'},
    "similarity is a list": {SETTINGS: '{"similarity_fn_name": ["cosine"]}'},
    "truncation is a text": {SETTINGS: '{"truncate_dim": "8"}'},
    "truncation is negative": {SETTINGS: '{"truncate_dim": -8}'},
    "release is a list": {SETTINGS: '{"__version__": ["2.0"]}'},
    "dense activation is a list": dense(activation_function=["x"]),
    "dense activation is code": dense(activation_function="os.system"),
    "dense bias is a text": dense(bias="no"),
    "dense without weights": dense(in_features=8, out_features=8),
}  # fmt: skip


def write_sentences(root: Path, what: str) -> Path:
    """A good sentence encoder's files, without a checkpoint, with one thing that is evil."""
    files = {"modules.json": rows(*BEGINNING), "1_Pooling/config.json": "{}", "config.json": "{}"} | SENTENCES[what]
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root
