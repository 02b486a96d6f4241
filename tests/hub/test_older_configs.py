"""config.json as files on the Hub have it, written by releases long before the goldens' one; and what is refused."""

import pytest

from xfm.errors import XfmError
from xfm.hub.families import FAMILIES
from xfm.hub.settings import Settings

COMMON = dict(
    attention_probs_dropout_prob=0.1, hidden_dropout_prob=0.1, initializer_range=0.02, hidden_act="gelu",
    hidden_size=24, intermediate_size=36, num_attention_heads=3, num_hidden_layers=4, vocab_size=50,
    max_position_embeddings=18,
)  # fmt: skip
ROBERTA = COMMON | dict(
    architectures=["RobertaForMaskedLM"], model_type="roberta", bos_token_id=0, eos_token_id=2, pad_token_id=1,
    layer_norm_eps=1e-5, type_vocab_size=1,
)  # fmt: skip
XLM = ROBERTA | dict(
    architectures=["XLMRobertaForMaskedLM"], model_type="xlm-roberta", output_past=True, use_cache=True,
    position_embedding_type="absolute", transformers_version="4.17.0.dev0", torch_dtype="float32",
)  # fmt: skip
CAMEMBERT = ROBERTA | dict(model_type="camembert", architectures=["CamembertForMaskedLM"], output_past=True)
DISTILBERT = dict(
    model_type="distilbert", architectures=["DistilBertForMaskedLM"], activation="gelu", attention_dropout=0.1, dim=24,
    dropout=0.1, hidden_dim=36, initializer_range=0.02, max_position_embeddings=16, n_heads=3, n_layers=2,
    pad_token_id=0, qa_dropout=0.1, seq_classif_dropout=0.2, sinusoidal_pos_embds=True, tie_weights_=True,
    vocab_size=50,
)  # fmt: skip
ELECTRA = COMMON | dict(
    model_type="electra", architectures=["ElectraForPreTraining"], embedding_size=12, layer_norm_eps=1e-12,
    pad_token_id=0, position_embedding_type="absolute", summary_activation="gelu", summary_last_dropout=0.1,
    summary_type="first", summary_use_proj=True, type_vocab_size=2,
)  # fmt: skip
MPNET = COMMON | dict(
    model_type="mpnet", architectures=["MPNetForMaskedLM"], bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5,
    pad_token_id=1, relative_attention_num_buckets=32,
)  # fmt: skip
ALBERT = COMMON | dict(
    model_type="albert", architectures=["AlbertForMaskedLM"], bos_token_id=2, classifier_dropout_prob=0.1,
    down_scale_factor=1, embedding_size=12, eos_token_id=3, gap_size=0, hidden_act="gelu_new", inner_group_num=1,
    layer_norm_eps=1e-12, net_structure_type=0, num_hidden_groups=1, num_memory_blocks=0, pad_token_id=0,
    type_vocab_size=2,
)  # fmt: skip


def read(config):
    settings = Settings(config)
    spec = FAMILIES[config["model_type"]].network(settings)
    settings.finish()
    return spec


@pytest.mark.parametrize(
    "config", [ROBERTA, XLM, CAMEMBERT, DISTILBERT, ELECTRA, MPNET, ALBERT], ids=lambda c: c["model_type"]
)
def test_is_read(config):
    spec = read(config)
    assert spec["embed"]["vocab"] == 50 and spec["embed"]["width"] == 24
    assert spec["repeats"] * spec.get("loops", 1) == config.get("num_hidden_layers", 2)


@pytest.mark.parametrize(
    "config,said",
    [
        (ROBERTA | dict(pad_token_id=None), "pad_token_id to None; this family counts positions from it"),
        (XLM | dict(position_embedding_type="relative_key"), "position_embedding_type to 'relative_key'"),
        (MPNET | dict(relative_attention_num_buckets=64), "relative_attention_num_buckets to 64"),
        (ALBERT | dict(num_hidden_groups=3), "num_hidden_groups to 3; xfm needs groups of equal size"),
        (ALBERT | dict(inner_group_num=2), "inner_group_num to 2"),
        (DISTILBERT | dict(activation="geglu"), "activation to 'geglu'"),
        (ELECTRA | dict(embedding_dim=64), "sets embedding_dim, which xfm does not know"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_is_refused(config, said):
    with pytest.raises(XfmError, match=said):
        read(config)


def test_multiple_choice_of_electra_reads_its_summary():
    choice = FAMILIES["electra"].head("multiple_choice").spec
    assert choice(Settings(ELECTRA | dict(summary_activation=None)))["pool"]["activation"] == "identity"
    with pytest.raises(XfmError, match="summary_type to 'mean'; xfm has this family with 'first'"):
        choice(Settings(ELECTRA | dict(summary_type="mean")))
