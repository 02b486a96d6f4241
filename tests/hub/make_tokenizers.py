"""Writes the golden of the tokenisers: what transformers and sentencepiece make of tricky texts.

    oracle/bin/pip install transformers==5.23.0 sentencepiece==0.2.3 protobuf
    oracle/bin/python -m tests.hub.make_tokenizers

The vocabularies are small and trained here. The golden is one JSON: `contents` of files (text, or base64 after
"base64:"), and for each case `files` (name -> number of its content), `config`, and for each text the `ids` and `types`
that transformers gives; `pieces` are what sentencepiece itself makes of the text, without special tokens.
"""

import base64
import inspect
import io
import json
import pathlib
import tempfile

import sentencepiece
import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

PATH = pathlib.Path(__file__).parents[1] / "goldens" / "hub" / "tokenizers.json"
TEXTS = [
    "",
    " ",
    "Hello, World!",
    "naïve café ÀÉÎ ñ ß İstanbul",
    "中文字符 mixed 日本語テキスト 한국어",
    "😀👩\u200d👩\u200d👧 emoji",
    "tabs\tand\nnew lines\r\n",
    "control\x00\x01\x7f\u200b\ufeffend",
    "a\u0301 combining e\u0308",
    "ﬁ ligature ＦＵＬＬ",
    "don't stop -- it's 3,000.50%",
    "x" * 150,
    "[MASK] and [SEP] inside",
    "a <mask> here </s>",
    "  leading and   trailing  ",
    "שלום مرحبا",
    "𝔘𝔫𝔦 math",
    "``quoted'' text",
    "1,000, 2,",
    "a\u00a0b\u3000c",
    "UPPER lower MiXeD",
    "snake_case.attr[0]",
]
PAIRS = [("a question?", "an answer"), ("", "one side"), ("both sides", "")]
SPECIAL = {
    "xlm-roberta": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1),
    "camembert": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=-1),
    "t5": dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
    "albert": dict(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols="[CLS],[SEP],[MASK]"),
    "fnet": dict(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols="[CLS],[SEP],[MASK]"),
    "xlnet": dict(unk_id=0, bos_id=1, eos_id=2, pad_id=5, control_symbols="<cls>,<sep>,<mask>,<eod>,<eop>"),
    "deberta-v2": dict(
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
    ),
}
CLASSES = {
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "t5": "T5Tokenizer",
    "albert": "AlbertTokenizer",
    "fnet": "AlbertTokenizer",
    "xlnet": "XLNetTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
NAMES = {
    "t5": "spiece.model",
    "albert": "spiece.model",
    "fnet": "spiece.model",
    "xlnet": "spiece.model",
    "deberta-v2": "spm.model",
}


def corpus():
    yield from TEXTS
    for module in (json, pathlib, inspect):
        yield from (line for line in inspect.getsource(module).splitlines() if line.strip())


def rules(path):
    """A small table of characters: width, ligatures, blanks, accents."""
    rows = [f"{0xFF00 + i:X}\t{0x20 + i:X}" for i in range(1, 95)]
    rows += [f"{c:X}\t20" for c in (0x9, 0xA, 0xD, 0xA0, 0x3000)]
    rows += ["FB01\t66 69", "61 301\tE1", "65 308\tEB", "1D518\t55"]
    rows += [f"{c:X}\t" for c in (0x1, 0x7F, 0x200B, 0xFEFF)]
    path.write_text("\n".join(rows) + "\n")


def unigram(kind):
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder) / "rules.tsv"
        rules(table)
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text for text in corpus() if "\x00" not in text]),
            model_writer=out,
            vocab_size=240,
            model_type="unigram",
            character_coverage=0.995,
            normalization_rule_tsv=str(table),
            num_threads=1,
            minloglevel=2,
            **SPECIAL[kind],
        )
    return out.getvalue()


def word_pieces(first):
    lower = Tokenizer(models.WordPiece(unk_token=first[1]))
    lower.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = [text for text in corpus()] + [text.lower() for text in corpus()] + ["cafe naive aei n uni istanbul " * 3]
    lower.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=420, special_tokens=first, show_progress=False)
    )
    vocab = lower.get_vocab()
    return "".join(f"{token}\n" for token in sorted(vocab, key=vocab.get))


