"""The table of names: kinds of sublayers before all, the number outside the layers; and what is asked of the Hub."""

import fnmatch

import pytest

from xfm.errors import XfmError
from xfm.folders import WANTED
from xfm.hub.naming import At, pieces
from xfm.structures.base import Layer

LAYERS = [Layer(f"layers/{kind}_{i}", True, repeat, "layer")
          for repeat in range(2) for i, kind in enumerate(("attention", "glu"))]  # fmt: skip


def names(paths, table):
    return {piece.path: piece.at.name for piece in pieces(paths, table, 2, LAYERS)}


def test_a_kind_falls_back_on_all_kinds():
    table = {"layer/glu_1/part/up": "mlp.{}.gate", "layer/1/part": "mlp.{}", "layer/0/part": "mix.{}"}
    found = names({f"layers/{path}/kernel": (2, 3, 3) for path in ("glu_1/part/up", "glu_1/part/down")}, table)
    assert found == {
        "layers/glu_1/part/up/kernel": "mlp.1.gate.weight",
        "layers/glu_1/part/down/kernel": "mlp.1.down.weight",
    }
    with pytest.raises(XfmError, match="layers/glu_1/out_norm/scale has no name"):
        names({"layers/glu_1/out_norm/scale": (2, 3)}, table)


def test_a_number_outside_the_layers_is_the_next_one():
    assert names({"head_x/part/up/kernel": (3, 3)}, {"head_x/part": "mlp.{}"}) == {
        "head_x/part/up/kernel": "mlp.2.up.weight"
    }


def test_stages_number_their_layers_and_their_parts():
    layers = [Layer(f"stage_{i}/layers/{kind}_{j}", True, repeat, f"stage_{i}")
              for i in range(2) for repeat in range(2) for j, kind in enumerate(("pool", "mlp") * 2)]  # fmt: skip
    table = {"stage/1/part": "stages.{}.blocks.{}", "stage/down": "stages.{before}.merge", "stage/norm": "norms.{}",
             "stage_0/norm": "first", "stage_0/down/table": At("table", axes=(0, 1), merged=2)}  # fmt: skip
    shapes = {
        "stage_0/down/table": (3, 5, 2),
        "stage_0/norm/scale": (3,),
        "stage_1/down/out/kernel": (3, 3),
        "stage_1/layers/mlp_3/part/up/kernel": (2, 3, 3),
        "stage_1/norm/scale": (3,),
    }
    found = [(piece.layer, piece.at.name) for piece in pieces(shapes, table, 2, layers)]
    assert found == [
        (None, "table"),
        (None, "first.weight"),
        (None, "stages.0.merge.out.weight"),
        (0, "stages.1.blocks.1.up.weight"),
        (1, "stages.1.blocks.3.up.weight"),
        (None, "norms.1.weight"),
    ]
    table["stage/1/part"], table["stage_0/1/part"] = "stages.{}.blocks.{next}", "first.{}.{}"
    shapes["stage_0/layers/mlp_1/part/up/kernel"] = (2, 3, 3)
    found = [piece.at.name for piece in pieces(shapes, table, 2, layers)]
    assert found[3:5] == ["stages.1.blocks.2.up.weight", "stages.1.blocks.4.up.weight"]
    assert found[6:] == ["first.0.0.up.weight", "first.0.2.up.weight"]
    (table, *_) = pieces(shapes, table, 2, layers)
    assert table.file_shape() == (15, 2)


@pytest.mark.parametrize("file,wanted", [
    ("config.json", True), ("vocab.txt", True), ("model.safetensors", True), ("model-00001-of-00002.safetensors", True),
    ("0_Transformer/config.json", True), ("0_Transformer/model.safetensors", True), ("0_Transformer/vocab.txt", True),
    ("0_Transformer/model-00001-of-00002.safetensors", True), ("2_Dense/model.safetensors", True),
    ("0_Transformer/sentencepiece.bpe.model", True), ("tokenizer/tokenizer.json", True),
    ("1_Pooling/config.json", True),
    ("pytorch_model.bin", False), ("onnx/model.onnx", False), ("onnx/model.safetensors", False),
    ("openvino/openvino_model.xml", False), ("flax_model.msgpack", False), ("rust_model.ot", False),
])  # fmt: skip
def test_what_is_asked_of_a_repository(file, wanted):
    assert any(fnmatch.fnmatch(file, pattern) for pattern in WANTED) == wanted
