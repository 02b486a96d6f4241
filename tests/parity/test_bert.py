"""xfm's BERT against transformers' BertForPreTraining: every layer, both heads, gradients."""

import numpy as np
import pytest

from tests.parity.golden import check, heads_in, heads_out, load, same, transposed

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu"}


def spec(c):
    """The stack that a transformers config describes."""
    norm = dict(kind="layernorm", eps=c["layer_norm_eps"])
    activation = ACTIVATIONS[c["hidden_act"]]
    return dict(
        kind="stack",
        embed=dict(
            kind="tokens",
            vocab=c["vocab_size"],
            width=c["hidden_size"],
            types=c["type_vocab_size"],
            position=dict(kind="learned", length=c["max_position_embeddings"]),
            norm=norm,
        ),
        pattern=[
            dict(kind="attention", heads=c["num_attention_heads"]),
            dict(kind="mlp", hidden=c["intermediate_size"], activation=activation),
        ],
        repeats=c["num_hidden_layers"],
        norms=dict(out=norm),
        heads=dict(
            mlm=dict(kind="mlm", vocab=c["vocab_size"], activation=activation, norm=norm),
            pooled=dict(kind="vector", pool=dict(kind="dense")),
            nsp=dict(kind="classification", classes=2, pool=dict(kind="of_head", head="pooled")),
        ),
    )


def rules(heads):
    model, layer = r"bert\.embeddings\.", r"bert\.encoder\.layer\.(\d+)\."
    mixer, ffn = "layers/attention_0", "layers/mlp_1"
    head = r"cls\.predictions\."
    return [
        (model + r"word_embeddings\.weight", "embed/word/embedding", same),
        (model + r"position_embeddings\.weight", "embed/position/table", same),
        (model + r"token_type_embeddings\.weight", "embed/type/embedding", same),
        (model + r"LayerNorm\.weight", "embed/norm/scale", same),
        (model + r"LayerNorm\.bias", "embed/norm/bias", same),
        (
            layer + r"attention\.self\.(query|key|value)\.(weight|bias)",
            mixer + "/part/{1}/{2}",
            heads_out(heads),
        ),
        (layer + r"attention\.output\.dense\.weight", mixer + "/part/o/kernel", heads_in(heads)),
        (layer + r"attention\.output\.dense\.bias", mixer + "/part/o/bias", same),
        (layer + r"attention\.output\.LayerNorm\.weight", mixer + "/out_norm/scale", same),
        (layer + r"attention\.output\.LayerNorm\.bias", mixer + "/out_norm/bias", same),
        (layer + r"intermediate\.dense\.(weight|bias)", ffn + "/part/up/{1}", transposed),
        (layer + r"output\.dense\.(weight|bias)", ffn + "/part/down/{1}", transposed),
        (layer + r"output\.LayerNorm\.weight", ffn + "/out_norm/scale", same),
        (layer + r"output\.LayerNorm\.bias", ffn + "/out_norm/bias", same),
        (r"bert\.pooler\.dense\.(weight|bias)", "head_pooled/pool/dense/{0}", transposed),
        (r"cls\.seq_relationship\.(weight|bias)", "head_nsp/out/{0}", transposed),
        (head + r"transform\.dense\.(weight|bias)", "head_mlm/dense/{0}", transposed),
        (head + r"transform\.LayerNorm\.weight", "head_mlm/norm/scale", same),
        (head + r"transform\.LayerNorm\.bias", "head_mlm/norm/bias", same),
        (head + r"bias", "head_mlm/bias", same),
    ]


@pytest.mark.parametrize("name", ["bert", "bert_relu", "bert_gelu_tanh"])
def test_bert_equals_transformers(name):
    golden = load(name)
    mask = golden["input/attention_mask"]
    batch = dict(
        tokens=golden["input/input_ids"],
        types=golden["input/token_type_ids"],
        segments=mask,
        positions=np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape),
    )
    check(
        golden,
        spec(golden.config),
        batch,
        rules(golden.config["num_attention_heads"]),
        read=lambda answer: dict(mlm=answer["mlm"], nsp=answer["nsp"]),
        real=mask > 0,
    )
