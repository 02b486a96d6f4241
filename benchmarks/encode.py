"""Texts encoded per second on two CPU cores: xfm against sentence-transformers, MiniLM and BERT-base, on real text.

    python benchmarks/encode.py [--peer PYTHON_WITH_SENTENCE_TRANSFORMERS] [--cases minilm]

The texts are docstrings of Python's standard library, from a word to several pages, in a fixed order. Both sides read
them with the same tokeniser, truncated at 256 tokens (MiniLM) and 512 (BERT-base), and return all vectors; tokenisation
is included. The weights are random, since speed does not depend on them, and the same on both sides, which must return
the same vectors. The peer is PyTorch in float32 with scaled_dot_product_attention. Its batch size, at the end of the
case's name, is its default of 32, or 128. Texts per second are the number in the name divided by the time.
"""

import ast
import json
import pathlib
import random
import sysconfig

import common

# layers, width, heads, hidden width, tokens to which a text is truncated, number of texts
SIZES = {"minilm": (6, 384, 12, 1536, 256, 2000), "bert_base": (12, 768, 12, 3072, 512, 300)}
BATCHES = {"minilm": (32, 128), "bert_base": (32,)}
VOCAB = 8000


def docstrings(count):
    """`count` docstrings of the running Python's library. They depend on its version, so both sides share one file."""
    found = []
    for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
                found.append(text)
    random.Random(0).shuffle(found)
    return found[:count]


def write_tokenizer(folder, texts):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=VOCAB, show_progress=False)
    vocab = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocab, key=vocab.get)), encoding="utf-8")


def peer(folder):
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer, models

    torch.set_num_threads(common.THREADS)
    transformers.logging.set_verbosity_error()
    texts = docstrings(max(size[-1] for size in SIZES.values()))
    (folder / "texts.json").write_text(json.dumps(texts))
    calls = {}
    for name, (layers, width, heads, hidden, length, count) in SIZES.items():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=30522, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=hidden,
        )  # fmt: skip
        path = folder / name
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(path)
        write_tokenizer(path, texts)
        (path / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": length})
        )
        model = SentenceTransformer(modules=[models.Transformer(str(path)), models.Pooling(width)], device="cpu")
        for batch in BATCHES[name]:
            calls[case(name, batch)] = lambda m=model, n=count, b=batch: m.encode(texts[:n], batch_size=b)
    return calls


def xfm(folder):
    from xfm.hub.sentence.encoder import sentence_encoder

    texts = json.loads((folder / "texts.json").read_text())
    calls = {}
    for name, (*_, count) in SIZES.items():
        model = sentence_encoder(folder / name)
        for batch in BATCHES[name]:
            calls[case(name, batch)] = lambda m=model, n=count, b=batch: m.encode(texts[:n], batch_size=b)
    return calls


def case(name, batch):
    return f"{name}_{SIZES[name][-1]}_texts_by_{batch}"


if __name__ == "__main__":
    common.PACKAGES += ("sentence-transformers", "tokenizers")
    common.compare(__file__, __doc__.splitlines()[0], {"peer": peer, "xfm": xfm})
