"""Files of before transformers 5 describe the same networks: other keys of config.json, other names of tensors."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.hub.test_parity import GOLDENS, of
from xfm.configs.text import eurobert, modernbert
from xfm.errors import XfmError
from xfm.hub.checkpoint import load
from xfm.hub.families import FAMILIES
from xfm.hub.settings import Settings


def network(config):
    settings = Settings(config)
    spec = FAMILIES[config["model_type"]].network(settings)
    settings.finish()
    return spec


# As published: keys of transformers 4, and keys of tokenisers and training that must not be in the way.
MODERNBERT = dict(
    architectures=["ModernBertForMaskedLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=50281,
    classifier_activation="gelu", classifier_bias=False, classifier_dropout=0.0, classifier_pooling="mean",
    cls_token_id=50281, decoder_bias=True, deterministic_flash_attn=False, embedding_dropout=0.0, eos_token_id=50282,
    global_attn_every_n_layers=3, global_rope_theta=160000.0, gradient_checkpointing=False, hidden_activation="gelu",
    hidden_size=768, initializer_cutoff_factor=2.0, initializer_range=0.02, intermediate_size=1152,
    layer_norm_eps=1e-05, local_attention=128, local_rope_theta=10000.0, max_position_embeddings=8192, mlp_bias=False,
    mlp_dropout=0.0, model_type="modernbert", norm_bias=False, norm_eps=1e-05, num_attention_heads=12,
    num_hidden_layers=22, pad_token_id=50283, position_embedding_type="absolute", sep_token_id=50282,
    tie_word_embeddings=True, torch_dtype="float32", transformers_version="4.47.0.dev0", vocab_size=50368,
)  # fmt: skip
EUROBERT = dict(
    architectures=["EuroBertForMaskedLM"], attention_bias=False, attention_dropout=0.0, bos_token="<|begin_of_text|>",
    bos_token_id=128000, eos_token="<|end_of_text|>", eos_token_id=128001, pad_token="<|end_of_text|>",
    pad_token_id=128001, mask_token="<|mask|>", mask_token_id=128002, hidden_act="silu", hidden_dropout=0.0,
    hidden_size=2304, initializer_range=0.02, intermediate_size=6144, max_position_embeddings=8192,
    model_type="eurobert", num_attention_heads=18, num_hidden_layers=32, num_key_value_heads=6, pretraining_tp=1,
    rms_norm_eps=1e-05, rope_scaling=None, rope_theta=250000, tie_word_embeddings=False, torch_dtype="bfloat16",
    vocab_size=128256, is_decoder=False, auto_map={"AutoModel": "modeling_eurobert.EuroBertModel"},
)  # fmt: skip


def test_modernbert_of_the_older_keys():
    theirs = network(MODERNBERT)
    mine = modernbert.get_config("base_8192").model.to_dict()
    for part in (mine["prologue"], mine["pattern"], theirs["prologue"], theirs["pattern"]):
        for sublayer in part:
            sublayer.pop("residual", None)  # dropout is the recipe's
    assert theirs["repeats"] == 7 and len(theirs["pattern"]) == 6 and len(theirs["prologue"]) == 2
    assert {key: theirs[key] for key in ("embed", "prologue", "pattern", "repeats", "norms", "norm")} == {
        key: mine[key] for key in ("embed", "prologue", "pattern", "repeats", "norms", "norm")
    }
    newer = {key: value for key, value in MODERNBERT.items() if "theta" not in key and "every" not in key}
    newer["layer_types"] = ["full_attention" if i % 3 == 0 else "sliding_attention" for i in range(22)]
    newer["rope_parameters"] = {
        "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    assert network(newer) == network(MODERNBERT)


def test_keys_of_much_used_files_that_change_nothing():
    """mmBERT's and Ettin's word for rotary positions; a cross-encoder's activation after the logits."""
    assert network(MODERNBERT | {"position_embedding_type": "sans_pos"}) == network(MODERNBERT)
    extra = {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
    assert network(MODERNBERT | extra | {"pooler_dropout": 0.1}) == network(MODERNBERT)


def test_eurobert_of_the_older_keys():
    mine = eurobert.network(*eurobert.SIZES["2.1b"], vocab=128_256, theta=250_000)
    assert network(EUROBERT) == mine | {"heads": {}}


@pytest.mark.parametrize("layers,every", [(1, 3), (2, 1), (6, 3), (7, 2), (22, 3)])
def test_layers_fold_into_the_shortest_period(layers, every):
    windows = modernbert.windows(layers, every, window=8)
    spec = modernbert.network(16, 2, 12, 11, windows)
    parts = [*spec["prologue"], *(spec["pattern"] * spec["repeats"]), *spec["epilogue"]]
    assert [part["part"]["window"] for part in parts[::2]] == windows
    assert [part.get("norms") for part in parts[::2]] == [{}] + [None] * (layers - 1)
    assert len(spec["pattern"]) <= 2 * every


@pytest.mark.parametrize(
    "change,what",
    [
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}}}, "rope_type 'default'"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
)
def test_what_modernbert_does_not_have_is_refused(change, what):
    with pytest.raises(XfmError, match=what):
        network(MODERNBERT | change)