def byte_pairs(first, suffix=None):
    ends = dict(end_of_word_suffix=suffix) if suffix else {}
    bpe = Tokenizer(models.BPE(**ends))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=620 if suffix else 380, special_tokens=first, initial_alphabet=alphabet, show_progress=False, **ends
    )
    bpe.train_from_iterator(corpus(), trainer)
    stored = json.loads(bpe.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["merges"]]
    vocab = stored["vocab"]
    if suffix:
        vocab |= {
            f"{c}{suffix}": len(vocab) + i for i, c in enumerate(c for c in alphabet if f"{c}{suffix}" not in vocab)
        }
    return {
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n" + "\n".join(merges) + "\n",
    }


def cases():
    brackets = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    angles = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = word_pieces(brackets)
    for name, options in {
        "bert_lower": dict(),
        "bert_cased": dict(do_lower_case=False),
        "bert_no_chinese": dict(tokenize_chinese_chars=False),
        "bert_accents": dict(strip_accents=False),
        "bert_cased_no_accents": dict(do_lower_case=False, strip_accents=True),
    }.items():
        yield name, "bert", "BertTokenizer", {"vocab.txt": vocab}, options
    yield (
        "mpnet",
        "mpnet",
        "MPNetTokenizer",
        {"vocab.txt": word_pieces(["<s>", "[UNK]", "</s>", "<pad>", "<mask>"])},
        {},
    )
    yield "roberta", "roberta", "RobertaTokenizer", byte_pairs(angles), {}
    yield "roberta_prefix", "roberta", "RobertaTokenizer", byte_pairs(angles), dict(add_prefix_space=True)
    yield "gpt2", "gpt2", "GPT2Tokenizer", byte_pairs(["<|endoftext|>"]), {}
    yield "deberta", "deberta", "DebertaTokenizer", byte_pairs(brackets), {}
    yield "clip", "clip", "CLIPTokenizer", byte_pairs(["<|startoftext|>", "<|endoftext|>"], "</w>"), {}
    yield "byt5", "t5", "ByT5Tokenizer", {}, dict(extra_ids=125)
    for kind, name in CLASSES.items():
        options = dict(do_lower_case=False, keep_accents=True) if kind == "fnet" else {}
        file = NAMES.get(kind, "sentencepiece.bpe.model")
        yield kind.replace("-", "_"), kind, name, {file: unigram(kind)}, options


def answer(name, model_type, cls, files, options, contents):
    case = dict(config=dict(model_type=model_type), files={}, texts=[], pairs=[])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        settings = dict(tokenizer_class=cls, **options)
        files = files | {"tokenizer_config.json": json.dumps(settings)}
        for file, content in files.items():
            content = content if isinstance(content, bytes) else content.encode()
            (folder / file).write_bytes(content)
            binary = file.endswith(".model")
            text = "base64:" + base64.b64encode(content).decode() if binary else content.decode()
            if text not in contents:
                contents.append(text)
            case["files"][file] = contents.index(text)
        theirs = getattr(transformers, cls).from_pretrained(folder, **options)
        model = next((c for f, c in files.items() if f.endswith(".model")), None)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model) if model else None
    for text in TEXTS:
        found = theirs(text, return_token_type_ids=True)
        one = dict(text=text, ids=found["input_ids"], types=found["token_type_ids"])
        if processor:
            one["pieces"] = [processor.id_to_piece(i) for i in processor.encode(text)]
        case["texts"].append(one)
    for first, second in PAIRS:
        found = theirs([first], [second], return_token_type_ids=True)
        case["pairs"].append(dict(text=[first, second], ids=found["input_ids"][0], types=found["token_type_ids"][0]))
    case["special"] = {role: getattr(theirs, f"{role}_token_id") for role in ("pad", "unk", "cls", "sep", "mask")}
    print(f"{name:24} {len(theirs):5} tokens")
    return case


if __name__ == "__main__":
    contents = []
    made = {name: answer(name, *rest, contents) for name, *rest in cases()}
    versions = {m.__name__: m.__version__ for m in (transformers, tokenizers, sentencepiece)}
    PATH.write_text(json.dumps(dict(versions=versions, contents=contents, cases=made), separators=(",", ":")) + "\n")
    print(PATH.name, PATH.stat().st_size, "bytes")
