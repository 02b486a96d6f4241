"""Writes the golden of how releases of sentence-transformers take texts: the ids that reach their network.

    st/bin/python -m tests.hub.make_sentence_texts

To be run once with release 5 and once with release 6 or later; each puts its part into the file. Beside the ids,
"limits" has max_seq_length of folders that say 64, 40 or nothing, under a tokeniser that says 32 or nothing and a
network of 48 positions.
"""

import json
import pathlib
import tempfile

import sentence_transformers
import transformers

from tests.hub.make_tokenizers import PATH

OUT = PATH.parents[1] / "sentences" / "texts.json"
TEXTS = ["  both ends \n", "one", "\tTab", "trailing ", "ΟΔΟΣ", " Upper </s> "]
MODULES = [
    dict(idx=0, name="0", path="", type="sentence_transformers.models.Transformer"),
    dict(idx=1, name="1", path="1_Pooling", type="sentence_transformers.models.Pooling"),
]


def folder(root, own, config, told):
    known = json.loads(PATH.read_text())
    for file, number in known["cases"]["roberta"]["files"].items():
        (root / file).write_text(known["contents"][number])
    transformers.RobertaTokenizerFast.from_pretrained(root).save_pretrained(root)  # a tokenizer.json
    settings = json.loads((root / "tokenizer_config.json").read_text())
    (root / "tokenizer_config.json").write_text(json.dumps(settings | told))
    sizes = dict(vocab_size=380, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    if config == "modernbert":
        config = transformers.ModernBertConfig(**sizes, max_position_embeddings=48, pad_token_id=1)
        transformers.ModernBertModel(config).save_pretrained(root)
    else:
        config = transformers.BertConfig(**sizes, max_position_embeddings=48)
        transformers.BertModel(config).save_pretrained(root)
    (root / "1_Pooling").mkdir()
    (root / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 8}')
    (root / "modules.json").write_text(json.dumps(MODULES))
    (root / "sentence_bert_config.json").write_text(json.dumps(own))
    return sentence_transformers.SentenceTransformer(str(root), device="cpu")


def made(own, config="bert", told=None):
    with tempfile.TemporaryDirectory() as root:
        return folder(pathlib.Path(root), own, config, told or {})


if __name__ == "__main__":
    ids = {}
    for lower in (False, True):
        model = made(dict(max_seq_length=40, do_lower_case=lower))
        ids[str(lower).lower()] = [model.tokenize([text])["input_ids"][0].tolist() for text in TEXTS]
    limits = {
        f"{config} {own} {said}": made(
            dict(max_seq_length=own, do_lower_case=False), config, {} if said is None else dict(model_max_length=said)
        ).max_seq_length
        for config in ("bert", "modernbert") for own in (64, 40, None) for said in (32, None)
    }  # fmt: skip
    content = (json.loads(OUT.read_text()) if OUT.exists() else {}) | dict(texts=TEXTS)
    release = sentence_transformers.__version__.split(".")[0]
    content[release] = dict(version=sentence_transformers.__version__, ids=ids, limits=limits)
    OUT.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    print(OUT.name, release, limits)