def older(name, folder, **changes):
    """A golden of NomicBERT as its own code writes it: GPT-2's keys, "bert." before the encoder's names."""
    with np.load(GOLDENS / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    c = json.loads(str(arrays["config"]))
    config = dict(
        activation_function="swiglu", architectures=["NomicBertModel"], attn_pdrop=0.0, bos_token_id=None, causal=False,
        dense_seq_output=True, embd_pdrop=0.0, fused_bias_fc=True, fused_dropout_add_ln=True, initializer_range=0.02,
        layer_norm_epsilon=c["layer_norm_eps"], max_trained_positions=2048, mlp_fc1_bias=False, mlp_fc2_bias=False,
        model_type="nomic_bert", n_embd=c["hidden_size"], n_head=c["num_attention_heads"],
        n_inner=c["intermediate_size"], n_layer=c["num_hidden_layers"], n_positions=8192, pad_vocab_size_multiple=1,
        parallel_block=False, parallel_block_tied_norm=False, prenorm=False, qkv_proj_bias=False,
        reorder_and_upcast_attn=False, resid_pdrop=0.0, rotary_emb_base=c["rope_parameters"]["rope_theta"],
        rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None, rotary_scaling_factor=None,
        scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True, summary_activation=None,
        summary_first_dropout=0.0, summary_proj_to_labels=True, summary_type="cls_index", summary_use_proj=True,
        torch_dtype="float32", type_vocab_size=c["type_vocab_size"], use_cache=True, use_flash_attn=True,
        use_rms_norm=False, use_xentropy=True, vocab_size=c["vocab_size"],
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | changes))
    weights = {
        key.replace("nomic_bert.", "bert."): np.ascontiguousarray(value)
        for key, value in of(arrays, "weight/").items()
        if not key.startswith("cls.")
    }
    save_file(weights, folder / "model.safetensors")
    return arrays


def test_nomic_bert_of_its_own_code(tmp_path):
    arrays = older("nomic_bert_mlm", tmp_path)
    out = load(tmp_path)(**of(arrays, "input/"), output_hidden_states=True)
    hidden, real = of(arrays, "hidden/"), arrays["input/attention_mask"] > 0
    assert len(out["hidden_states"]) == len(hidden)
    for i, theirs in hidden.items():
        np.testing.assert_allclose(out["hidden_states"][int(i)][real], theirs[real], atol=1e-5 * np.abs(theirs).max())


def test_nomic_bert_refuses_what_it_would_get_wrong(tmp_path):
    older("nomic_bert_mlm", tmp_path, rotary_scaling_factor=2, max_trained_positions=16)
    model = load(tmp_path)
    model(input_ids=np.ones((1, 16), np.int32))
    with pytest.raises(XfmError, match="rows of more than 16 tokens"):
        model(input_ids=np.ones((1, 17), np.int32))
    for change in (
        dict(prenorm=True),
        dict(rotary_emb_fraction=0.5),
        dict(activation_function="gelu"),
        dict(num_experts=8),
    ):
        older("nomic_bert_mlm", tmp_path, **change)
        with pytest.raises(XfmError, match=next(iter(change))):
            load(tmp_path)
